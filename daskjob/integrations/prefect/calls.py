"""The worker of one call of a decorated flow, in the caller's own process."""

from __future__ import annotations

import asyncio
from abc import ABC
from typing import Any

import httpx
from prefect.client.schemas.objects import WorkPool
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, get_current_settings

from daskjob.core.errors import ApiError, WrongArgument
from daskjob.integrations.prefect.bound_flow import with_launcher
from daskjob.integrations.prefect.results import results_block
from daskjob.integrations.prefect.server_storage import is_here, no_pool, with_storage
from daskjob.integrations.prefect.worker import DaskJobWorker, pid_of
from daskjob.integrations.prefect.worker_settings import DaskJobWorkerConfiguration


# ABC: Prefect takes no abstract class for the one of a type, which DaskJobWorker is.
class CallWorker(DaskJobWorker, ABC):
    """Starts the DaskJob of a call, and follows it for as long as the caller waits."""

    def __init__(self, work_pool_name: str, **kwargs: Any) -> None:
        # A pool that it created for a wrong name would have no image.
        super().__init__(work_pool_name, create_pool_if_not_found=False, **kwargs)
        self._followers: set[asyncio.Task[Any]] = set()

    @property
    def work_pool(self) -> WorkPool:
        """The work pool; Prefect's server is the storage of one that has none."""
        return with_storage(super().work_pool)

    async def submit(
        self,
        flow: Any,
        parameters: dict[str, Any] | None = None,
        job_variables: dict[str, Any] | None = None,
        flow_run: Any = None,
    ) -> Any:
        """Start the DaskJob of a call; return its future.

        Raises
        ------
        NotFound
            There is no such work pool.
        WrongArgument
            The work pool is of another type.
        ApiError
            Prefect's server does not respond.
        """
        pool = await self._known_pool()
        if is_here(pool):
            flow = with_launcher(flow)
        if await self._needs_results(flow, pool):
            flow = flow.with_options(result_storage=await results_block(), persist_result=True)
        return await super().submit(flow, parameters, job_variables, flow_run)

    async def teardown(self, *exc_info: Any) -> None:
        """End what follows the job, which goes on; a worker of the pool may follow it."""
        for task in self._followers:
            task.cancel()
        await asyncio.gather(*self._followers, return_exceptions=True)
        await super().teardown(*exc_info)

    async def _initiate_run(self, flow_run: Any, configuration: DaskJobWorkerConfiguration) -> None:
        """Start the DaskJob of a flow run, and follow it beside the caller."""
        jobs = await self.jobs(configuration)
        job = await self._start(jobs, flow_run, configuration)
        self.get_flow_run_logger(flow_run).info(
            "DaskJob %s in namespace %s", job.name, job.ref.namespace
        )
        await self.client.update_flow_run(flow_run.id, infrastructure_pid=pid_of(job.ref))
        follower = asyncio.create_task(self.end(jobs, job.ref, flow_run, configuration))
        self._followers.add(follower)

    async def _known_pool(self) -> WorkPool:
        try:
            pool = await self.client.read_work_pool(self._work_pool_name)
        except ObjectNotFound:
            raise no_pool(self._work_pool_name) from None
        except httpx.TransportError as error:
            url, reason = PREFECT_API_URL.value(), str(error) or type(error).__name__
            raise ApiError(
                f"Prefect's server at {url} does not respond: {reason}; start it, or set "
                "PREFECT_API_URL to one that the cluster's pods reach, too"
            ) from error
        if pool.type != self.type:
            raise WrongArgument(
                f"work pool {pool.name!r} has the type {pool.type!r}; @daskjob needs one of the "
                f"type {self.type!r}: prefect work-pool create --type {self.type} NAME"
            )
        return pool

    async def _needs_results(self, flow: Any, pool: WorkPool) -> bool:
        """Return whether nothing says where the result of the flow is to be kept."""
        if flow.result_storage or pool.storage_configuration.default_result_storage_block_id:
            return False
        if get_current_settings().results.default_storage_block:
            return False
        found = await self.client.read_server_default_result_storage()
        return found.default_result_storage_block_id is None
