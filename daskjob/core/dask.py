"""The state of a scheduler: parsed responses of its agent.

A response comes from a tenant's pod: every field may be missing or of any type.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from daskjob.core.manifests import integer, mapping


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """Tasks of a scheduler. ``total`` counts all: computed, running and waiting."""

    total: int = 0
    done: int = 0
    processing: int = 0
    waiting: int = 0
    erred: int = 0
    #: Those of ``waiting`` that no worker can run, such as for a resource that none has.
    no_worker: int = 0


@dataclass(frozen=True, slots=True)
class DaskWorker:
    """A worker that is registered with the scheduler."""

    name: str
    address: str
    #: Memory of its process in bytes.
    memory: int = 0
    #: Number of tasks that it is running.
    processing: int = 0
    #: Whether it is retiring: it gets no more tasks.
    retiring: bool = False


@dataclass(frozen=True, slots=True)
class DaskState:
    """One response of the scheduler's agent."""

    tasks: TaskCounts = TaskCounts()
    #: When a task last changed its state; ``None``: never.
    last_transition: datetime | None = None
    #: Since when it has had no tasks; ``None`` while it has.
    idle_since: datetime | None = None
    workers: tuple[DaskWorker, ...] = ()
    #: Number of connected clients.
    clients: int = 0
    #: The number of workers that it wants in each group, by the name of the DaskWorkerGroup.
    targets: Mapping[str, int] = field(default_factory=dict)
    #: When it answered; ``None``: unknown. Not a difference between two answers.
    at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Retirement:
    """The scheduler's response to a request to retire workers, by address."""

    #: Confirmed: all their data is elsewhere too, and they get no more tasks.
    retired: frozenset[str] = frozenset()
    #: Not confirmed in time: they continue to work.
    remaining: frozenset[str] = frozenset()
    #: False: the scheduler did not respond, so no worker is confirmed.
    answered: bool = True
    at: datetime | None = None


def retirement_from(
    answer: Mapping[str, object] | None, asked: Collection[str], at: datetime
) -> Retirement:
    """Return what an answer to ``POST retire`` confirms; ``None``: there was no answer."""
    if answer is None:
        return Retirement(remaining=frozenset(asked), answered=False, at=at)
    retired = answer.get("retired")
    confirmed = frozenset(asked).intersection(
        map(str, retired if isinstance(retired, list) else ())
    )
    return Retirement(retired=confirmed, remaining=frozenset(asked) - confirmed, at=at)


def host_of(address: str) -> str:
    """Return the host in an address such as ``tls://10.1.2.3:40123``, IPv6 without brackets."""
    return address.rpartition(":")[0].rpartition("/")[2].strip("[]")


def dask_state(answer: Mapping[str, object]) -> DaskState:
    """Return the state in a response to ``GET state``."""
    tasks = mapping(answer.get("tasks"))
    return DaskState(
        tasks=TaskCounts(
            total=_count(tasks, "total"),
            done=_count(tasks, "done"),
            processing=_count(tasks, "processing"),
            waiting=_count(tasks, "waiting") + _count(tasks, "queued") + _count(tasks, "noWorker"),
            erred=_count(tasks, "erred"),
            no_worker=_count(tasks, "noWorker"),
        ),
        last_transition=_moment(answer.get("lastTransition")),
        idle_since=_moment(answer.get("idleSince")),
        workers=tuple(_workers(answer.get("workers"))),
        clients=_count(answer, "clients"),
        targets=_targets(mapping(answer.get("target"))),
    )


def _workers(table: object) -> list[DaskWorker]:
    """Return the workers of a table with ``columns`` and ``rows``; the columns may vary."""
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
    """Return the valid counts; ignore any other value."""
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
