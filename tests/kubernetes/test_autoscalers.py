"""An autoscaler at the Kubernetes backend: the wakes of its pass, and requests to its scheduler."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest

from daskjob.backends.kubernetes.asking.retirements import concerns
from daskjob.backends.kubernetes.backend import KubernetesBackend
from daskjob.core import names
from daskjob.core.dask import Retirement
from daskjob.core.manifests import Key, Manifest
from daskjob.core.observed import ObservedAutoscaler, Platform
from daskjob.core.pods import PodFacts
from daskjob.kube.access import Access
from daskjob.kube.api import Api
from tests.core.manifests import autoscaler, cluster, group
from tests.kubernetes.given import Plain, pod, seen

SIMPLE = Key(names.Kind.AUTOSCALER, "default", "simple")
RUNS: dict[str, Any] = {
    "phase": "Running",
    "podIP": "10.0.0.1",
    "containerStatuses": [{"name": "main", "state": {"running": {}}, "containerID": "c"}],
}


class WokenBackend:
    """A backend with a cache filled by the test, and the keys that it woke."""

    def __init__(self) -> None:
        self.backend = KubernetesBackend(Api(Plain(Access("http://nowhere.invalid"))), Platform())
        self.woken: list[Key] = []
        self.backend.subscribe(self._note)
        self._version = 0

    def _note(self, key: Key, within: float = 0.0) -> None:
        del within
        self.woken.append(key)

    def put(self, manifest: Manifest, **status: Any) -> None:
        """Report an object as the API server would."""
        self._version += 1
        uid = f"uid-{manifest['metadata']['name']}"
        uid += "-autoscaler" if manifest["kind"] == names.Kind.AUTOSCALER else ""
        self.backend.cache.put(seen(manifest, self._version, uid, **status))

    def wakes(self, manifest: Manifest, **status: Any) -> bool:
        """Return whether a change wakes the autoscaler."""
        self.woken.clear()
        self.put(manifest, **status)
        return SIMPLE in self.woken

    async def observed(self, key: Key = SIMPLE) -> ObservedAutoscaler:
        """Return what a pass observes."""
        found = await self.backend.observe(key)
        assert isinstance(found, ObservedAutoscaler)
        return found


def scheduler(**status: Any) -> tuple[Manifest, dict[str, Any]]:
    """Return the scheduler pod of the cluster, with a token for its agent."""
    owner = {"kind": "DaskCluster", "name": "simple", "uid": "uid-simple", "controller": True}
    found = pod("simple-scheduler", "default", cluster="simple", ownerReferences=[owner])
    found["metadata"]["labels"][names.LABEL_COMPONENT] = "scheduler"
    found["spec"]["containers"][0]["env"] = [{"name": names.ENV_AGENT_TOKEN, "value": "t"}]
    return found, {**RUNS, **status}


def filled(**spec: Any) -> WokenBackend:
    """Return a backend with a cluster, its running scheduler, a group, and an autoscaler."""
    world = WokenBackend()
    world.put(cluster())
    manifest, status = scheduler()
    world.put(manifest, **status)
    world.put(group("simple-default"))
    world.put(autoscaler(**spec))
    return world


def wanted(world: WokenBackend) -> dict[Key, float]:
    """Return the followers of the scheduler with their intervals."""
    followed = world.backend.agents._followed.get("uid-simple")
    return dict(followed.wanted) if followed else {}


async def test_objects_that_an_autoscaler_observes_wake_its_pass() -> None:
    world = filled()
    manifest, status = scheduler(podIP="10.0.0.2")
    assert world.wakes(manifest, **status)
    assert world.wakes(group("simple-default", replicas=7))
    assert world.wakes(cluster())
    assert world.wakes(autoscaler("another"))
    assert not world.wakes(group("other-default", "other"))
    worker = pod("simple-default-worker-1", "default", cluster="simple")
    worker["metadata"]["labels"][names.LABEL_COMPONENT] = "worker"
    assert not world.wakes(worker, **RUNS)


async def test_an_answer_of_the_scheduler_wakes_the_autoscaler_of_its_cluster() -> None:
    world = filled()
    world.woken.clear()
    world.backend._dask_changed("uid-simple")
    assert SIMPLE in world.woken


async def test_the_scheduler_is_asked_on_the_autoscalers_interval_and_about_every_group() -> None:
    world = filled(intervalSeconds=7)
    world.put(group("late"))
    await world.observed()
    assert wanted(world) == {SIMPLE: 7.0}
    route = world.backend.agents._followed["uid-simple"].route
    groups = json.loads(unquote(route.removeprefix("state?groups=")))
    assert [g["name"] for g in groups] == ["simple-default", "late"]


async def test_no_scheduler_is_asked_for_a_deleted_autoscaler() -> None:
    world = filled()
    await world.observed()
    item = world.backend.cache.get(SIMPLE.kind, SIMPLE.namespace, SIMPLE.name)
    assert item is not None
    world.backend.cache.remove(item.ref)
    assert wanted(world) == {}


async def test_no_scheduler_is_asked_for_the_younger_of_two() -> None:
    world = filled()
    world.put(autoscaler("younger"))
    await world.observed()
    younger = Key(SIMPLE.kind, SIMPLE.namespace, "younger")
    assert (await world.observed(younger)).older_autoscaler == "simple"
    assert set(wanted(world)) == {SIMPLE}


async def test_a_scheduler_without_an_agent_cannot_be_asked() -> None:
    world = filled()
    assert not (await world.observed()).silent
    manifest, status = scheduler()
    manifest["spec"]["containers"][0]["env"] = []
    world.put(manifest, **status)
    assert (await world.observed()).silent
    assert wanted(world) == {}


@pytest.mark.parametrize(
    ("address", "ip", "same"),
    [
        ("tcp://10.0.0.1:4000", "10.0.0.1", True),
        ("tls://[fd00::1]:4000", "fd00::1", True),
        ("tcp://10.0.0.11:4000", "10.0.0.1", False),
        ("tcp://10.0.0.1:4000", "", False),
    ],
)
def test_a_released_worker_is_found_by_its_pods_address(address: str, ip: str, same: bool) -> None:
    item = seen(pod("w", "default"), 1, "", **{**RUNS, "podIP": ip})
    assert isinstance(item.pod, PodFacts)
    assert concerns(Retirement(retired=frozenset([address])), [item.pod]) is same
    assert not concerns(Retirement(remaining=frozenset([address])), [item.pod])
