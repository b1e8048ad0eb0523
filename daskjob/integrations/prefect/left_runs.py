"""Flow runs whose worker is gone: another one, or the same one after a restart, watches them.

A flow's process reports its own end; but nothing else reports that it was killed, or cancels its
job.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import StateType

from daskjob.core.errors import NotFound
from daskjob.core.manifests import metadata
from daskjob.integrations.prefect.cancelling import Cancellations
from daskjob.integrations.prefect.identity import LABEL_FLOW_RUN
from daskjob.submit.jobs import Job

if TYPE_CHECKING:
    from daskjob.integrations.prefect.worker import DaskJobWorker

#: How often to look for flow runs whose worker has ended.
SECONDS = 30.0
_START_SECONDS = 0.5
_PAGE = 200
_UNFINISHED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


class LeftRuns:
    """The unfinished flow runs of a worker's pool that it does not follow."""

    def __init__(self, worker: DaskJobWorker, followed: Cancellations) -> None:
        self._worker = worker
        self._followed = followed
        self._tasks: dict[Any, asyncio.Task[None]] = {}

    async def take_over(self) -> None:
        """Take them over, for ever."""
        worker = self._worker
        try:
            while not worker.is_setup:
                await asyncio.sleep(_START_SECONDS)
            while True:
                try:
                    await self._look()
                except Exception as error:
                    # The next look may succeed.
                    worker._logger.warning("flow runs of others were not looked for: %s", error)
                await asyncio.sleep(SECONDS)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _look(self) -> None:
        self._tasks = {key: task for key, task in self._tasks.items() if not task.done()}
        for flow_run in await self._unfinished():
            own = (self._followed, self._tasks, self._worker._submitting_flow_run_ids)
            if not any(flow_run.id in known for known in own):
                self._tasks[flow_run.id] = asyncio.create_task(self._follow(flow_run))

    async def _unfinished(self) -> list[Any]:
        worker, found = self._worker, list[Any]()
        state = FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED))
        pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[worker.work_pool.name]))
        while True:
            page = await worker.client.read_flow_runs(
                flow_run_filter=FlowRunFilter(state=state),
                work_pool_filter=pool,
                limit=_PAGE,
                offset=len(found),
            )
            found += page
            if len(page) < _PAGE:
                return found

    async def _follow(self, flow_run: Any) -> None:
        worker = self._worker
        try:
            configuration = await worker.job_configuration.resolve_for_flow_run(
                flow_run,
                client=worker.client,
                work_pool=worker.work_pool,
                worker_name=worker.name,
                worker_id=worker.backend_id,
            )
            jobs = await worker.jobs(configuration)
            job = _last(await jobs.list({LABEL_FLOW_RUN: str(flow_run.id)}), flow_run)
            if flow_run.id in self._followed:
                return
            if job is None:
                await self._report_gone(flow_run)
                return
            worker._logger.info("Watching %s of flow run %s", job.name, flow_run.name)
            quiet = configuration.model_copy(update={"stream_output": False})
            await worker.end(jobs, job.ref, flow_run, quiet)
        except Exception as error:
            worker._logger.warning("%s is not watched: %s", flow_run.name, error)

    async def _report_gone(self, flow_run: Any) -> None:
        """Report a flow run whose job was deleted; one without a job may get it just now."""
        pid = str(flow_run.infrastructure_pid or "")
        if pid:
            name = pid.rpartition(":")[2]
            await self._worker.report(flow_run, pid, NotFound(f"DaskJob {name} was deleted"))


def _last(jobs: tuple[Job, ...], flow_run: Any) -> Job | None:
    """Return the job of the flow run's last process; ``None``: there is none any more."""
    pid = flow_run.infrastructure_pid
    found = [job for job in jobs if not pid or pid == f"{job.ref.namespace}:{job.name}"]
    return max(found, key=_created, default=None)


def _created(job: Job) -> str:
    return str(metadata(job.manifest).get("creationTimestamp") or "")
