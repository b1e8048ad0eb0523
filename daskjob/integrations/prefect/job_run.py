"""A run of the block ``DaskJob``: one DaskJob, which is waited for, asked and cancelled."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from prefect.blocks.abstract import JobRun

from daskjob.core.errors import DaskJobError
from daskjob.integrations.prefect.artifacts import Artifacts
from daskjob.integrations.prefect.dispatch import dispatched
from daskjob.integrations.prefect.following import Followed, follow
from daskjob.integrations.prefect.release import release
from daskjob.integrations.prefect.stopping import runs_again, stop_check
from daskjob.submit import sync
from daskjob.submit.jobs import Job, JobRef
from daskjob.submit.outcome import lost_result

if TYPE_CHECKING:
    from daskjob.integrations.prefect.block import DaskJob

T = TypeVar("T")


class DaskJobRun(JobRun[Any]):
    """A DaskJob that a block has triggered."""

    def __init__(self, block: DaskJob, job: Job) -> None:
        self._block = block
        self._job = job

    def __repr__(self) -> str:
        return f"DaskJobRun(name={self.name!r}, namespace={self.namespace!r})"

    @property
    def name(self) -> str:
        """The name of the DaskJob."""
        return self._job.name

    @property
    def namespace(self) -> str:
        """The namespace of the DaskJob."""
        return self._job.ref.namespace

    @property
    def uid(self) -> str:
        """The uid of the DaskJob."""
        return self._job.ref.uid

    @property
    def ref(self) -> JobRef:
        """The reference with which a ``daskjob.JobClient`` finds the job."""
        return self._job.ref

    @property
    def status(self) -> Any:
        """The status of the DaskJob as it was last seen."""
        return self._job.status

    @property
    def dashboard_url(self) -> str:
        """The URL of Dask's dashboard; empty before the scheduler runs."""
        return self._job.status.dashboard_url

    async def await_for_completion(
        self, print_func: Callable[[str], object] | None = None
    ) -> DaskJobRun:
        """Wait until the job has ended; its log goes to ``print_func``, or to the run's log.

        If the flow run is cancelled meanwhile, so is the job, as the block's ``on_cancel`` says.

        Raises
        ------
        daskjob.errors.Failed
            The job ended without success: ``UserFailure``, ``InfrastructureFailure``,
            ``PolicyFailure`` or ``InvalidFailure``.
        """
        try:
            return await self._complete(self._followed(print_func))
        except asyncio.CancelledError:
            await self.arelease()
            raise

    @dispatched(await_for_completion)
    def wait_for_completion(self, print_func: Callable[[str], object] | None = None) -> DaskJobRun:
        """Wait as ``await_for_completion``, which this is in asynchronous flows."""
        try:
            return blocking(partial(self._complete, self._followed(print_func)))
        except Exception:
            raise
        except BaseException:
            blocking(self.arelease)
            raise

    async def afetch_result(self) -> Any:
        """Return the result that the script wrote; ``None``: it wrote none."""
        async with self._block.jobs() as jobs:
            self._job = await jobs.get(self.ref)
        return self._job.status.result

    @dispatched(afetch_result)
    def fetch_result(self) -> Any:
        """Return the result, as ``afetch_result``, which this is in asynchronous flows."""
        return blocking(self.afetch_result)

    async def acancel(self) -> None:
        """Cancel the job. It stays, with its log, until it is deleted."""
        async with self._block.jobs() as jobs:
            await jobs.cancel(self.ref)

    @dispatched(acancel)
    def cancel(self) -> None:
        """Cancel the job, as ``acancel``, which this is in asynchronous flows."""
        blocking(self.acancel)

    async def arelease(self) -> None:
        """Do with the job what is to be done if the flow run ends before it."""
        if runs_again():
            self.logger.info("%s goes on: the flow run is run again and finds it", self.name)
            return
        self.logger.info("The run ends: on_cancel=%s for %s", self._block.on_cancel, self.name)
        with anyio.CancelScope(shield=True):
            await release(self._block.jobs, self._block.on_cancel, ref=self.ref)

    def _followed(self, print_func: Callable[[str], object] | None) -> Followed:
        block = self._block
        artifacts = Artifacts(progress=block.progress_artifact, dashboard=block.dashboard_artifact)
        write = print_func or (self.logger.info if block.stream_logs else None)
        # A line of a log is no format.
        line = write if print_func or write is None else partial(write, "%s")
        return Followed(
            artifacts=artifacts if in_run() else Artifacts(progress=False, dashboard=False),
            print_line=line,
            stop=stop_check(),
            pickup_seconds=block.pickup_timeout_seconds,
        )

    async def _complete(self, how: Followed) -> DaskJobRun:
        logger = self.logger
        async with self._block.jobs() as jobs:
            try:
                self._job = await follow(jobs, self.ref, how)
            except DaskJobError:
                await self._finish(jobs, succeeded=False)
                raise
            logger.info("%s succeeded", self.name)
            if lost := lost_result(self._job.status):
                logger.warning("%s: %s", self.name, lost)
            await self._finish(jobs, succeeded=True)
        return self

    async def _finish(self, jobs: Any, *, succeeded: bool) -> None:
        wanted = self._block.on_finish
        if wanted == "delete" or (wanted == "delete_succeeded" and succeeded):
            await jobs.delete(self.ref)


def in_run() -> bool:
    """Return whether a flow or a task calls."""
    from prefect.context import FlowRunContext, TaskRunContext

    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def blocking(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end in the thread of daskjob, in the context of the caller.

    Whatever is raised in the caller, such as Prefect's exception for SIGTERM, cancels it.
    """
    context = contextvars.copy_context()

    async def within() -> T:
        return await asyncio.get_running_loop().create_task(make(), context=context)

    # A blocking flow may run in a thread with a loop, as in a notebook: it blocks that anyway.
    return sync.bridge().call(within)
