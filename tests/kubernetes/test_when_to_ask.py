"""A pass over a group asks the scheduler only where workers may be removed."""

from __future__ import annotations

from typing import Any

import pytest

from daskjob.backends.kubernetes.backend import KubernetesBackend
from daskjob.core import names
from daskjob.core.errors import AnswerPending
from daskjob.core.manifests import Key, Manifest
from daskjob.core.observed import Platform
from daskjob.kube.access import Access
from daskjob.kube.api import Api
from tests.core.manifests import cluster, group
from tests.kubernetes.given import Plain, pod, seen
from tests.waiting import until

GROUP = Key(names.Kind.GROUP, "default", "simple-more")
RUNS: dict[str, Any] = {
    "phase": "Running",
    "podIP": "10.0.0.1",
    "conditions": [{"type": "Ready", "status": "True"}],
    "containerStatuses": [{"name": "main", "state": {"running": {}}, "containerID": "c"}],
}


def owned(manifest: Manifest, kind: str, uid: str, component: str) -> Manifest:
    """Return a pod of an owner."""
    manifest["metadata"]["ownerReferences"] = [{"kind": kind, "uid": uid, "controller": True}]
    manifest["metadata"]["labels"][names.LABEL_COMPONENT] = component
    return manifest


@pytest.mark.parametrize(
    ("strategy", "template", "workers", "asked"),
    [
        ("OnDelete", "another", 2, False),
        ("Retire", "another", 2, True),
        ("Retire", "", 2, False),
        ("OnDelete", "another", 3, True),
    ],
)
async def test_scheduler_is_asked_only_for_surplus_or_outdated_workers(
    strategy: str, template: str, workers: int, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = KubernetesBackend(Api(Plain(Access("http://nowhere.invalid"))), Platform())
    manifest = group(replicas=2)
    manifest["spec"]["updateStrategy"] = strategy
    scheduler = owned(
        pod("simple-scheduler", "default", cluster="simple"),
        "DaskCluster",
        "uid-simple",
        "scheduler",
    )
    scheduler["spec"]["containers"][0]["env"] = [{"name": names.ENV_AGENT_TOKEN, "value": "t"}]
    pods = [scheduler]
    for number in range(workers):
        worker = pod(f"w{number}", "default", cluster="simple")
        worker["metadata"]["annotations"] = {names.ANNOTATION_TEMPLATE: template}
        pods.append(owned(worker, "DaskWorkerGroup", "uid-simple-more", "worker"))
    for version, item in enumerate([cluster(), manifest], 1):
        backend.cache.put(seen(item, version))
    for version, item in enumerate(pods, 3):
        backend.cache.put(seen(item, version, **RUNS))
    questions = []

    async def fresh(uid: str, _endpoint: object) -> None:
        questions.append(uid)

    monkeypatch.setattr(backend.agents, "fresh", fresh)
    woken: list[Key] = []
    backend.subscribe(lambda key, within=0.0: woken.append(key))  # noqa: ARG005
    if asked:
        # No pass waits for a tenant's pod: the answer wakes it.
        with pytest.raises(AnswerPending):
            await backend.observe(GROUP)
        await until(lambda: woken == [GROUP])
    assert await backend.observe(GROUP) is not None
    assert questions == (["uid-simple"] if asked else [])
