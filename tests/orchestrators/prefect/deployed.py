"""Flows of deployments, which a worker runs as DaskJobs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from prefect import flow, get_run_logger, task

from daskjob.integrations.prefect import DaskJobTaskRunner


@task
def square(number: int) -> int:
    """Return the square."""
    return number * number


@flow(task_runner=DaskJobTaskRunner())
def squares(tasks: int = 0, go: str = "", fail: bool = False) -> int:
    """Return the sum of squares, by tasks, once the file ``go`` exists."""
    logger = get_run_logger()
    total: int = sum(one.result() for one in square.map(range(tasks)))
    logger.info("the sum is %d, with a key of %d letters", total, len(os.environ["TEAM_KEY"]))
    print("waiting", flush=True)
    while go and not Path(go).exists():
        time.sleep(0.1)
    if fail:
        raise ValueError("no such table")
    return total
