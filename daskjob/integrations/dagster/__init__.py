"""DaskJobs as tasks of Dagster: a client of Dagster Pipes, and an executor on Dask workers.

::

    from dagster import AssetExecutionContext, Definitions, MaterializeResult, asset
    from daskjob.integrations.dagster import PipesDaskJobClient

    @asset
    def sums(context: AssetExecutionContext, daskjob: PipesDaskJobClient) -> MaterializeResult:
        job = {"image": "my-image", "command": ["python", "sums.py"], "n_workers": 4}
        return daskjob.run(context=context, **job).get_materialize_result()

    definitions = Definitions(assets=[sums], resources={"daskjob": PipesDaskJobClient()})
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daskjob.integrations.dagster.executor import daskjob_executor as daskjob_executor
    from daskjob.integrations.dagster.job_log import PipesDaskJobLogReader as PipesDaskJobLogReader
    from daskjob.integrations.dagster.pipes_client import PipesDaskJobClient as PipesDaskJobClient

#: The module of each public name, imported on first use: this package needs no Dagster.
_MODULES = {
    "PipesDaskJobClient": "pipes_client",
    "PipesDaskJobLogReader": "job_log",
    "daskjob_executor": "executor",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        raise ImportError(f"{name} needs {error.name}: pip install 'daskjob[dagster]'") from error
