"""What the scheduler says of itself: the agent's answers as values.

No I/O here. An answer comes from a tenant's pod: every field may be missing or of any type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from daskjob.core.manifests import integer, mapping


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """Tasks of a scheduler. ``total`` are all that were, are or will be computed."""

    total: int = 0
    done: int = 0
    processing: int = 0
    waiting: int = 0
    erred: int = 0


@dataclass(frozen=True, slots=True)
class DaskWorker:
    """A worker that is registered with the scheduler."""

    name: str
    address: str
    #: Bytes that its process takes.
    memory: int = 0
    #: Tasks that it works on.
    processing: int = 0
    #: Whether it was told to go: it takes no more tasks.
    retiring: bool = False


@dataclass(frozen=True, slots=True)
class DaskState:
    """One answer of the scheduler's agent."""

    tasks: TaskCounts = TaskCounts()
    #: When a task last changed its state; ``None``: never yet.
    last_transition: datetime | None = None
    #: Since when there is nothing to do; ``None`` while there is.
    idle_since: datetime | None = None
    workers: tuple[DaskWorker, ...] = ()
    #: Connected clients.
    clients: int = 0
    #: How many workers it wants of each group, by the name of the DaskWorkerGroup.
    targets: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retirement:
    """The scheduler's word on workers that it was asked to retire, by address."""

    #: Confirmed: they hold no data that is nowhere else, and get no more tasks.
    retired: frozenset[str] = frozenset()
    #: Not confirmed within the bound: they work on.
    remaining: frozenset[str] = frozenset()
    #: False: the scheduler could not be asked, and nobody may be deleted on its word.
    answered: bool = True
    at: datetime | None = None


def retirement_from(answer: Mapping[str, object], asked: frozenset[str]) -> Retirement:
    """Return what an answer to ``POST retire`` says of the workers that were asked for."""
    retired = answer.get("retired")
    confirmed = frozenset(map(str, retired)) if isinstance(retired, list) else frozenset()
    return Retirement(retired=confirmed & asked, remaining=asked - confirmed)


def host_of(address: str) -> str:
    """Return the host in an address such as ``tls://10.1.2.3:40123``, IPv6 without brackets."""
    return address.rpartition(":")[0].rpartition("/")[2].strip("[]")


def dask_state(answer: Mapping[str, object]) -> DaskState:
    """Return the state that an answer to ``GET state`` tells."""
    tasks = mapping(answer.get("tasks"))
    return DaskState(
        tasks=TaskCounts(
            total=_count(tasks, "total"),
            done=_count(tasks, "done"),
            processing=_count(tasks, "processing"),
            waiting=_count(tasks, "waiting") + _count(tasks, "queued") + _count(tasks, "noWorker"),
            erred=_count(tasks, "erred"),
        ),
        last_transition=_moment(answer.get("lastTransition")),
        idle_since=_moment(answer.get("idleSince")),
        workers=tuple(_workers(answer.get("workers"))),
        clients=_count(answer, "clients"),
        targets=_targets(mapping(answer.get("target"))),
    )


def _workers(table: object) -> list[DaskWorker]:
    """Return the workers of a table with ``columns`` and ``rows``; columns may come and go."""
    columns, rows = mapping(table).get("columns"), mapping(table).get("rows")
    if not isinstance(columns, list) or not isinstance(rows, list):
        return []
    found = []
    for row in rows:
        if not isinstance(row, list):
            continue
        worker = dict(zip(map(str, columns), row, strict=False))
        found.append(
            DaskWorker(
                name=str(worker.get("name", "")),
                address=str(worker.get("address", "")),
                memory=_count(worker, "memory"),
                processing=_count(worker, "processing"),
                retiring=worker.get("status") == "closing_gracefully",
            )
        )
    return found


def _targets(wanted: Mapping[str, object]) -> dict[str, int]:
    """Return the counts among the wishes; of what is no count nothing is known."""
    counts = {str(group): integer(count) for group, count in wanted.items()}
    return {group: count for group, count in counts.items() if count is not None and count >= 0}


def _count(answer: Mapping[str, object], key: str) -> int:
    return max(integer(answer.get(key)) or 0, 0)


def _moment(value: object) -> datetime | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        return None
