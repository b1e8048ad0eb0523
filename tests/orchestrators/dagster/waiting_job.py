"""A job of Dagster, for runs in processes of their own; its DaskJob waits for a file."""

import os

from dagster import OpExecutionContext, in_process_executor, job, op

from daskjob.integrations.dagster import PipesDaskJobClient
from daskjob.submit.client.sync_client import JobClient
from tests.orchestrators.dagster import test_pipes


@op
def waits(context: OpExecutionContext) -> None:
    code = test_pipes.WAITS.format(path=os.environ["GO_ON"])
    PipesDaskJobClient(JobClient.local()).run(context=context, job=test_pipes.job(code))


@job(executor_def=in_process_executor)
def waiting_job() -> None:
    waits()
