"""The decorator that runs a flow in a work pool of the type ``daskjob``, from a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from prefect.flows import bind_flow_to_infrastructure

from daskjob.integrations.prefect.worker import DaskJobWorker


def daskjob(
    work_pool: str,
    include_files: Sequence[str] | None = None,
    launcher: Any = None,
    **job_variables: Any,
) -> Callable[[Any], Any]:
    """Return a decorator: each call of the flow runs as a DaskJob of the work pool.

    ::

        @daskjob(work_pool="dask", n_workers=8)
        @flow(task_runner=DaskJobTaskRunner())
        def nightly(): ...
    """

    def bound(flow: Any) -> Any:
        return bind_flow_to_infrastructure(
            flow,
            work_pool=work_pool,
            job_variables=job_variables,
            worker_cls=DaskJobWorker,
            launcher=launcher,
            include_files=None if include_files is None else list(include_files),
        )

    return bound
