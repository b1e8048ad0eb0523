"""Clusters of pods alone, without an operator: the classic ``KubeCluster``, and its builders.

The names are those of ``dask_kubernetes.classic``; they are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daskjob.classic.auth import AutoRefreshConfiguration as AutoRefreshConfiguration
    from daskjob.classic.auth import AutoRefreshKubeConfigLoader as AutoRefreshKubeConfigLoader
    from daskjob.classic.auth import ClusterAuth as ClusterAuth
    from daskjob.classic.auth import InCluster as InCluster
    from daskjob.classic.auth import KubeAuth as KubeAuth
    from daskjob.classic.auth import KubeConfig as KubeConfig
    from daskjob.classic.builders import clean_pod_template as clean_pod_template
    from daskjob.classic.builders import make_pod_from_dict as make_pod_from_dict
    from daskjob.classic.builders import make_pod_spec as make_pod_spec
    from daskjob.classic.cluster import KubeCluster as KubeCluster

#: The module of each public name.
_MODULES = {
    "AutoRefreshConfiguration": "auth",
    "AutoRefreshKubeConfigLoader": "auth",
    "ClusterAuth": "auth",
    "InCluster": "auth",
    "KubeAuth": "auth",
    "KubeCluster": "cluster",
    "KubeConfig": "auth",
    "clean_pod_template": "builders",
    "make_pod_from_dict": "builders",
    "make_pod_spec": "builders",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"daskjob.classic.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        text = f"{name} needs {error.name}: pip install 'daskjob[kubernetes]'"
        raise ImportError(text) from error
