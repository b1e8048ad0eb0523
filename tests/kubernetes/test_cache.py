"""The content of the cache, for any sources and any order of reports of an object."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable

import pytest

from daskjob.backends.kubernetes.watching.cache import REMEMBERED_SECONDS, Cache
from daskjob.backends.kubernetes.watching.items import Item
from daskjob.core.manifests import Manifest
from tests.core.manifests import group
from tests.kubernetes.given import pod, seen


@pytest.fixture
def cache() -> Cache:
    return Cache()


def one(version: int, uid: str = "uid-one") -> Item:
    return seen(pod("one", "here"), version, uid)


def owned(name: str, owner: str, version: int = 1, namespace: str = "here") -> Item:
    reference = {"kind": "DaskJob", "name": "j", "uid": owner, "controller": True}
    return seen(pod(name, namespace, ownerReferences=[reference]), version)


def job_item(name: str, namespace: str) -> Item:
    kind = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskJob", "spec": {}}
    return seen({**kind, "metadata": {"name": name, "namespace": namespace}}, 1)


def after(steps: Iterable[tuple[str, int]]) -> Cache:
    """Return a cache after these reports of one object: present (``put``) or gone, at versions."""
    cache = Cache()
    for what, version in steps:
        if what == "put":
            cache.put(one(version))
        else:
            cache.remove(one(0).ref, version)
    return cache


def names_of(items: list[Item]) -> list[str]:
    return [item.ref.name for item in items]


def test_newer_versions_replace_and_older_ones_are_ignored(cache: Cache) -> None:
    assert cache.put(one(9))
    assert cache.put(one(10))
    assert not cache.put(one(10))
    assert not cache.put(one(9))
    assert cache.get("Pod", "here", "one") == one(10)


def test_versions_are_compared_as_numbers(cache: Cache) -> None:
    cache.put(one(9))
    assert cache.put(one(10)), "as text, 10 would be less than 9"


def test_a_late_report_does_not_bring_back_a_deleted_object(cache: Cache) -> None:
    cache.put(one(5))
    assert cache.remove(one(0).ref, 8)
    assert not cache.put(one(7)), "the answer to a patch sent before the deletion"
    assert cache.get("Pod", "here", "one") is None
    assert cache.knows("uid-one", 5)


def test_an_object_returns_with_its_label(cache: Cache) -> None:
    cache.put(one(5))
    cache.remove(one(0).ref, 8)
    assert cache.put(one(9))
    assert cache.of_uid("uid-one") == one(9)


def test_an_object_deleted_by_us_does_not_come_back(cache: Cache) -> None:
    cache.put(one(5))
    cache.remove(one(0).ref)
    assert not cache.put(one(6))
    assert not cache.remove(one(0).ref, 7)
    assert not cache.put(one(10**12))


def test_a_late_deletion_does_not_remove_a_newer_version(cache: Cache) -> None:
    cache.put(one(9))
    assert not cache.remove(one(0).ref, 8)
    assert cache.get("Pod", "here", "one") == one(9)


def test_a_deletion_removes_no_other_object_of_the_name(cache: Cache) -> None:
    cache.put(one(9, "second"))
    assert not cache.remove(one(0, "first").ref, 8)
    assert cache.get("Pod", "here", "one") == one(9, "second")


def test_a_new_object_of_a_name_implies_the_deletion_of_the_old_one(cache: Cache) -> None:
    changes: list[tuple[Item | None, Item | None]] = []
    cache.put(one(5, "first"))
    cache.watch(lambda old, new: changes.append((old, new)))
    cache.put(one(9, "second"))
    assert changes == [(one(5, "first"), None), (None, one(9, "second"))]
    assert cache.knows("first", 5)
    assert cache.of_uid("first") is None
    assert len(cache) == 1


def test_an_old_object_of_a_name_does_not_replace_the_new_one(cache: Cache) -> None:
    cache.put(one(9, "second"))
    assert not cache.put(one(5, "first"))
    assert cache.get("Pod", "here", "one") == one(9, "second")


def test_a_list_removes_missing_objects_but_not_newer_ones(cache: Cache) -> None:
    for name, version in (("listed", 3), ("ghost", 4), ("ours", 12)):
        cache.put(seen(pod(name, "here"), version))
    cache.put(seen(pod("elsewhere", "there"), 4))
    cache.keep_only("Pod", "here", {"uid-listed"}, 10)
    assert sorted(names_of(cache.all("Pod"))) == ["elsewhere", "listed", "ours"]
    assert not cache.put(seen(pod("ghost", "here"), 9))


def test_a_list_of_all_namespaces_removes_missing_objects_of_any(cache: Cache) -> None:
    for namespace in ("here", "there"):
        cache.put(seen(pod("ghost", namespace, uid=namespace), 4))
    cache.keep_only("Pod", None, set(), 10)
    assert cache.all("Pod") == []
    assert len(cache) == 0


def test_the_result_does_not_depend_on_the_order() -> None:
    steps = [("put", 3), ("put", 5), ("remove", 7)]
    for order in itertools.permutations([*steps, *steps]):
        cache = after(order)
        assert cache.get("Pod", "here", "one") is None, order
        assert not cache.controlled("here", "owner")
        assert not cache.labelled("here", "sums")


def test_known_versions_are_exactly_those_that_change_nothing() -> None:
    steps = [("put", 3), ("put", 5), ("remove", 4), ("remove", 7), ("put", 8)]
    for count, version in itertools.product(range(4), range(10)):
        for order in itertools.permutations(steps, count):
            cache = after(order)
            known = cache.knows("uid-one", version)
            assert cache.put(one(version)) is not known, (order, version)


def test_deleted_objects_are_remembered_for_a_limited_time() -> None:
    now = 0.0
    cache = Cache(clock=lambda: now)
    for number in range(100):
        cache.remove(one(0, f"uid-{number}").ref, 5)
        now += REMEMBERED_SECONDS / 50
    assert not cache.knows("uid-0", 5)
    assert cache.knows("uid-99", 5)
    assert len(cache._gone) <= 51
    # Also if nothing else is deleted.
    now += REMEMBERED_SECONDS
    cache.tidy()
    assert not cache.knows("uid-99", 5)


def test_memory_of_many_objects_is_released_when_few_are_left() -> None:
    now = 0.0
    cache = Cache(clock=lambda: now)
    few = [item for number in range(5) for item in one_of_each(f"few-{number}")]
    for item in few:
        cache.put(item)
    small = _room(cache)
    many = [item for number in range(500) for item in one_of_each(f"many-{number}")]
    for item in many:
        cache.put(item)
    for item in many:
        cache.remove(item.ref)
    now = REMEMBERED_SECONDS
    cache.tidy()
    assert _room(cache) == small
    for number in range(5):
        found, spoken = one_of_each(f"few-{number}")
        assert cache.controlled("here", f"job-few-{number}") == cache.labelled(
            "here", found.cluster
        )
        assert cache.controlled("here", f"job-few-{number}") == [found]
        assert cache.referring_to("here", spoken.cluster_ref) == [spoken]


def one_of_each(name: str) -> list[Item]:
    """Return a job's pod on a cluster and a group that refers to a cluster, by ``name``."""
    reference = {"kind": "DaskJob", "name": "j", "uid": f"job-{name}", "controller": True}
    found = pod(name, "here", cluster=name, ownerReferences=[reference])
    spoken = group(f"{name}-more", cluster=name)
    spoken["metadata"]["namespace"] = "here"
    return [seen(found, 1), seen(spoken, 1)]


def _room(cache: Cache) -> int:
    """Return the size in bytes of a cache's indexes."""
    indexes = [found for found in vars(cache).values() if isinstance(found, dict)]
    indexes += [names for kinds in cache._named.values() for names in kinds.values()]
    return sum(map(sys.getsizeof, indexes))


def test_objects_are_found_by_their_controller(cache: Cache) -> None:
    for item in (owned("a", "job-1"), owned("b", "job-1"), owned("c", "job-2")):
        cache.put(item)
    assert sorted(names_of(cache.controlled("here", "job-1"))) == ["a", "b"]
    cache.remove(owned("a", "job-1").ref, 2)
    cache.put(owned("b", "job-2", version=2))
    assert cache.controlled("here", "job-1") == []
    assert sorted(names_of(cache.controlled("here", "job-2"))) == ["b", "c"]


def test_an_object_is_not_owned_by_one_of_another_namespace(cache: Cache) -> None:
    victim, other = job_item("victim", "there"), owned("a", "uid-victim")
    cache.put(victim)
    cache.put(other)
    assert cache.controlled("there", "uid-victim") == []
    assert cache.owner(other) is None
    assert cache.objects("there").pods("uid-victim") == []


def test_objects_are_found_by_their_clusters_name(cache: Cache) -> None:
    cache.put(one(1))
    cache.put(seen(pod("other", "here", cluster="others"), 1))
    cache.put(seen(pod("far", "there"), 1))
    assert names_of(cache.labelled("here", "sums")) == ["one"]
    cache.put(seen(pod("one", "here", cluster="others"), 2))
    assert cache.labelled("here", "sums") == []
    assert sorted(names_of(cache.labelled("here", "others"))) == ["one", "other"]


def test_nothing_is_left_of_deleted_objects(cache: Cache) -> None:
    items = [owned(f"p{n}", f"job-{n}", namespace=f"ns-{n}") for n in range(50)]
    for item in items:
        cache.put(item)
    for item in items:
        cache.remove(item.ref, 2)
    indexes = (cache._named["Pod"], cache._by_uid, cache._controlled, cache._labelled)
    assert [len(index) for index in indexes] == [0, 0, 0, 0]


def test_lookups_leave_nothing_behind(cache: Cache) -> None:
    cache.get("Pod", "nowhere", "none")
    cache.all("Pod", "nowhere")
    cache.controlled("nowhere", "missing")
    cache.labelled("nowhere", "none")
    assert not cache._named["Pod"]
    assert not cache._controlled
    assert not cache._labelled


def test_a_change_is_reported_once_with_the_old_and_the_new_object(cache: Cache) -> None:
    changes: list[tuple[Item | None, Item | None]] = []
    cache.watch(lambda old, new: changes.append((old, new)))
    cache.put(one(1))
    cache.put(one(1))
    cache.put(one(2))
    cache.remove(one(0).ref, 3)
    cache.remove(one(0).ref, 3)
    assert changes == [(None, one(1)), (one(1), one(2)), (one(2), None)]


def test_our_kinds_are_kept_completely(cache: Cache) -> None:
    job: Manifest = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": "sums", "namespace": "here"},
        "spec": {"anything": [1, {"at": "all"}]},
    }
    cache.put(seen(job, 7))
    found = cache.objects("here").named("DaskJob", "sums")
    assert found is not None
    assert found["spec"] == {"anything": [1, {"at": "all"}]}
    assert cache.objects("there").named("DaskJob", "sums") is None
