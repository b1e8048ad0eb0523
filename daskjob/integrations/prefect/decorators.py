"""The decorator that runs a flow in a work pool of the type ``daskjob``, from a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prefect.flows import bind_flow_to_infrastructure

from daskjob.integrations.prefect.bound_flow import DaskJobFlow, rebound
from daskjob.integrations.prefect.calls import CallWorker


def daskjob(
    work_pool: str,
    include_files: Sequence[str] | None = None,
    launcher: Any = None,
    *,
    include_files_base_dir: Path | str | None = None,
    **job_variables: Any,
) -> Callable[[Any], DaskJobFlow]:
    """Return a decorator: each call of the flow runs as a DaskJob of the work pool.

    ::

        @daskjob(work_pool="dask", n_workers=8)
        @flow(task_runner=DaskJobTaskRunner())
        def nightly(): ...

    The flow and its result are kept by Prefect's server, unless the work pool has a storage.
    """

    def bound(flow: Any) -> DaskJobFlow:
        found = bind_flow_to_infrastructure(
            flow,
            work_pool=work_pool,
            job_variables=job_variables,
            worker_cls=CallWorker,
            launcher=launcher,
            include_files=None if include_files is None else list(include_files),
            include_files_base_dir=include_files_base_dir,
        )
        return rebound(found)

    return bound
