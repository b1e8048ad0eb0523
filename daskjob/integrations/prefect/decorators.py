"""The decorator that runs a flow in a work pool of the type ``daskjob``, from a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prefect.flows import Flow, bind_flow_to_infrastructure

from daskjob.core.errors import WrongType
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
    if not isinstance(work_pool, str) or not work_pool:
        raise WrongType(
            f"@daskjob: {work_pool!r:.80} is no work pool; write its name: "
            '@daskjob(work_pool="dask")'
        )
    if isinstance(include_files, str):
        raise WrongType(f"@daskjob: include_files is a list of paths: [{include_files!r}]")

    def bound(flow: Any) -> DaskJobFlow:
        if not isinstance(flow, Flow):
            name = getattr(flow, "__name__", repr(flow))
            raise WrongType(f"@daskjob: {name} is no flow; write @flow below @daskjob")
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
