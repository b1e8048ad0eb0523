"""When a pass may run after we wrote: the gate, by a clock that stands still."""

from __future__ import annotations

import pytest

from daskjob.backends.kubernetes.cache import Cache
from daskjob.backends.kubernetes.own_writes import PATIENCE_SECONDS, OwnWrites
from daskjob.core.manifests import Key, Manifest
from tests.kubernetes.given import KEY, pod, seen

OTHER = Key("DaskJob", "default", "other")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def cache() -> Cache:
    return Cache()


def worker(name: str = "w", owner: str = "group-uid") -> Manifest:
    reference = {"kind": "DaskWorkerGroup", "name": "g", "uid": owner, "controller": True}
    return pod(name, "default", ownerReferences=[reference])


def test_a_write_that_the_cache_shows_holds_nothing_up_and_is_not_kept(cache: Cache) -> None:
    gate = OwnWrites(cache)
    cache.put(seen(worker(), 7))
    gate.wrote(KEY, "uid-w", 7)
    assert gate.caught_up(KEY)
    assert not gate._unseen


def test_a_pass_waits_until_the_cache_shows_the_write(cache: Cache) -> None:
    gate = OwnWrites(cache)
    gate.wrote(KEY, "uid-w", 7)
    assert not gate.caught_up(KEY)
    assert gate.caught_up(OTHER)
    cache.put(seen(worker(), 6))
    assert not gate.caught_up(KEY)
    cache.put(seen(worker(), 8))
    assert gate.caught_up(KEY)
    assert not gate._unseen


def test_an_object_that_was_written_and_is_gone_holds_nothing_up(cache: Cache) -> None:
    gate = OwnWrites(cache)
    gate.wrote(KEY, "uid-w", 7)
    cache.remove(seen(worker(), 7).ref, 9)
    assert gate.caught_up(KEY)


def test_what_will_never_show_holds_a_pass_up_for_30_seconds_only(cache: Cache) -> None:
    clock = Clock()
    gate = OwnWrites(cache, clock)
    gate.wrote(KEY, "uid-w", 7)
    clock.now = PATIENCE_SECONDS - 1
    assert not gate.caught_up(KEY)
    clock.now = PATIENCE_SECONDS
    assert gate.caught_up(KEY)


def test_a_creation_of_unknown_outcome_is_to_be_repeated_under_its_name(cache: Cache) -> None:
    gate = OwnWrites(cache)
    gate.lost(KEY, worker("w-1"))
    gate.lost(KEY, worker("w-1"))
    gate.lost(KEY, worker("w-2"))
    assert not gate.caught_up(KEY)
    assert gate.unsettled(KEY) == [worker("w-1"), worker("w-2")]
    gate.settled(KEY, worker("w-1"))
    assert gate.unsettled(KEY) == [worker("w-2")]
    gate.settled(KEY, worker("w-2"))
    assert gate.caught_up(KEY)
    assert not gate._unsettled


def test_a_creation_that_a_watch_tells_of_has_happened(cache: Cache) -> None:
    gate = OwnWrites(cache)
    gate.lost(KEY, worker())
    cache.put(seen(worker(owner="a stranger"), 6, "foreign"))
    assert gate.unsettled(KEY) == [worker()]
    cache.put(seen(worker(), 7))
    assert gate.caught_up(KEY)


def test_a_creation_of_unknown_outcome_is_never_given_up_by_time_alone(cache: Cache) -> None:
    clock = Clock()
    gate = OwnWrites(cache, clock)
    gate.lost(KEY, worker())
    clock.now = 10 * PATIENCE_SECONDS
    assert not gate.caught_up(KEY)


def test_what_was_written_for_an_object_that_is_gone_is_forgotten(cache: Cache) -> None:
    gate = OwnWrites(cache)
    gate.lost(KEY, worker())
    gate.wrote(KEY, "uid-x", 7)
    gate.forget(KEY)
    assert gate.caught_up(KEY)
