"""The state of a scheduler: parsed responses of its agent.

A response comes from a tenant's pod: every field may be missing or of any type.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeGuard

from daskjob.core.manifests import integer, mapping

#: A larger number is not a count: it would overflow in a status, which has 64-bit integers.
LARGEST_COUNT = 2**53
#: The year 2200: any limit of a spec (below 70 years) can be added to an earlier time.
LATEST_SECONDS = 7_258_118_400
#: What a scale-down must know of each worker.
NEEDED_COLUMNS = frozenset({"name", "address", "memory", "processing", "status"})


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
    #: The number of registered workers, those that a shortened response lacks included.
    workers_total: int = 0
    #: Number of connected clients.
    clients: int = 0
    #: The number of workers that it wants in each group, by the name of the DaskWorkerGroup.
    targets: Mapping[str, int] = field(default_factory=dict)
    #: The prefixes of the tasks that are running, with their number, the most frequent first. Shown
    #: only: no difference between two answers.
    stages: tuple[tuple[str, int], ...] = field(default=(), compare=False)
    #: When it answered; ``None``: unknown. Not a difference between two answers.
    at: datetime | None = field(default=None, compare=False)

    @property
    def is_whole(self) -> bool:
        """Whether all registered workers are known: otherwise it says nothing about the others."""
        return len(self.workers) >= self.workers_total


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
    found = retired if isinstance(retired, list) else []
    confirmed = frozenset(asked).intersection(each for each in found if isinstance(each, str))
    return Retirement(retired=confirmed, remaining=frozenset(asked) - confirmed, at=at)


def host_of(address: str) -> str:
    """Return the host in an address such as ``tls://10.1.2.3:40123``, IPv6 without brackets."""
    return address.rpartition(":")[0].rpartition("/")[2].strip("[]")


def dask_state(answer: Mapping[str, object]) -> DaskState:
    """Return the state in a response to ``GET state``."""
    tasks, workers = mapping(answer.get("tasks")), mapping(answer.get("workers"))
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
        workers=tuple(_workers(workers)),
        workers_total=max(_count(workers, "total"), _length(workers.get("rows"))),
        clients=_count(answer, "clients"),
        targets=_targets(mapping(answer.get("target"))),
        stages=_stages(answer.get("stages")),
    )


def _stages(rows: object) -> tuple[tuple[str, int], ...]:
    """Return the valid rows of prefix and number of running tasks."""
    if not isinstance(rows, list):
        return ()
    pairs = [row for row in rows if isinstance(row, list) and len(row) == 2]
    return tuple((str(name), int(count)) for name, count in pairs if _is_count(count))


def _workers(table: Mapping[str, object]) -> list[DaskWorker]:
    """Return the workers of a table with ``columns`` and ``rows``; the columns may vary.

    A table without the columns that a scale-down goes by has no usable row: its order would be that
    of names, not of the work and data that each worker holds.
    """
    columns, rows = table.get("columns"), table.get("rows")
    if not isinstance(columns, list) or not isinstance(rows, list):
        return []
    names = [name if isinstance(name, str) else "" for name in columns]
    if not set(names) >= NEEDED_COLUMNS:
        return []
    return [_worker(dict(zip(names, row, strict=False))) for row in rows if isinstance(row, list)]


def _worker(row: Mapping[str, object]) -> DaskWorker:
    return DaskWorker(
        name=_text(row.get("name")),
        address=_text(row.get("address")),
        memory=_count(row, "memory"),
        processing=_count(row, "processing"),
        retiring=row.get("status") == "closing_gracefully",
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else 0


def _targets(wanted: Mapping[str, object]) -> dict[str, int]:
    """Return the valid counts; ignore any other value."""
    return {group: int(count) for group, count in wanted.items() if _is_count(count)}


def _count(answer: Mapping[str, object], key: str) -> int:
    count = answer.get(key)
    return int(count) if _is_count(count) else 0


def _is_count(value: object) -> TypeGuard[int]:
    count = integer(value)
    return count is not None and 0 <= count <= LARGEST_COUNT


def _moment(value: object) -> datetime | None:
    """Return the time of epoch seconds; ``None`` for any that arithmetic could not go on with."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    if not 0 <= value <= LATEST_SECONDS:
        return None
    return datetime.fromtimestamp(value, UTC)
