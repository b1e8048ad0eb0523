"""Why the workers of a task died, in place of distributed's ``KilledWorker``."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daskjob.core import names
from daskjob.core.dask import Loss
from daskjob.core.killed_workers import exceeded_bytes, killed_workers, may_be_explained
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.core.pods import ContainerFacts, PodFacts, pod_facts
from daskjob.core.wording import OF_MANIFESTS, OF_SCRIPTS

MESSAGE = (
    "KilledWorker: Attempted to run task 'hog-1a2b' on 4 different workers, but all those workers "
    "died while running it. The last worker that attempt to run the task was tcp://10.0.0.1:1."
)


def worker(code: int, reason: str = "Error") -> PodFacts:
    """A worker's pod that was restarted."""
    status: Manifest = {
        "name": "worker",
        "restartCount": 1,
        "state": {"running": {}},
        "lastState": {"terminated": {"exitCode": code, "reason": reason}},
    }
    meta = {"name": "w", "labels": {names.LABEL_COMPONENT: "worker"}}
    spec = {"containers": [{"name": "worker"}]}
    return pod_facts({"metadata": meta, "spec": spec, "status": {"containerStatuses": [status]}})


def test_workers_that_the_kernel_killed_for_their_memory() -> None:
    losses = [Loss("w", ("hog",), 10, 300 * 2**20)]
    found = killed_workers(MESSAGE, [worker(137, "OOMKilled")], losses, OF_SCRIPTS)
    assert found is not None
    assert "the task hog-1a2b was run on 4 workers" in found.detail
    assert "they exceeded their memory limit of 300 MiB" in found.detail
    assert found.next_step.startswith("Raise --memory")


def test_workers_that_a_nanny_killed_near_their_limit() -> None:
    losses = [Loss("w", ("hog",), 290 * 2**20, 300 * 2**20)]
    found = killed_workers(MESSAGE, [], losses, OF_MANIFESTS)
    assert found is not None
    assert "they exceeded their memory limit of 300 MiB" in found.detail
    assert "resources.limits.memory" in found.next_step


@pytest.mark.parametrize(
    ("killed", "memory", "limit", "least"),
    [(True, 10, 300, 300), (False, 290, 300, 300), (False, 10, 300, 0), (True, 10, 0, 0)],
)
def test_the_least_peak_of_lost_workers(killed: bool, memory: int, limit: int, least: int) -> None:
    pods = [worker(137, "OOMKilled")] if killed else []
    assert exceeded_bytes(pods, [Loss("w", ("hog",), memory, limit)]) == least


@pytest.mark.parametrize(("code", "signal"), [(139, "SIGSEGV"), (134, "SIGABRT"), (136, "SIGFPE")])
def test_workers_that_crashed(code: int, signal: str) -> None:
    found = killed_workers(
        MESSAGE, [worker(code)], [Loss("w", memory=1, memory_limit=9)], OF_SCRIPTS
    )
    assert found is not None
    assert f"exit code {code} ({signal})" in found.detail
    assert "--memory" not in found.next_step


def test_workers_that_died_for_an_unknown_reason() -> None:
    found = killed_workers(MESSAGE, [worker(137)], [], OF_SCRIPTS)
    assert found is not None
    assert "Most often" in found.next_step
    assert "--memory" in found.next_step


def at_work(name: str, ip: str) -> PodFacts:
    """A worker's pod whose container has not ended."""
    return replace(worker(0), ref=ObjectRef("Pod", "d", name), ip=ip, main=ContainerFacts("worker"))


@pytest.mark.parametrize(
    ("lost", "explained"),
    [
        ("w", False),
        ("w-1", False),
        ("tcp://10.0.0.1:4321", False),
        ("tls://[fd00::1]:4321", False),
        ("v", True),
        ("tcp://10.0.0.11:4321", True),
        # Nobody's: it may have been any.
        ("17", True),
    ],
)
def test_pods_that_may_still_show_why_a_worker_died(lost: str, explained: bool) -> None:
    ended = [replace(worker(137), ip=ip) for ip in ("10.0.0.1", "fd00::1")]
    pods = [*ended, at_work("v", "10.0.0.11")]
    assert may_be_explained(MESSAGE, pods, [Loss(lost)]) is explained
    assert not may_be_explained("MemoryError", pods, [Loss(lost)])
    assert not may_be_explained(MESSAGE, [*pods, worker(139)], [Loss(lost)])


@pytest.mark.parametrize("message", ["", "ValueError: KilledWorker", "MemoryError"])
def test_another_exception_is_left_as_it_is(message: str) -> None:
    assert killed_workers(message, [worker(137, "OOMKilled")], [], OF_SCRIPTS) is None
