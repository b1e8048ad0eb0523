"""Creates of unknown outcome, which must be settled before a pass may run."""

from __future__ import annotations

import pytest

from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.backends.kubernetes.writing.unsettled import UnsettledCreates
from daskjob.core.manifests import Key, Manifest
from tests.kubernetes.given import KEY, pod, seen

OTHER = Key("DaskJob", "default", "other")


@pytest.fixture
def cache() -> Cache:
    return Cache()


def worker(name: str = "w", owner: str = "group-uid") -> Manifest:
    reference = {"kind": "DaskWorkerGroup", "name": "g", "uid": owner, "controller": True}
    return pod(name, "default", ownerReferences=[reference])


def test_a_create_of_unknown_outcome_must_be_repeated_under_its_name(cache: Cache) -> None:
    writes = UnsettledCreates(cache)
    writes.lost(KEY, worker("w-1"))
    writes.lost(KEY, worker("w-1"))
    writes.lost(KEY, worker("w-2"))
    assert writes.unsettled(KEY)
    assert not writes.unsettled(OTHER)
    assert writes.unsettled(KEY) == [worker("w-1"), worker("w-2")]
    writes.settled(KEY, worker("w-1"))
    assert writes.unsettled(KEY) == [worker("w-2")]
    writes.settled(KEY, worker("w-2"))
    assert not writes.unsettled(KEY)
    assert not writes._unsettled


def test_a_create_reported_by_a_watch_has_happened(cache: Cache) -> None:
    writes = UnsettledCreates(cache)
    writes.lost(KEY, worker())
    cache.put(seen(worker(owner="a stranger"), 6, "foreign"))
    assert writes.unsettled(KEY) == [worker()]
    cache.put(seen(worker(), 7))
    assert not writes.unsettled(KEY)


def test_unsettled_creates_of_a_deleted_object_are_discarded(cache: Cache) -> None:
    writes = UnsettledCreates(cache)
    writes.lost(KEY, worker())
    writes.forget(KEY)
    assert not writes.unsettled(KEY)
