"""A user's script whose flows run as DaskJobs: ``called.py POOL [hand-over]``.

Prints how each call has ended, as one line of JSON; or the id of a flow run that it has handed over
to a worker of the work pool.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from prefect import flow, task

from daskjob.integrations.prefect import DaskJobTaskRunner, daskjob

POOL = sys.argv[1]
#: More than Prefect's server is to keep, and not to be compressed.
LARGE = random.Random(0).randbytes(5 * 2**20)


@task
def square(number: int) -> int:
    """Return the square, on a worker."""
    return number * number


@daskjob(work_pool=POOL, n_workers=1, include_files=["rates.json"])
@flow(name="squares", task_runner=DaskJobTaskRunner())
def squares(numbers: list[int]) -> dict[str, int]:
    """Return the sum of squares, and what a file says that came with the flow."""
    rates = json.loads(Path("rates.json").read_text())
    return {"sum": sum(one.result() for one in square.map(numbers)), "rate": rates["rate"]}


@daskjob(work_pool=POOL)
@flow(name="failing")
def failing() -> None:
    """Fail."""
    raise ValueError("no such table")


@daskjob(work_pool=POOL)
@flow(name="waiting")
def waiting() -> None:
    """Wait for ever."""
    while True:
        time.sleep(0.1)


@daskjob(work_pool=POOL)
@flow(name="large")
def large() -> int:
    """Return the size of what the flow has brought."""
    return len(LARGE)


def outcome(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or how it fails."""
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def main() -> None:
    """Call them all, at the same time."""
    calls = {
        "squares": lambda: squares([1, 2, 3]),
        "waiting": waiting,
        "large": large,
    }
    with ThreadPoolExecutor(len(calls)) as threads:
        ended = dict(zip(calls, threads.map(outcome, calls.values()), strict=True))
    print(json.dumps(ended), flush=True)


if __name__ == "__main__":
    if sys.argv[2:] == ["hand-over"]:
        print(failing.submit_to_work_pool().flow_run_id)
    else:
        main()
