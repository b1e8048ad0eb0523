"""DaskJobs as tasks of Airflow.

::

    from daskjob.integrations.airflow import DaskJobOperator

    DaskJobOperator(task_id="census", script="census.py", image="example.org/dask:7", n_workers=4)

The names are imported on first use: Airflow asks for the provider's description in each of its
processes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskjob.integrations.airflow.clusters import (
        CreateDaskClusterOperator as CreateDaskClusterOperator,
    )
    from daskjob.integrations.airflow.clusters import (
        DeleteDaskClusterOperator as DeleteDaskClusterOperator,
    )
    from daskjob.integrations.airflow.hooks import AsyncDaskJobHook as AsyncDaskJobHook
    from daskjob.integrations.airflow.hooks import DaskJobHook as DaskJobHook
    from daskjob.integrations.airflow.links import DaskDashboardLink as DaskDashboardLink
    from daskjob.integrations.airflow.operators import DaskJobOperator as DaskJobOperator
    from daskjob.integrations.airflow.retries import DEFAULT_RETRY_POLICY as DEFAULT_RETRY_POLICY
    from daskjob.integrations.airflow.sensors import DaskJobSensor as DaskJobSensor
    from daskjob.integrations.airflow.triggers import DaskJobTrigger as DaskJobTrigger

_PACKAGE = "daskjob.integrations.airflow"
#: The module of each public name.
_MODULES = {
    "AsyncDaskJobHook": "hooks",
    "CreateDaskClusterOperator": "clusters",
    "DEFAULT_RETRY_POLICY": "retries",
    "DaskDashboardLink": "links",
    "DaskJobHook": "hooks",
    "DaskJobOperator": "operators",
    "DaskJobSensor": "sensors",
    "DaskJobTrigger": "triggers",
    "DeleteDaskClusterOperator": "clusters",
}


__all__ = sorted(_MODULES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{_PACKAGE}.{_MODULES[name]}"), name)


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description, for Airflow's entry point; it imports nothing."""
    from daskjob import __version__

    integration = "Dask"

    def modules(*names: str) -> list[dict[str, Any]]:
        found = [f"{_PACKAGE}.{name}" for name in names]
        return [{"integration-name": integration, "python-modules": found}]

    return {
        "package-name": "daskjob",
        "name": "Dask",
        "description": "Runs Dask programs as DaskJobs, on Kubernetes or on the worker's machine.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": integration,
                "external-doc-url": "https://docs.dask.org/",
                "tags": ["software"],
            }
        ],
        "operators": modules("operators", "clusters"),
        "sensors": modules("sensors"),
        "hooks": modules("hooks"),
        "triggers": modules("triggers"),
        "extra-links": [f"{_PACKAGE}.links.DaskDashboardLink"],
        "task-decorators": [
            {"class-name": f"{_PACKAGE}.decorators.daskjob_task", "name": "daskjob"}
        ],
    }
