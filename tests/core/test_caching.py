"""Results for immutable values are cached until the caches are cleared."""

from __future__ import annotations

import json
import sys

from daskjob.core import caching
from daskjob.core.manifests import parse_time
from daskjob.core.pods import pod_facts


def test_result_of_the_same_value_is_computed_again_once_caches_are_cleared() -> None:
    made: list[int] = []

    @caching.cached_by_identity
    def length(given: list[int]) -> int:
        made.append(len(given))
        return len(given)

    value = [1, 2]
    assert (length(value), length(value), made) == (2, 2, [2])
    before = sys.getrefcount(value)
    caching.forget()
    assert sys.getrefcount(value) == before - 1
    assert (length(value), made) == (2, [2, 2])


def test_result_of_equal_values_is_computed_again_once_caches_are_cleared() -> None:
    made: list[str] = []

    @caching.cached(8)
    def length(given: str) -> int:
        made.append(given)
        return len(given)

    word = "word" * 2
    assert (length(word), length("wordword"), len(made)) == (8, 8, 1)
    caching.forget()
    assert (length(word), len(made)) == (8, 2)


def test_no_parsed_time_is_held_once_caches_are_cleared() -> None:
    # A single one can keep a mebibyte of memory from being returned to the system.
    text = "2026-01-01T00:00:01Z"
    first = parse_time(text)
    assert parse_time(text) is first
    caching.forget()
    assert parse_time(text) is not first


def test_equal_strings_of_many_objects_are_one_in_memory() -> None:
    read = ["".join(["Run", "ning"]) for _ in range(2)]
    assert read[0] is not read[1]
    assert caching.shared(read[0]) is caching.shared(read[1])


def test_strings_that_pods_have_in_common_are_one_in_memory() -> None:
    owner = {"kind": "DaskWorkerGroup", "name": "sums-default", "uid": "group", "controller": True}
    text = json.dumps(
        {
            "metadata": {
                "namespace": "here",
                "labels": {"dask.org/component": "worker", "dask.org/workergroup-name": "sums"},
                "ownerReferences": [owner],
                "annotations": {"kubernetes.dask.org/template": "a3d976ab4b7a6141"},
            },
            "spec": {"restartPolicy": "Always"},
            "status": {"phase": "Running", "containerStatuses": [{"name": "worker"}]},
        }
    )
    one, other = (pod_facts(json.loads(text)) for _ in range(2))
    assert one.ref.namespace is other.ref.namespace
    for name in (
        "owner_uid",
        "owner_kind",
        "owner_name",
        "component",
        "group",
        "template",
        "phase",
    ):
        assert getattr(one, name)
        assert getattr(one, name) is getattr(other, name), name
