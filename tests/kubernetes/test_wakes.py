"""Which passes a change of a worker wakes, and how soon."""

from __future__ import annotations

from typing import Any

from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.backends.kubernetes.watching.wakes import SOON_SECONDS, SOON_SECONDS_A_WORKER, Wakes
from daskjob.core import names
from daskjob.core.manifests import Key, Manifest
from tests.core.manifests import cluster, group
from tests.kubernetes.given import pod, seen

CLUSTER = Key(names.Kind.CLUSTER, "default", "simple")
GROUP = Key(names.Kind.GROUP, "default", "simple-more")


class Given:
    """A cluster with a group, workers that the test changes, and the woken keys."""

    def __init__(self) -> None:
        self.woken: dict[Key, float] = {}
        self.cache = Cache()
        self._version = 0
        self.put(cluster())
        of = {"kind": "DaskCluster", "name": "simple", "uid": "uid-simple", "controller": True}
        made = group()
        made["metadata"]["ownerReferences"] = [of]
        self.put(made)
        self.cache.watch(Wakes(self.cache, self._note).changed)

    def _note(self, key: Key, within: float = 0.0) -> None:
        self.woken[key] = min(within, self.woken.get(key, within))

    def put(self, manifest: Manifest, **status: Any) -> dict[Key, float]:
        """Report an object as the API server would; return the woken keys with their delays."""
        self.woken.clear()
        self._version += 1
        self.cache.put(seen(manifest, self._version, **status))
        return self.woken

    def worker(self, name: str = "w", **metadata: Any) -> Manifest:
        """Return a worker of the group."""
        of = {"kind": "DaskWorkerGroup", "uid": "uid-simple-more", "controller": True}
        found = pod(name, "default", cluster="simple", ownerReferences=[of], **metadata)
        found["metadata"]["labels"][names.LABEL_COMPONENT] = "worker"
        return found


def test_a_new_or_progressing_worker_wakes_soon_along_with_others() -> None:
    given = Given()
    soon = {CLUSTER: SOON_SECONDS, GROUP: SOON_SECONDS}
    assert given.put(given.worker()) == soon
    assert given.put(given.worker(), phase="Running", podIP="10.0.0.1") == soon


def test_one_of_many_workers_wakes_later_along_with_more_of_them() -> None:
    given = Given()
    for number in range(999):
        given.put(given.worker(f"w-{number}"))
    later = 1000 * SOON_SECONDS_A_WORKER
    assert given.put(given.worker()) == {CLUSTER: later, GROUP: later}
    assert given.put(given.worker(), phase="Failed") == {CLUSTER: later, GROUP: 0.0}


def test_a_lost_worker_wakes_its_group_at_once() -> None:
    given = Given()
    given.put(given.worker(), phase="Running")
    lost = {CLUSTER: SOON_SECONDS, GROUP: 0.0}
    assert given.put(given.worker(), phase="Failed") == lost
    going = given.worker(deletionTimestamp="2026-01-01T00:00:00Z")
    assert given.put(going, phase="Running") == lost
    item = given.cache.get("Pod", "default", "w")
    assert item is not None
    given.woken.clear()
    given.cache.remove(item.ref)
    assert given.woken == lost


def test_a_worker_that_changes_its_owner_wakes_both() -> None:
    given = Given()
    other = group("other")
    given.put(other)
    given.put(given.worker())
    moved = given.worker()
    moved["metadata"]["ownerReferences"][0]["uid"] = "uid-other"
    assert given.put(moved).keys() == {CLUSTER, GROUP, Key(names.Kind.GROUP, "default", "other")}


def test_a_scheduler_wakes_all_at_once() -> None:
    given = Given()
    scheduler = given.worker()
    scheduler["metadata"]["labels"][names.LABEL_COMPONENT] = "scheduler"
    assert given.put(scheduler) == {CLUSTER: 0.0, GROUP: 0.0}
