"""Starts that fail, and what is seen: on a real Kubernetes, with and without an operator."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from daskjob.core.errors import DaskJobError
from daskjob.kubecluster import errors
from daskjob.kubecluster.cluster import KubeCluster
from daskjob.kubecluster.specs import make_cluster_spec
from tests.kubecluster.conftest import Place

SECONDS = 3


async def failure_of(place: Place, name: str, **more: Any) -> tuple[DaskJobError, KubeCluster]:
    given = {"resource_timeout": SECONDS, "asynchronous": True, **more}
    cluster = KubeCluster(**place.arguments(name, **given))
    with pytest.raises(DaskJobError) as caught:
        await cluster
    return caught.value, cluster


def custom(place: Place, name: str, **container: Any) -> dict[str, Any]:
    spec = make_cluster_spec(name, image=place.kubernetes.image("dask"))
    spec["spec"]["scheduler"]["spec"]["containers"][0].update(container)
    return spec


@pytest.mark.check(9)
@pytest.mark.check(12)
async def test_a_start_that_is_blocked_ends_with_the_reason_and_leaves_nothing(
    place: Place,
) -> None:
    crash = custom(place, "crashes", args=["python", "-c", "raise SystemExit('no such thing')"])
    volume = custom(place, "no-config", envFrom=[{"secretRef": {"name": "nothing-there"}}])
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}}
    found = await asyncio.gather(
        failure_of(place, "no-image", image="nothing.test/nothing:1"),
        failure_of(place, "too-big", resources={"requests": {"cpu": "900"}}),
        failure_of(place, "crashes", custom_cluster_spec=crash),
        # A busy kubelet says first that it has not read the Secret yet.
        failure_of(place, "no-config", custom_cluster_spec=volume, resource_timeout=8),
        # No kubelet reads this name, however long one waits.
        failure_of(place, "bad-image", image="Nothing/Nothing:1", resource_timeout=120),
    )
    image, big, crashed, config, unreadable = [error for error, _ in found]
    assert isinstance(image, errors.StartTimeout)
    assert re.search(r"no-image did not start within \d+ s: .*nothing.test/nothing:1", str(image))
    assert isinstance(big, TimeoutError)
    assert "Insufficient cpu" in str(big)
    assert isinstance(crashed, errors.CrashLoopBackOffError)
    assert "no such thing" in str(crashed)
    assert 'secret "nothing-there" not found' in str(config)
    assert isinstance(unreadable, errors.SchedulerStartupError)
    assert re.search(r"bad-image cannot start: .* is invalid: .*Nothing/Nothing", str(unreadable))
    assert not place.kubectl.there("daskclusters")
    for error, cluster in found:
        assert "\n" not in str(error) or error is crashed
        assert cluster.status.name == "closed"
        with pytest.raises(errors.ClusterClosed):
            await cluster.scale(1)
    place.kubectl("create", "-f", "-", stdin=json.dumps({**quota, "spec": {"hard": {"pods": "0"}}}))
    try:
        error, _ = await failure_of(place, "no-quota")
    finally:
        place.kubectl("delete", "resourcequota", "few")
    assert "exceeded quota: few" in str(error)
    assert not place.kubectl.there("daskclusters")


@pytest.mark.check(10)
@pytest.mark.check(13)
async def test_the_absence_of_an_operator_is_said_within_10_s(bare: Place, audit: Any) -> None:
    clock = asyncio.get_running_loop().time
    began = clock()
    cluster = KubeCluster(**bare.arguments("alone", resource_timeout=11, asynchronous=True))
    with audit() as audited:
        starting = asyncio.ensure_future(cluster._start())
        text = "no operator has picked up alone yet; check that one watches namespace"
        while not any(text in line for _, line in cluster._cluster_manager_logs):
            assert clock() - began < 10
            await asyncio.sleep(0.1)
        with pytest.raises(
            errors.StartTimeout, match=r"alone did not start within 1[1-3] s: no op"
        ):
            await starting
    # One watch of the cluster and one of its groups, and no polling.
    ours = [one for one in audited.requests if one.namespace == bare.namespace]
    assert len(ours) < 12, ours
    assert not bare.kubectl.there("daskclusters")


@pytest.mark.check(12)
async def test_a_failed_start_keeps_what_it_found(bare: Place) -> None:
    spec = make_cluster_spec("found")
    bare.kubectl("create", "-f", "-", stdin=json.dumps(spec))
    error, _ = await failure_of(bare, "found", resource_timeout=1)
    assert "no operator has picked up found" in str(error)
    asked, _ = await failure_of(bare, "found", resource_timeout=1, shutdown_on_close=True)
    assert isinstance(asked, errors.StartTimeout)
    assert bare.kubectl.there("daskclusters") == ["daskcluster.kubernetes.dask.org/found"]


@pytest.mark.check(30)
async def test_a_local_port_in_use_is_named_and_the_cluster_removed(place: Place) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        error, _ = await failure_of(place, "port", scheduler_forward_port=port, resource_timeout=60)
    assert isinstance(error, ConnectionError)
    assert f"port {port} of 127.0.0.1 is in use" in str(error)
    assert not place.kubectl.there("daskclusters")
