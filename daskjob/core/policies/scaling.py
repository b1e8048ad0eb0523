"""Which workers of a group to add and which to remove.

Scaling down never loses data (design §4.5): pods that never registered are removed first; a
registered worker only after the scheduler confirmed that all its data is elsewhere too, and that
its tasks are handed back. While the scheduler does not respond, there is no scale-down.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from daskjob.core.dask import DaskWorker, Retirement, host_of
from daskjob.core.observed import ObservedGroup
from daskjob.core.pods import PodFacts

#: How long workers may take to move their data.
RETIRE_SECONDS = 60
#: How many workers are retired at once; a larger scale-down proceeds by steps. The body of such a
#: request stays below the agent's limit, and one worker that cannot retire delays only its step.
RETIRE_ADDRESSES = 500
#: How long a confirmation is valid: well below the time after which the agent reactivates a retired
#: worker that was not stopped (``daskjob.agent.CONFIRMED_SECONDS``).
CONFIRMED_SECONDS = 120
#: The wait before a lost worker is replaced: none at first, then doubling up to the longest.
BACKOFF_FIRST_SECONDS = 1.0
BACKOFF_LONGEST_SECONDS = 300.0
#: A worker that lives this long ends a series of failures.
STABLE_SECONDS = 60
_WORKER_NAME = re.compile(r".+-worker-[0-9a-f]{10}(-.*)?")
#: Longer than the name of any pod with a suffix.
_LONGEST_NAME = 300

#: The registered workers of each pod, by the pod's name.
Registered: TypeAlias = Mapping[str, Sequence[DaskWorker]]


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
        registered = _registered(alive, observed)
        emptied = _emptied(alive, registered, observed.retirement)
        # An earlier scheduler may have confirmed it.
        emptied = [p for p in emptied if all(w.retiring for w in registered[p.ref.name])]
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
    registered = _registered(alive, observed)
    unknown = _unknown_workers(observed, registered)
    free = [pod for pod in choice if not registered[pod.ref.name]]
    if unknown:
        free = [pod for pod in free if not _ever_ran(pod)]
    free.sort(key=lambda pod: (pod.scheduled, pod.ready, pod.ref.name))
    remove = [*_emptied(choice, registered, observed.retirement), *free][:surplus]
    left, removed = surplus - len(remove), {pod.ref.name for pod in remove}
    candidates = [registered[pod.ref.name] for pod in choice if pod.ref.name not in removed]
    candidates = sorted(filter(None, candidates), key=_least_loss)
    waiting = observed.retirement is not None and not observed.retirement.answered
    blocked = "the scheduler did not confirm that the data of enough workers is safe"
    if left > len(candidates):
        blocked, waiting = unknown, True
    return Scaling(
        remove=(*ended, *remove),
        retire=tuple(_step(candidates[:left], observed.retirement)),
        blocked=blocked if left and (waiting or _rejected(observed)) else "",
    )


def _unknown_workers(observed: ObservedGroup, registered: Registered) -> str:
    """Return why a pod without a worker may have one all the same; empty if it has none."""
    if observed.dask is None or not observed.dask.is_whole:
        return "the scheduler did not report all of its workers"
    mapped = {worker.address for workers in registered.values() for worker in workers}
    ours = f"{observed.group.meta.name}-worker-"
    for worker in observed.dask.workers:
        if worker.address not in mapped and not _is_of_another_group(worker, ours):
            return "a worker of the scheduler belongs to no known pod"
    return ""


def _step(candidates: Sequence[Sequence[DaskWorker]], last: Retirement | None) -> Iterator[str]:
    """Yield the addresses to retire now: of whole pods, first those not asked for in vain."""
    remaining = last.remaining if last else frozenset()
    count = 0
    for workers in sorted(candidates, key=lambda ws: any(w.address in remaining for w in ws)):
        count += len(workers)
        if count > RETIRE_ADDRESSES and count > len(workers):
            return
        yield from (worker.address for worker in workers)


def _emptied(
    pods: Sequence[PodFacts], registered: Registered, answer: Retirement | None
) -> list[PodFacts]:
    """Return the pods whose workers are all confirmed as retired: removing them is safe."""
    return [
        pod
        for pod in pods
        if (workers := registered[pod.ref.name])
        and all(_is_confirmed(worker, pod, answer) for worker in workers)
    ]


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


def _registered(pods: Iterable[PodFacts], observed: ObservedGroup) -> Registered:
    """Return the registered workers of each pod: several with ``--nworkers`` or dask-cuda.

    A worker is matched by its address, else by its name or a prefix of it.
    """
    found: dict[str, list[DaskWorker]] = {}
    at: dict[str, list[str]] = {}
    for pod in pods:
        found[pod.ref.name] = []
        # On loopback every worker has the same address.
        if pod.ip and not pod.ip.startswith("127."):
            at.setdefault(pod.ip, []).append(pod.ref.name)
    for worker in observed.dask.workers if observed.dask else ():
        named = (stem for stem in _stems(worker.name) if stem in found)
        for name in {*at.get(host_of(worker.address), ()), *named}:
            found[name].append(worker)
    return found


def _stems(name: str) -> Iterator[str]:
    """Yield the names of pods whose worker may have this name."""
    stem = name if len(name) < _LONGEST_NAME else ""
    while stem:
        yield stem
        stem = stem.rpartition("-")[0]


def _least_loss(workers: Sequence[DaskWorker]) -> tuple[bool, int, int, str]:
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
