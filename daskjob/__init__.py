"""daskjob runs a Dask script, or a DaskJob manifest, to a truthful end.

``JobClient`` and ``AsyncJobClient`` submit jobs to a cluster and follow them; ``ClusterClient`` and
``AsyncClusterClient`` handle clusters without jobs; ``KubeCluster`` is a cluster for interactive
work; ``errors`` has what they raise. ``submit`` and ``submit_async`` call a function in a job. They
are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daskjob import errors as errors
    from daskjob.kubecluster.cluster import KubeCluster as KubeCluster
    from daskjob.submit.client.async_client import AsyncJobClient as AsyncJobClient
    from daskjob.submit.client.sync_client import JobClient as JobClient
    from daskjob.submit.clusters.client import AsyncClusterClient as AsyncClusterClient
    from daskjob.submit.clusters.sync_client import ClusterClient as ClusterClient
    from daskjob.submit.functions.submitting import submit as submit
    from daskjob.submit.functions.submitting import submit_async as submit_async

__version__ = "0.1.0"

#: The module of each public name.
_MODULES = {
    "AsyncClusterClient": "daskjob.submit.clusters.client",
    "AsyncJobClient": "daskjob.submit.client.async_client",
    "ClusterClient": "daskjob.submit.clusters.sync_client",
    "JobClient": "daskjob.submit.client.sync_client",
    "KubeCluster": "daskjob.kubecluster.cluster",
    "submit_async": "daskjob.submit.functions.submitting",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in ("errors", "submit"):
        return import_module(f"daskjob.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        text = f"{name} needs {error.name}: pip install 'daskjob[kubernetes]'"
        raise ImportError(text) from error
