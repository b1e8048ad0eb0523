"""The step of a Dagster run, as the task of a job."""

from __future__ import annotations

from collections import Counter
from typing import Any

from dagster._core.pipes.reattach import _is_from_failure_retry

from daskjob.submit.generations import Identity

#: Against a cycle in the runs' parents.
_MOST_RUNS = 64


def first_run_id(context: Any) -> str:
    """Return the run that this one continues, through all re-executions from a failure.

    A re-execution of all steps is another task.
    """
    run = context.run
    for _number in range(_MOST_RUNS):
        if not (_is_from_failure_retry(run) and run.parent_run_id):
            break
        parent = context.instance.get_run_by_id(run.parent_run_id)
        if parent is None:
            return str(run.parent_run_id)
        run = parent
    return str(run.run_id)


class Steps:
    """Counts the jobs of each try of a step: the n-th one of a try is the n-th one of the next."""

    def __init__(self) -> None:
        self._calls: Counter[tuple[str, str, int]] = Counter()

    def identity(self, context: Any, prefix: str) -> Identity:
        """Return the identity of the next job of a step."""
        step = context.get_step_execution_context().step.key
        this_try = (context.run.run_id, step, context.retry_number)
        self._calls[this_try] += 1
        number = self._calls[this_try]
        return Identity(
            "dagster",
            (first_run_id(context), step, str(number)),
            prefix=prefix or step,
            labels={
                "dagster/run-id": context.run.run_id,
                "dagster/job": context.run.job_name,
                "dagster/op": context.op_execution_context.op.name,
            },
            annotations={"dagster/step": step, "dagster/retry-number": str(context.retry_number)},
        )
