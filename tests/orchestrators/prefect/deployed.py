"""Flows of deployments, which a worker runs as DaskJobs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task

from daskjob.integrations.prefect import DaskJobTaskRunner


@task
def square(number: int) -> int:
    """Return the square."""
    return number * number


def on_cancellation(_flow: Any, flow_run: Any, _state: Any) -> None:
    """Log that the hook ran."""
    from prefect.logging.loggers import flow_run_logger

    flow_run_logger(flow_run).info("the hook of the cancellation ran")


@flow(task_runner=DaskJobTaskRunner(), on_cancellation=[on_cancellation])
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
