"""Which workers a task killed, and how: the cause behind distributed's ``KilledWorker``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from daskjob.core.dask import Loss
from daskjob.core.diagnose import signal_name
from daskjob.core.pods import ContainerFacts, PodFacts
from daskjob.core.quantity import format_bytes
from daskjob.core.wording import Words

_KILLED = re.compile(
    r"KilledWorker: Attempted to run task (?P<key>.+?) on (?P<count>\d+) different workers"
)
#: A worker whose last heartbeat was at this share of its limit has most likely exceeded it.
NEAR_LIMIT = 0.8
#: A limit of unknown size.
OF_CONTAINER = "the container"


@dataclass(frozen=True, slots=True)
class KilledWorkers:
    """What happened to the workers of a task, in place of distributed's message."""

    detail: str
    next_step: str


def killed_workers(
    message: str, pods: Iterable[PodFacts], losses: Iterable[Loss], words: Words
) -> KilledWorkers | None:
    """Return why workers died if an exception's message says that they did; else ``None``."""
    found = _KILLED.search(message)
    if found is None:
        return None
    pods, losses = tuple(pods), tuple(losses)
    key, count = found["key"].strip("'\""), int(found["count"])
    each = "1 worker, which died" if count == 1 else f"{count} workers, and each of them died"
    what = f"KilledWorker: the task {key} was run on {each}"
    if limit := memory_limit(pods, losses):
        step = f"Raise {words.memory}, or give each task less data (smaller partitions)."
        return KilledWorkers(f"{what}: {_exceeded(limit, count)}", step)
    codes = [code for pod in pods if (code := _crash_code(pod))]
    if codes:
        step = "Run the task in the script itself to see where it crashes."
        return KilledWorkers(f"{what}, with exit code {codes[0]}{signal_name(codes[0])}", step)
    step = f"Most often it uses too much memory: raise {words.memory}; or read the workers' logs."
    return KilledWorkers(what, step)


def may_be_explained(message: str, pods: Iterable[PodFacts], losses: Iterable[Loss]) -> bool:
    """Return whether a worker's pod may still show why it died.

    The scheduler loses a worker's connection at once, and the script may end before Kubernetes
    reports the end of the worker's container.
    """
    pods, losses = tuple(pods), tuple(losses)
    if _KILLED.search(message) is None or _cause_is_known(pods, losses):
        return False
    lost = [pod for pod in pods if any(_is_of(pod, loss.worker) for loss in losses)]
    return any(pod.main is not None and not _has_ended_once(pod.main) for pod in lost or pods)


def _cause_is_known(pods: Iterable[PodFacts], losses: Iterable[Loss]) -> bool:
    return bool(memory_limit(pods, losses)) or any(_crash_code(pod) for pod in pods)


def _is_of(pod: PodFacts, worker: str) -> bool:
    """Return whether a worker ran in a pod.

    Several workers of a pod have a suffix. A worker without a name of its own is named by its
    address: ``tcp://10.0.0.1:4321``.
    """
    name, ip = pod.ref.name, pod.ip
    if ip and re.search(rf"//\[?{re.escape(ip)}\]?:", worker):
        return True
    return worker == name or worker.startswith(f"{name}-")


def _has_ended_once(container: ContainerFacts) -> bool:
    return container.terminated or container.restarts > 0


def _exceeded(limit: str, count: int) -> str:
    who, whose = ("it", "its") if count == 1 else ("they", "their")
    if limit == OF_CONTAINER:
        return f"{who} exceeded the memory limit of {whose} container"
    return f"{who} exceeded {whose} memory limit of {limit}"


def memory_limit(pods: Iterable[PodFacts], losses: Iterable[Loss]) -> str:
    """Return the memory limit that lost workers exceeded; empty if they did not."""
    pods, losses = tuple(pods), tuple(losses)
    if limit := exceeded_bytes(pods, losses):
        return format_bytes(limit)
    return OF_CONTAINER if any(_ran_out_of_memory(pod) for pod in pods) else ""


def exceeded_bytes(pods: Iterable[PodFacts], losses: Iterable[Loss]) -> int:
    """Return the memory limit that lost workers exceeded; 0: unknown, or they did not.

    A worker may exceed it between two heartbeats, so their memory does not show it.
    """
    limited = [loss for loss in losses if loss.memory_limit]
    near = [loss for loss in limited if loss.memory >= NEAR_LIMIT * loss.memory_limit]
    if near:
        return near[-1].memory_limit
    killed = any(_ran_out_of_memory(pod) for pod in pods)
    return limited[-1].memory_limit if killed and limited else 0


def _ran_out_of_memory(pod: PodFacts) -> bool:
    main = pod.main
    return main is not None and "OOMKilled" in (main.reason, main.last_reason)


def _crash_code(pod: PodFacts) -> int:
    """Return the exit code of a crash; SIGTERM and SIGKILL may be our own."""
    main = pod.main
    if main is None:
        return 0
    codes = (main.last_exit_code or 0, (main.exit_code or 0) if main.terminated else 0)
    return next((code for code in codes if code not in (0, 137, 143)), 0)
