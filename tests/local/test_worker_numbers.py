"""The names of a script's workers: 0, 1, …"""

from __future__ import annotations

from typing import Any

from daskjob.backends.local.worker_numbers import WorkerNumbers, number_of

Pod = dict[str, Any]


def pod(name: str = "a-default-worker-0123456789") -> Pod:
    env = [{"name": "DASK_WORKER_NAME", "value": name}, {"name": "A", "value": "$(B)"}]
    return {"metadata": {"name": name, "uid": "u"}, "spec": {"containers": [{"env": env}]}}


def made(numbers: WorkerNumbers, pods: list[Pod], count: int, attempt: int = 0) -> list[str]:
    """The numbers of new workers beside these pods, to which they are added."""
    new = []
    for _ in range(count):
        pods.append(numbers.numbered(pod(), pods, attempt))
        new.append(number_of(pods[-1]))
    return new


def test_numbers_grow_while_a_cluster_scales_but_for_the_last() -> None:
    numbers, pods = WorkerNumbers(), list[Pod]()
    assert made(numbers, pods, 3) == ["0", "1", "2"]
    del pods[1:]
    assert made(numbers, pods, 2) == ["2", "3"]
    del pods[1:]
    assert made(numbers, pods, 1) == ["3"]


def test_next_cluster_counts_from_0_past_the_numbers_in_use() -> None:
    numbers, pods = WorkerNumbers(), list[Pod]()
    made(numbers, pods, 3)
    del pods[1]
    numbers.restart()
    assert made(numbers, pods, 2) == ["1", "3"]
    pods.clear()
    numbers.restart()
    assert made(numbers, pods, 2) == ["0", "1"]


def test_pod_and_its_log_have_the_number_and_the_attempt() -> None:
    first = WorkerNumbers().numbered(pod(), [], 0)
    retried = WorkerNumbers().numbered(pod(), [], 2)
    assert first["metadata"] == {"name": "a-default-worker-0", "uid": "u"}
    assert retried["metadata"]["name"] == "a-default-worker-0-attempt-2"
    assert (number_of(first), number_of(retried)) == ("0", "0")
    assert {"name": "A", "value": "$(B)"} in first["spec"]["containers"][0]["env"]


def test_pod_without_a_name_of_its_worker_has_no_number() -> None:
    assert number_of({"metadata": {}, "spec": {"containers": [{}]}}) == ""
    assert number_of({}) == ""
