"""A flow whose calls run in a work pool of the type ``daskjob``."""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.flows import InfrastructureBoundFlow

from daskjob.core.errors import WrongArgument
from daskjob.integrations.prefect.server_storage import (
    COMMAND,
    LAUNCHER,
    has_storage,
    is_here,
    no_pool,
)


class DaskJobFlow(InfrastructureBoundFlow[Any, Any]):
    """A flow whose calls run as DaskJobs. ``submit`` returns at once, with a future."""

    def submit_to_work_pool(self, *args: Any, **kwargs: Any) -> Any:
        """Let a worker of the work pool, which must have a storage, run the flow.

        Raises
        ------
        NotFound
            There is no such work pool.
        WrongArgument
            It has no storage.
        """
        with get_client(sync_client=True) as client:
            try:
                pool = client.read_work_pool(self.work_pool)
            except ObjectNotFound:
                raise no_pool(self.work_pool) from None
        if not has_storage(pool):
            raise WrongArgument(
                f"work pool {pool.name!r} has no storage for flows; let Prefect's server keep "
                f"them: {COMMAND} {pool.name}"
            )
        if is_here(pool) and self.launcher is None:
            return with_launcher(self).submit_to_work_pool(*args, **kwargs)
        return super().submit_to_work_pool(*args, **kwargs)

    def with_options(self, **options: Any) -> Any:
        """Return this flow with other options."""
        return rebound(super().with_options(**options))


def rebound(flow: InfrastructureBoundFlow[Any, Any]) -> DaskJobFlow:
    """Return a flow, bound by Prefect, as one of ours."""
    made = DaskJobFlow(
        flow.fn, work_pool=flow.work_pool, job_variables={}, worker_cls=flow.worker_cls
    )
    made.__dict__.update(flow.__dict__)
    return made


def with_launcher(flow: Any) -> Any:
    """Return a flow whose steps run with the Python that is there, unless it says otherwise."""
    return flow.with_options(launcher=flow.launcher or LAUNCHER)
