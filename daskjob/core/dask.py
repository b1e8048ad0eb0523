"""The state of a scheduler: parsed responses of its agent.

A response comes from a tenant's pod: every field may be missing or of any type.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeGuard

from daskjob.core.manifests import integer, mapping
from daskjob.core.messages import cut

#: A larger number is not a count: it would overflow in a status, which has 64-bit integers.
LARGEST_COUNT = 2**53
#: The year 2200: any limit of a spec (below 70 years) can be added to an earlier time.
LATEST_SECONDS = 7_258_118_400
#: Of a table for people this number of rows is read, and of a name this number of characters.
ROWS_READ = 5
NAME_LENGTH = 100
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
class RunningTask:
    """A task that a worker is running."""

    #: The task's name without its number.
    name: str
    worker: str
    #: It is computed from heartbeats, so it differs a little between answers.
    since: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class WantedResource:
    """A resource that tasks ask for."""

    name: str
    amount: float
    #: The most that one worker offers.
    offered: float


@dataclass(frozen=True, slots=True)
class StuckTasks:
    """Tasks that no registered worker can run."""

    since: datetime | None = None
    #: Their names, without their numbers.
    names: tuple[str, ...] = ()
    resources: tuple[WantedResource, ...] = ()
    #: Addresses or names of the workers that they are restricted to.
    workers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loss:
    """A worker that was lost."""

    worker: str
    #: The names of the tasks that it was running.
    tasks: tuple[str, ...] = ()
    #: Bytes at its last heartbeat, and its limit; 0: unknown, none.
    memory: int = 0
    memory_limit: int = 0


@dataclass(frozen=True, slots=True)
class Activity:
    """What a scheduler's workers do, and what does not move."""

    #: The tasks that have run longest.
    running: tuple[RunningTask, ...] = ()
    #: Since when tasks have been running on workers that compute nothing.
    quiet_since: datetime | None = None
    #: Names of locks and semaphores that tasks wait for.
    locks: tuple[str, ...] = ()
    stuck: StuckTasks | None = None
    #: The last workers that were lost.
    losses: tuple[Loss, ...] = ()


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
    activity: Activity = Activity()
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
        activity=_activity(mapping(answer.get("activity"))),
    )


def _stages(rows: object) -> tuple[tuple[str, int], ...]:
    """Return the valid rows of prefix and number of running tasks."""
    if not isinstance(rows, list):
        return ()
    pairs = [row for row in rows if isinstance(row, list) and len(row) == 2]
    return tuple((str(name), int(count)) for name, count in pairs if _is_count(count))


def _activity(answer: Mapping[str, object]) -> Activity:
    stuck = mapping(answer.get("stuck"))
    return Activity(
        running=tuple(
            RunningTask(_name(row, 0), _name(row, 1), _moment(_cell(row, 2)))
            for row in _rows(answer.get("running"))
        ),
        quiet_since=_moment(answer.get("quietSince")),
        locks=_names(answer.get("locks")),
        stuck=_stuck(stuck) if stuck else None,
        losses=losses_of(answer.get("losses")),
    )


def _stuck(answer: Mapping[str, object]) -> StuckTasks:
    return StuckTasks(
        since=_moment(answer.get("since")),
        names=_names(answer.get("tasks")),
        resources=tuple(
            WantedResource(_name(row, 0), _amount(row, 1), _amount(row, 2))
            for row in _rows(answer.get("resources"))
        ),
        workers=_names(answer.get("workers")),
    )


def losses_of(rows: object) -> tuple[Loss, ...]:
    """Return the workers that were lost, of a state or a report."""
    return tuple(
        Loss(
            worker=_name(row, 0),
            tasks=_names(_cell(row, 2)),
            memory=int(_amount(row, 3)),
            memory_limit=int(_amount(row, 4)),
        )
        for row in _rows(rows)
    )


def _rows(value: object) -> list[list[object]]:
    """Return the first rows of a table."""
    rows = value[:ROWS_READ] if isinstance(value, list) else []
    return [row for row in rows if isinstance(row, list)]


def _cell(row: list[object], index: int) -> object:
    return row[index] if index < len(row) else None


def _name(row: list[object], index: int) -> str:
    return cut(_text(_cell(row, index)), NAME_LENGTH)


def _names(value: object) -> tuple[str, ...]:
    names = value[:ROWS_READ] if isinstance(value, list) else []
    return tuple(cut(name, NAME_LENGTH) for name in names if isinstance(name, str))


def _amount(row: list[object], index: int) -> float:
    """Return a number of a row; 0 for any that is none or cannot be shown."""
    value = _cell(row, index)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return 0.0
    return float(value) if 0 <= value <= LARGEST_COUNT else 0.0


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
