"""A flow in a pod, with a Prefect server beside it: its tasks run on a KubeCluster.

Prints what the flow returns as one line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from typing import Any

from prefect import flow, task
from prefect_dask import DaskTaskRunner

URL = os.environ["PREFECT_API_URL"]
RUNNER = DaskTaskRunner(
    cluster_class="daskjob.KubeCluster",
    cluster_kwargs=json.loads(os.environ["CLUSTER"]),
    adapt_kwargs={"minimum": 1, "maximum": 2},
)


@task
def square(number: int) -> int:
    return number * number


@task
def fails() -> None:
    raise ValueError("no such table")


@task
def place() -> str:
    return os.environ.get("DASK_WORKER_NAME", "")


@flow(task_runner=RUNNER.duplicate())
def below(numbers: list[int]) -> int:
    return sum(one.result() for one in square.map(numbers))


@flow(task_runner=RUNNER)
def flow_on_workers() -> dict[str, Any]:
    squares = sum(one.result() for one in square.map(range(4)))
    failed = fails.submit()
    failed.wait()
    return {
        "squares": squares,
        "below": below([1, 2]),
        "state": failed.state.name,
        "message": str(failed.state.message),
        "place": place.submit().result(),
    }


def main() -> None:
    """Start the server, run the flow, and end the server."""
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "0.0.0.0"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while server.poll() is None:
            try:
                urllib.request.urlopen(f"{URL}/health", timeout=5).close()
            except OSError:
                time.sleep(0.5)
            else:
                break
        print(json.dumps(flow_on_workers()), flush=True)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
