"""Tasks that run a block ``DaskJob`` to its end."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from daskjob.core.errors import WrongType
from daskjob.integrations.prefect.block import DaskJob
from daskjob.integrations.prefect.retries import retry_unless_hopeless


@task(name="run-daskjob", cache_policy=NO_CACHE, retry_condition_fn=retry_unless_hopeless)
def run_daskjob(job: DaskJob, **overrides: Any) -> Any:
    """Run a DaskJob to its end; return the result that its script wrote.

    ``overrides`` are other values of the block's fields, such as ``n_workers=8``.

    ::

        run_daskjob.with_options(retries=3, retry_delay_seconds=30)(job)

    Raises
    ------
    daskjob.errors.Failed
        The job ended without success; the class is the kind of cause.
    """
    started = _block(job).with_fields(**overrides).trigger(_sync=True)
    started.wait_for_completion(_sync=True)
    return started.fetch_result(_sync=True)


@task(name="run-daskjob", cache_policy=NO_CACHE, retry_condition_fn=retry_unless_hopeless)
async def arun_daskjob(job: DaskJob, **overrides: Any) -> Any:
    """Run a DaskJob to its end, as ``run_daskjob``, in an asynchronous flow."""
    started = await _block(job).with_fields(**overrides).atrigger()
    await started.await_for_completion()
    return await started.afetch_result()


def _block(job: object) -> DaskJob:
    """Return the block; what is none, such as the name of one, is rejected."""
    if isinstance(job, DaskJob):
        return job
    hint = f"DaskJob.load({job!r})" if isinstance(job, str) else 'DaskJob(image=…, command="…")'
    raise WrongType(f"run_daskjob: {job!r:.80} is no block DaskJob; write {hint}")
