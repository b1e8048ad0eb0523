"""A job of Dagster whose steps run on Dask workers."""

import os
from pathlib import Path

from dagster import (
    In,
    OpExecutionContext,
    Out,
    RetryPolicy,
    job,
    op,
)

from daskjob.integrations.dagster import daskjob_executor


@op
def numbers() -> list[int]:
    return [1, 2, 3, 4]


@op(retry_policy=RetryPolicy(max_retries=1))
def odd(context: OpExecutionContext, numbers: list[int]) -> int:
    """Fails in its first try."""
    if context.retry_number == 0:
        raise ValueError("not yet")
    return sum(number for number in numbers if number % 2)


@op
def even(numbers: list[int]) -> int:
    return sum(number for number in numbers if not number % 2)


@op
def both(context: OpExecutionContext, odd: int, even: int) -> int:
    from distributed import get_worker

    context.log.info(f"total {odd + even} on {get_worker().name}, process {os.getpid()}")
    return odd + even


@job(executor_def=daskjob_executor)
def sums() -> None:
    found = numbers()
    both(odd(found), even(found))


@op(out=Out(str))
def dies() -> str:
    os._exit(1)


@op(ins={"path": In(str)})
def after(path: str) -> None:
    Path(path).touch()


@job(executor_def=daskjob_executor)
def killed() -> None:
    after(dies())
