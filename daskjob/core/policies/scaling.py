"""Which workers of a group to add and which to remove.

Scaling down never loses data (design §4.5): pods that never registered are removed first; a
registered worker only after the scheduler confirmed that all its data is elsewhere too. While the
scheduler does not respond, there is no scale-down.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from daskjob.core.dask import DaskWorker, Retirement, host_of
from daskjob.core.observed import ObservedGroup
from daskjob.core.pods import PodFacts

#: How long workers may take to move their data.
RETIRE_SECONDS = 60
#: How long a confirmation is valid: well below the time after which the agent reactivates a retired
#: worker that was not stopped (``daskjob.agent.CONFIRMED_SECONDS``).
CONFIRMED_SECONDS = 120
#: The wait before a lost worker is replaced: none at first, then doubling up to the longest.
BACKOFF_FIRST_SECONDS = 1.0
BACKOFF_LONGEST_SECONDS = 300.0
#: A worker that lives this long ends a series of failures.
STABLE_SECONDS = 60
_WORKER_NAME = re.compile(r".+-worker-[0-9a-f]{10}(-.*)?")


@dataclass(frozen=True, slots=True)
class Scaling:
    """How many pods to add, which to remove, and which workers to retire first."""

    add: int = 0
    remove: tuple[PodFacts, ...] = ()
    #: Addresses of registered workers to retire.
    retire: tuple[str, ...] = ()
    #: Why fewer are removed than should be; empty if nothing prevents it.
    blocked: str = ""
    #: When more may be added.
    not_before: datetime | None = None


def scaling(observed: ObservedGroup, failures: int, failed_at: datetime | None) -> Scaling:
    """Compare a group's pods with the replicas in its spec."""
    ended, alive = _ended(observed), observed.staying
    missing = observed.group.replicas - len(alive)
    if missing >= 0:
        # A retired worker gets no more tasks; if it is needed again, another replaces it.
        emptied = [pod for pod in _emptied(alive, observed) if _is_retiring(pod, observed)]
        add = missing + len(emptied)
        not_before = replaced_at(failures, failed_at) if add else None
        return Scaling(add=add, remove=(*ended, *emptied), not_before=not_before)
    return _fewer(observed, ended, alive, alive, -missing)


def replacing(
    observed: ObservedGroup,
    old: Sequence[PodFacts],
    *,
    add: int,
    go: int,
    failures: int,
    failed_at: datetime | None,
) -> Scaling:
    """Return which old pods to remove, up to ``go``, while ``add`` new ones are added."""
    fewer = _fewer(observed, _ended(observed), observed.staying, old, go)
    return replace(fewer, add=add, not_before=replaced_at(failures, failed_at) if add else None)


def _ended(observed: ObservedGroup) -> tuple[PodFacts, ...]:
    return tuple(pod for pod in observed.workers if pod.ended and not pod.deleting)


def _fewer(
    observed: ObservedGroup,
    ended: tuple[PodFacts, ...],
    alive: Sequence[PodFacts],
    choice: Sequence[PodFacts],
    surplus: int,
) -> Scaling:
    """Return which of the pods in ``choice`` to remove, ``surplus`` of them."""
    if observed.scheduler is None or observed.scheduler.ended:
        # Without a scheduler there is no data to keep: every task is already lost.
        return Scaling(remove=(*ended, *choice[:surplus]))
    if observed.dask is None:
        never_placed = [pod for pod in choice if not pod.scheduled][:surplus]
        blocked = "" if len(never_placed) == surplus else "the scheduler does not respond"
        return Scaling(remove=(*ended, *never_placed), blocked=blocked)
    registered = _workers_by_pod(alive, observed.dask.workers)
    mapped = {worker.address for workers in registered.values() for worker in workers}
    ours = f"{observed.group.meta.name}-worker-"
    unmapped = any(
        w.address not in mapped and not _is_of_another_group(w, ours) for w in observed.dask.workers
    )
    free = [pod for pod in choice if not registered[pod.ref.name]]
    if unmapped:
        free = [pod for pod in free if not _ever_ran(pod)]
    free.sort(key=lambda pod: (pod.scheduled, pod.ready, pod.ref.name))
    remove = [*_emptied(choice, observed), *free][:surplus]
    left = surplus - len(remove)
    removed = {pod.ref.name for pod in remove}
    candidates = [
        w for pod in choice if pod.ref.name not in removed if (w := registered[pod.ref.name])
    ]
    candidates.sort(key=_least_loss)
    waiting = observed.retirement is not None and not observed.retirement.answered
    blocked = "the scheduler did not confirm that the data of enough workers is safe"
    if left > len(candidates):
        blocked, waiting = "a worker of the scheduler belongs to no known pod", True
    return Scaling(
        remove=(*ended, *remove),
        retire=tuple(worker.address for workers in candidates[:left] for worker in workers),
        blocked=blocked if left and (waiting or _rejected(observed)) else "",
    )


def _emptied(pods: Sequence[PodFacts], observed: ObservedGroup) -> list[PodFacts]:
    """Return the pods whose workers are all confirmed as retired: removing them is safe."""
    answer = observed.retirement
    if answer is None or not answer.retired or observed.dask is None:
        return []
    known = _workers_by_pod(pods, observed.dask.workers)
    return [
        pod
        for pod in pods
        if (workers := known[pod.ref.name])
        and all(_is_confirmed(worker, pod, observed.retirement) for worker in workers)
    ]


def _is_retiring(pod: PodFacts, observed: ObservedGroup) -> bool:
    """Return whether the current scheduler retires it; an earlier one may have confirmed it."""
    known = observed.dask.workers if observed.dask else ()
    return all(worker.retiring for worker in _workers_of(pod, known))


def _is_of_another_group(worker: DaskWorker, ours: str) -> bool:
    """Return whether a worker has the name of another group's pod; other names may be ours."""
    return not worker.name.startswith(ours) and bool(_WORKER_NAME.fullmatch(worker.name))


def _ever_ran(pod: PodFacts) -> bool:
    return pod.main is not None and pod.main.ever_ran


def _is_confirmed(worker: DaskWorker, pod: PodFacts, answer: Retirement | None) -> bool:
    """Return whether the scheduler confirmed the retirement of this very pod's worker.

    A pod created after the response may have the address of one that was retired before.
    """
    if answer is None or worker.address not in answer.retired:
        return False
    return answer.at is None or pod.created_at is None or pod.created_at <= answer.at


def _rejected(observed: ObservedGroup) -> bool:
    return observed.retirement is not None and bool(observed.retirement.remaining)


def _workers_by_pod(
    pods: Sequence[PodFacts], workers: tuple[DaskWorker, ...]
) -> dict[str, tuple[DaskWorker, ...]]:
    """Return ``_workers_of`` of each pod by its name, in time in proportion to their number."""
    by_key: dict[str, list[DaskWorker]] = defaultdict(list)
    for worker in workers:
        keys = {host_of(worker.address), worker.name}
        parts = worker.name.split("-")
        # A pod's name is a prefix; a worker's own part of its name is short.
        keys.update("-".join(parts[:end]) for end in range(max(1, len(parts) - 9), len(parts)))
        for key in keys:
            by_key[key].append(worker)
    found = {}
    for pod in pods:
        near = {w.address: w for key in (pod.ip, pod.ref.name) for w in by_key.get(key, ())}
        found[pod.ref.name] = _workers_of(pod, tuple(near.values()))
    return found


def _workers_of(pod: PodFacts, workers: tuple[DaskWorker, ...]) -> tuple[DaskWorker, ...]:
    """Return the registered workers of a pod: several with ``--nworkers`` or dask-cuda.

    A worker is matched by its address, else by its name or a prefix of it.
    """
    return tuple(worker for worker in workers if _is_in(pod, worker))


def _is_in(pod: PodFacts, worker: DaskWorker) -> bool:
    host = host_of(worker.address)
    # On loopback every worker has the same address.
    if pod.ip and host == pod.ip and not pod.ip.startswith("127."):
        return True
    return worker.name == pod.ref.name or worker.name.startswith(f"{pod.ref.name}-")


def _least_loss(workers: tuple[DaskWorker, ...]) -> tuple[bool, int, int, str]:
    """Order pods by the cost of removal: idle ones first, then those with the least data.

    Workers that are already retiring, because an operator died in between, precede them.
    """
    return (
        not all(worker.retiring for worker in workers),
        sum(worker.processing for worker in workers),
        sum(worker.memory for worker in workers),
        workers[0].name,
    )


def replaced_at(failures: int, failed_at: datetime | None) -> datetime | None:
    """Return when a pod is replaced, after this number of consecutive failures."""
    if not failures or failed_at is None:
        return None
    seconds = min(BACKOFF_FIRST_SECONDS * 2 ** min(failures - 1, 20), BACKOFF_LONGEST_SECONDS)
    return failed_at + timedelta(seconds=seconds)
