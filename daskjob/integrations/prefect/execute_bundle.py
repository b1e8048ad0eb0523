"""The step that runs a bundle in its pod: ``python -m … --key KEY``.

A pod that takes the place of a lost one runs the same bundle; it is deleted once the flow run has
completed, or was cancelled.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from prefect.bundles import execute_bundle_from_file
from prefect.client.orchestration import get_client
from prefect.states import Crashed

from daskjob.core.errors import NotFound
from daskjob.integrations.prefect import server_storage


def main(arguments: list[str]) -> int:
    """Run the bundle; return an exit code, which is not the flow's."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--key", required=True)
    key = parser.parse_args(arguments).key
    with TemporaryDirectory() as folder:
        try:
            path = _fetched(key, Path(folder))
        except NotFound as error:
            print(error, file=sys.stderr)
            return _not_there(str(error))
        execute_bundle_from_file(str(path))
    if _is_over():
        server_storage.delete(key)
    return 0


def _fetched(key: str, folder: Path) -> Path:
    """Write the bundle, and the files beside it, as Prefect reads them; return its path."""
    path = folder / key
    path.write_bytes(server_storage.load(key))
    if files := json.loads(path.read_bytes()).get("files_key"):
        archive = folder / files
        archive.parent.mkdir(parents=True, exist_ok=True)
        archive.write_bytes(server_storage.load(files))
    return path


def _not_there(message: str) -> int:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(_flow_run(), Crashed(message=message))
    return 1


def _is_over() -> bool:
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(_flow_run()).state
    return state is not None and (state.is_completed() or state.is_cancelled())


def _flow_run() -> UUID:
    return UUID(os.environ["PREFECT__FLOW_RUN_ID"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
