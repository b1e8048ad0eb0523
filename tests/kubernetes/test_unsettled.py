"""When a pass may run after we wrote: the gate, by a clock that stands still."""

from __future__ import annotations

import pytest

from daskjob.backends.kubernetes.cache import Cache
from daskjob.backends.kubernetes.unsettled import UnsettledCreates
from daskjob.core.manifests import Key, Manifest
from tests.kubernetes.given import KEY, pod, seen

OTHER = Key("DaskJob", "default", "other")


@pytest.fixture
def cache() -> Cache:
    return Cache()


def worker(name: str = "w", owner: str = "group-uid") -> Manifest:
    reference = {"kind": "DaskWorkerGroup", "name": "g", "uid": owner, "controller": True}
    return pod(name, "default", ownerReferences=[reference])


def test_a_creation_of_unknown_outcome_is_to_be_repeated_under_its_name(cache: Cache) -> None:
    gate = UnsettledCreates(cache)
    gate.lost(KEY, worker("w-1"))
    gate.lost(KEY, worker("w-1"))
    gate.lost(KEY, worker("w-2"))
    assert not gate.caught_up(KEY)
    assert gate.caught_up(OTHER)
    assert gate.unsettled(KEY) == [worker("w-1"), worker("w-2")]
    gate.settled(KEY, worker("w-1"))
    assert gate.unsettled(KEY) == [worker("w-2")]
    gate.settled(KEY, worker("w-2"))
    assert gate.caught_up(KEY)
    assert not gate._unsettled


def test_a_creation_that_a_watch_tells_of_has_happened(cache: Cache) -> None:
    gate = UnsettledCreates(cache)
    gate.lost(KEY, worker())
    cache.put(seen(worker(owner="a stranger"), 6, "foreign"))
    assert gate.unsettled(KEY) == [worker()]
    cache.put(seen(worker(), 7))
    assert gate.caught_up(KEY)


def test_what_was_written_for_an_object_that_is_gone_is_forgotten(cache: Cache) -> None:
    gate = UnsettledCreates(cache)
    gate.lost(KEY, worker())
    gate.forget(KEY)
    assert gate.caught_up(KEY)
