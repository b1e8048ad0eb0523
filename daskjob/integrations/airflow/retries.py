"""The retry policy of tasks that run DaskJobs: an evicted pod is no bug of the program."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from daskjob.integrations.airflow import errors

#: Infrastructure failures are retried soon; what no retry mends fails at once; all others, such as
#: an exit code of the program, follow ``retries`` and ``retry_delay`` of the task.
DEFAULT_RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=[errors.Detached, errors.NotFound],
            action=RetryAction.RETRY,
            retry_delay=timedelta(seconds=1),
            reason="the next try follows the job, or starts the next one",
        ),
        RetryRule(
            exception=[errors.ImageFailure, errors.InvalidFailure, errors.Permanent],
            action=RetryAction.FAIL,
            reason="the same job would fail again",
        ),
        RetryRule(
            exception=[errors.InfrastructureFailure, errors.ApiError],
            action=RetryAction.RETRY,
            retry_delay=timedelta(seconds=30),
            reason="the environment of the job failed, not the job",
        ),
    ]
)
