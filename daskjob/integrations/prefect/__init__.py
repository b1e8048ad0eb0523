"""DaskJobs as tasks of Prefect: a block, tasks, hooks, a task runner, a worker.

::

    from daskjob.integrations.prefect import DaskJob, run_daskjob

Prefect finds the block and the worker by the entry point ``prefect.collections``. Where Prefect is
not installed, this module is empty, and importing it harmless.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daskjob.integrations.prefect.block import DaskJob as DaskJob
    from daskjob.integrations.prefect.bound_flow import DaskJobFlow as DaskJobFlow
    from daskjob.integrations.prefect.decorators import daskjob as daskjob
    from daskjob.integrations.prefect.hooks import cancel_daskjobs_hook as cancel_daskjobs_hook
    from daskjob.integrations.prefect.hooks import cancelling_daskjobs as cancelling_daskjobs
    from daskjob.integrations.prefect.job_run import DaskJobRun as DaskJobRun
    from daskjob.integrations.prefect.results import DaskJobResults as DaskJobResults
    from daskjob.integrations.prefect.retries import retry_infrastructure as retry_infrastructure
    from daskjob.integrations.prefect.retries import retry_unless_hopeless as retry_unless_hopeless
    from daskjob.integrations.prefect.task_runner import DaskJobTaskRunner as DaskJobTaskRunner
    from daskjob.integrations.prefect.tasks import arun_daskjob as arun_daskjob
    from daskjob.integrations.prefect.tasks import run_daskjob as run_daskjob
    from daskjob.integrations.prefect.worker import DaskJobWorker as DaskJobWorker

_HERE = "daskjob.integrations.prefect"
#: The module of each public name.
_MODULES = {
    "DaskJob": "block",
    "DaskJobFlow": "bound_flow",
    "DaskJobResults": "results",
    "DaskJobRun": "job_run",
    "DaskJobTaskRunner": "task_runner",
    "DaskJobWorker": "worker",
    "arun_daskjob": "tasks",
    "cancel_daskjobs_hook": "hooks",
    "cancelling_daskjobs": "hooks",
    "daskjob": "decorators",
    "retry_infrastructure": "retries",
    "retry_unless_hopeless": "retries",
    "run_daskjob": "tasks",
}

__all__ = sorted(_MODULES)

if find_spec("prefect") is not None and find_spec("aiohttp") is not None:
    # Prefect knows a block and a worker once their modules are imported.
    from daskjob.integrations.prefect import block as _block  # noqa: F401
    from daskjob.integrations.prefect import results as _results  # noqa: F401
    from daskjob.integrations.prefect import worker as _worker  # noqa: F401


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{_HERE}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        text = f"{name} needs {error.name}: pip install 'daskjob[prefect]'"
        raise ImportError(text) from error
