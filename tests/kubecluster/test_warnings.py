"""Each warning points at the line of the user that causes it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import dask
import pytest
from distributed.core import Status

from daskjob.classic import KubeCluster as ClassicCluster
from daskjob.classic import make_pod_spec
from daskjob.errors import ClusterClosed
from daskjob.kubecluster.cluster import KubeCluster
from daskjob.operator import make_cluster_spec

LATER: dict[str, Any] = {"asynchronous": True}


def other_name() -> Any:
    return KubeCluster("mine", custom_cluster_spec=make_cluster_spec("theirs"), **LATER)


def maximum() -> Any:
    with dask.config.set({"kubernetes.count.max": 3}):
        return KubeCluster("mine", **LATER)


def host() -> Any:
    return KubeCluster.from_dict(make_pod_spec("i"), host="0.0.0.0", **LATER)


def adapt() -> Any:
    cluster = KubeCluster("mine", **LATER)
    cluster.status = Status.closed
    with suppress(ClusterClosed):
        cluster.adapt(minimum=1, interval="1s")


def old_variable() -> Any:
    with dask.config.set({"kubernetes_name": "mine"}):
        return KubeCluster(**LATER)


def old_variable_of_classic() -> Any:
    with dask.config.set({"kubernetes_namespace": "team"}):
        found: Any = ClassicCluster(make_pod_spec("i"), asynchronous=True)
    found._quietly_closed()
    return found


@pytest.mark.parametrize(
    ("causes", "text"),
    [
        (other_name, "the cluster is named theirs"),
        (maximum, "count.max=3 limits"),
        (host, "host has no effect"),
        (adapt, "without effect in adapt: interval"),
        (old_variable, "DASK_KUBERNETES_NAME is an old name"),
        (old_variable_of_classic, "DASK_KUBERNETES_NAMESPACE still counts"),
    ],
)
async def test_a_warning_points_at_the_users_line(causes: Callable[[], Any], text: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        causes()
    lines = [one for one in caught if text in str(one.message)]
    assert len(lines) == 1
    assert os.path.samefile(lines[0].filename, __file__)
    code = causes.__code__
    assert code.co_firstlineno < lines[0].lineno < code.co_firstlineno + 5
