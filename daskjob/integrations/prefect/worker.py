"""A Prefect worker that runs each flow run as a DaskJob, with a Dask cluster of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from contextlib import AsyncExitStack
from functools import partial
from typing import Any
from uuid import UUID

import anyio.abc
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import InfrastructureNotFound
from prefect.workers.base import BaseWorker, BaseWorkerResult

from daskjob.core import names
from daskjob.core.errors import DaskJobError, Failed, NotFound
from daskjob.integrations.prefect.cancelling import Cancellations
from daskjob.integrations.prefect.flow_run_end import state_after
from daskjob.integrations.prefect.following import Followed, NotPickedUp, follow
from daskjob.integrations.prefect.identity import ANNOTATION_FLOW, LABEL_FLOW_RUN
from daskjob.integrations.prefect.left_runs import LeftRuns
from daskjob.integrations.prefect.linked import DashboardLine
from daskjob.integrations.prefect.places import Jobs, of_cluster, this_machine
from daskjob.integrations.prefect.release import active
from daskjob.integrations.prefect.work_pool import GRACE_SECONDS
from daskjob.integrations.prefect.worker_settings import (
    DaskJobWorkerConfiguration,
    DaskJobWorkerVariables,
)
from daskjob.kube.errors import Unauthorized
from daskjob.submit.generations import Identity
from daskjob.submit.jobs import Job, JobRef

LABEL_WORK_POOL = f"{names.API_GROUP}/prefect-work-pool"
#: The exit code of a flow run's process that has none.
_LOST = 1
#: How long to wait before a job is followed again after a fault of the API server.
_AGAIN_SECONDS = 10.0
#: How often to look whether the hooks of a cancelled flow run have run.
_HOOK_SECONDS = 1.0
_CANCELLED = [StateType.CANCELLING, StateType.CANCELLED]


class DaskJobWorkerResult(BaseWorkerResult):
    """How the process of a flow run ended."""


class DaskJobWorker(
    BaseWorker[DaskJobWorkerConfiguration, DaskJobWorkerVariables, DaskJobWorkerResult]
):
    """Runs flow runs as DaskJobs.

    The flow's own process is the runner of the job; ``DaskJobTaskRunner`` takes the job's cluster.
    """

    type = "daskjob"
    job_configuration = DaskJobWorkerConfiguration
    job_configuration_variables = DaskJobWorkerVariables
    _display_name = "DaskJob"
    _description = "Runs each flow run as a DaskJob: with a Dask cluster of its own."

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cancellations = Cancellations(self._cancelled_of)
        self._places: dict[tuple[object, ...], Jobs] = {}
        self._open = AsyncExitStack()

    async def start(self, *args: Any, **kwargs: Any) -> None:
        """Run flow runs until the process ends; also watch those that other workers have left."""
        left = asyncio.create_task(LeftRuns(self, self._cancellations).take_over())
        try:
            await super().start(*args, **kwargs)
        finally:
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)

    async def teardown(self, *exc_info: Any) -> None:
        """End what the worker has opened; jobs go on."""
        try:
            await super().teardown(*exc_info)
        finally:
            self._places.clear()
            await self._open.aclose()

    async def run(
        self,
        flow_run: Any,
        configuration: DaskJobWorkerConfiguration,
        task_status: anyio.abc.TaskStatus[Any] | None = None,
    ) -> DaskJobWorkerResult:
        """Submit the DaskJob of a flow run, and wait for its end."""
        logger = self.get_flow_run_logger(flow_run)
        jobs = await self.jobs(configuration)
        job = await self._start(jobs, flow_run, configuration)
        logger.info("DaskJob %s in namespace %s", job.name, job.ref.namespace)
        if task_status is not None:
            task_status.started(pid_of(job.ref))
        return await self.end(jobs, job.ref, flow_run, configuration)

    async def kill_infrastructure(
        self,
        infrastructure_pid: str,
        configuration: DaskJobWorkerConfiguration,
        grace_seconds: int = 30,
    ) -> None:
        """Cancel the DaskJob of a flow run; the grace period is that of its pod."""
        del grace_seconds
        namespace, _, name = infrastructure_pid.rpartition(":")
        jobs = await self.jobs(configuration)
        try:
            found = await jobs.find(name, namespace)
            await jobs.cancel(found.ref)
        except NotFound as error:
            raise InfrastructureNotFound(str(error)) from error

    async def jobs(self, configuration: DaskJobWorkerConfiguration) -> Jobs:
        """Return the jobs of a configuration's place; all waits in a namespace share one watch."""
        of = configuration
        key = (of.local, of.kubeconfig, of.context, of.namespace)
        if key not in self._places:
            place = of_cluster(of.namespace, None, kubeconfig=of.kubeconfig, context=of.context)
            opened = this_machine() if of.local else place()
            self._places[key] = await self._open.enter_async_context(opened)
        return self._places[key]

    async def end(
        self, jobs: Jobs, ref: JobRef, flow_run: Any, configuration: DaskJobWorkerConfiguration
    ) -> DaskJobWorkerResult:
        """Return how the process of a flow run ended, once its job has; report what that has not.

        A flow run that is cancelled meanwhile cancels its job.
        """
        async with self._cancellations.watched(flow_run.id, partial(jobs.cancel, ref)):
            error = await self._failure(jobs, ref, flow_run, configuration)
            reported = await self.report(flow_run, pid_of(ref), error)
        code = (getattr(error, "exit_code", None) or _LOST) if error else 0
        # Prefect reports a crash for each other code, also of a run that is to be continued.
        return DaskJobWorkerResult(identifier=pid_of(ref), status_code=code if reported else 0)

    async def report(self, flow_run: Any, pid: str, error: DaskJobError | None) -> bool:
        """Report the end of a flow run if its process has not; return whether it had not."""
        current = await self._after_hooks(flow_run.id)
        state = state_after(current, pid, error)
        if state is None:
            return False
        if state.is_crashed():
            await self._propose_crashed_state(current, str(state.message))
        else:
            await self._cancelled(current, state)
        return bool(state.is_crashed())

    async def _start(
        self, jobs: Jobs, flow_run: Any, configuration: DaskJobWorkerConfiguration
    ) -> Job:
        identity = Identity(
            orchestrator="prefect",
            # Of a run that is scheduled again, another job; of one that two workers got, the same.
            parts=("flow-run", str(flow_run.id), str(flow_run.state.id if flow_run.state else "")),
            labels={
                **configuration.own_labels,
                LABEL_FLOW_RUN: str(flow_run.id),
                LABEL_WORK_POOL: self._work_pool_name,
            },
            annotations={**configuration.annotations, ANNOTATION_FLOW: str(flow_run.name)},
        )
        manifest = configuration.job_manifest
        try:
            return (await jobs.start(manifest, identity, owned=configuration.owned)).job
        except DaskJobError:
            await self._discard(jobs, flow_run)
            raise

    async def _discard(self, jobs: Jobs, flow_run: Any) -> None:
        """Delete a job that was created and lacks its Secret."""
        try:
            for ref in await active(jobs, {LABEL_FLOW_RUN: str(flow_run.id)}):
                await jobs.delete(ref)
        except DaskJobError as error:
            self._logger.debug("jobs of %s were not looked for: %s", flow_run.name, error)

    async def _failure(
        self, jobs: Jobs, ref: JobRef, flow_run: Any, configuration: DaskJobWorkerConfiguration
    ) -> DaskJobError | None:
        """Wait for the end of a job; return how it failed, or why it cannot be seen."""
        logger = self.get_flow_run_logger(flow_run)
        how = Followed(
            DashboardLine(logger),
            print_line=print if configuration.stream_output else None,
            pickup_seconds=configuration.pickup_timeout_seconds,
        )
        while True:
            try:
                await follow(jobs, ref, how)
            except (Failed, NotFound, NotPickedUp) as error:
                return error
            except DaskJobError as error:
                # A worker may get other credentials while the job runs, which it has started.
                if not (getattr(error, "retryable", False) or isinstance(error, Unauthorized)):
                    return error
                logger.warning("DaskJob %s is not seen for now: %s", ref.name, error)
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                return None

    async def _after_hooks(self, flow_run: UUID) -> Any:
        """Return a flow run; one that is being cancelled, once its process has run the hooks.

        The job has ended as soon as it is cancelled, and its pod only at the end of its process.
        """
        give_up = time.monotonic() + GRACE_SECONDS + _HOOK_SECONDS
        while True:
            found = await self.client.read_flow_run(flow_run)
            runs_hooks = found.start_time and found.state and found.state.is_cancelling()
            if not runs_hooks or time.monotonic() >= give_up:
                return found
            await asyncio.sleep(_HOOK_SECONDS)

    async def _cancelled(self, flow_run: Any, state: State[Any]) -> None:
        await self.client.set_flow_run_state(flow_run.id, state, force=True)
        self.get_flow_run_logger(flow_run).info("%s", state.message)

    async def _cancelled_of(self, flow_runs: Collection[UUID]) -> list[UUID]:
        """Return which flow runs are cancelled, or are to be."""
        wanted = FlowRunFilter(
            id=FlowRunFilterId(any_=list(flow_runs)),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_CANCELLED)),
        )
        return [found.id for found in await self.client.read_flow_runs(flow_run_filter=wanted)]


def pid_of(ref: JobRef) -> str:
    """Return a job as Prefect's ``infrastructure_pid``, of the form of prefect-kubernetes."""
    return f"{ref.namespace}:{ref.name}"
