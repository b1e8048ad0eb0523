"""The step that uploads a bundle: ``python -m … --key KEY FILE``, which Prefect runs.

What it prints on standard error is what the caller of the flow gets as an exception.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from prefect.states import Crashed

from daskjob.core.errors import DaskJobError
from daskjob.integrations.prefect import server_storage


def main(arguments: list[str]) -> int:
    """Upload a file; return an exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--key", required=True)
    parser.add_argument("file", type=Path)
    given = parser.parse_args(arguments)
    try:
        server_storage.save(given.key, given.file.read_bytes())
    except DaskJobError as error:
        return _failed(str(error))
    except (httpx.HTTPError, OSError) as error:
        reason = str(error) or type(error).__name__
        return _failed(f"Prefect's server at {PREFECT_API_URL.value()} took no bundle: {reason}")
    return 0


def _failed(message: str) -> int:
    """Report it: Prefect itself would leave the flow run pending for ever."""
    for file in Path().iterdir():
        if file.is_file():
            report_crash(json.loads(file.read_bytes()), message)
    print(message, file=sys.stderr)
    return 1


def report_crash(bundle: dict[str, Any], message: str) -> None:
    """Report that the flow run of a bundle cannot run."""
    try:
        with get_client(sync_client=True) as client:
            flow_run = UUID(str(bundle["flow_run"]["id"]))
            client.set_flow_run_state(flow_run, Crashed(message=message), force=True)
    except (httpx.HTTPError, OSError, ValueError, KeyError) as error:
        print(f"the crash of the flow run could not be reported: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
