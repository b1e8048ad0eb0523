"""Passes over a real Kubernetes that rejects statuses: which objects back off, and which do not."""

from __future__ import annotations

import logging

import pytest

from daskjob.core.errors import RejectionKind, StatusRejected
from daskjob.core.manifests import Key, Manifest
from tests.cluster.proxy import answer
from tests.core.manifests import job
from tests.kubernetes.given import Cluster
from tests.kubernetes.passing import passing, ref_of
from tests.waiting import until

DENIED = 'admission webhook "statuses.example.com" denied the request: not today'


def waiting(name: str, namespace: str) -> Manifest:
    """Return a job whose pods wait for a missing Kubernetes scheduler."""
    manifest = job(name)
    manifest["metadata"]["namespace"] = namespace
    spec = manifest["spec"]
    cluster = spec["cluster"]["spec"]
    for template in (spec["job"], cluster["scheduler"], cluster["worker"]):
        template["spec"]["schedulerName"] = "nobody"
    return manifest


@pytest.fixture
def cluster(with_crds: Cluster) -> Cluster:
    return with_crds


async def test_a_status_rejected_by_the_schema_is_rejected_with_its_message(
    cluster: Cluster, namespace: str
) -> None:
    async with passing(cluster, namespace) as found:
        key = Key("DaskJob", namespace, "sums")
        await found.others.create(waiting("sums", namespace))
        await until(lambda: found.status(key).get("clusterName"))
        with pytest.raises(StatusRejected, match=r"status\.attempt") as rejection:
            await found.backend.write_status(ref_of(found, key), {"attempt": "one"})
        assert rejection.value.kind is RejectionKind.INVALID
        assert rejection.value.name == f"DaskJob {namespace}/sums"


@pytest.mark.parametrize("code", [400, 422])
async def test_an_object_whose_status_is_rejected_fails_alone_and_is_tried_ever_more_rarely(
    code: int, cluster: Cluster, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with passing(cluster, namespace) as found:
            bad, good = (Key("DaskJob", namespace, name) for name in ("bad", "good"))
            found.proxy.on(
                answer(code, DENIED, "Invalid", details={"causes": [{"field": "status"}]}),
                when=lambda request: (
                    (request.name, request.subresource) == ("bad", "status")
                    and request.resource == "daskjobs"
                ),
                times=None,
            )
            for name in ("bad", "good"):
                await found.others.create(waiting(name, namespace))
            await until(lambda: found.status(good).get("clusterName"))
            await until(lambda: found.pod(bad, "bad-runner"))
            for _ in range(59):
                await found.at_rest()
                found.later(60)
            await found.at_rest()
            tried = [r for r in found.proxy.requests("patch", "daskjobs") if r.name == "bad"]
            # At once, then each minute looked at: after 1, 2, 4, 8, 16, and 32 minutes.
            assert 5 <= len(tried) <= 8
            assert found.status(bad) == {}
            assert found.passes.queue.failing == 0
            logged = [r for r in caplog.records if getattr(r, "key", None) == bad]
            assert len(logged) == len(tried)
            assert all(DENIED in record.getMessage() for record in logged)
            assert "trying again in" in logged[0].getMessage()


async def test_a_status_accepted_at_last_has_all_delayed_changes(
    cluster: Cluster, namespace: str
) -> None:
    async with passing(cluster, namespace) as found:
        key = Key("DaskJob", namespace, "sums")
        rule = found.proxy.on(
            answer(403, DENIED, "Forbidden"),
            when=lambda request: request.subresource == "status",
            times=None,
        )
        await found.others.create(waiting("sums", namespace))
        await until(lambda: found.pod(key, "sums-runner"))
        await found.at_rest()
        assert found.status(key) == {}
        rule.end()
        found.later(10)
        await until(lambda: found.status(key).get("jobRunnerPodName") == "sums-runner")
