"""The scheduler agent: a JSON API for daskjob on a Dask scheduler's own HTTP server.

This one file is injected as *text* into every scheduler that daskjob builds (see
``daskjob.core.desired.agent``), so that no image needs daskjob. Its rules:

- It imports the standard library, distributed and tornado only, and works with distributed from
  2024.1 and Python from 3.9 on.
- It never makes a scheduler fail: an error is logged in one line, and the scheduler continues
  without the agent.
- It counts transitions: each costs a few dictionary operations, and no request walks the tasks.

Routes, below the scheduler's ``--dashboard-prefix`` and guarded by a token (``Authorization:
Bearer``): ``GET daskjob/v1/state``, ``POST daskjob/v1/retire``, ``GET daskjob/v1/report``, ``GET
daskjob/v1/unfinished``; ``POST daskjob/v1/expect``, where the agent holds back clients until the
workers are there; and ``POST daskjob/v1/leaving``, for workers that are about to be stopped.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import math
import os
import platform
import time
from collections.abc import Callable, Iterable
from heapq import nlargest, nsmallest
from importlib import import_module
from itertools import islice
from typing import Any

import dask
import distributed
from dask.utils import key_split, parse_timedelta
from distributed.active_memory_manager import RetireWorker
from distributed.core import Status
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.preloading import process_preloads
from tornado.ioloop import PeriodicCallback
from tornado.web import HTTPError, RequestHandler, stream_request_body

logger = logging.getLogger("distributed.scheduler")

#: distributed's Scheduler, WorkerState and TaskState: their attributes differ by version; the tests
#: check those used here on the oldest and the newest one.
Scheduler = Any
WorkerState = Any
TaskState = Any

TOKEN_VARIABLE = "DASKJOB_AGENT_TOKEN"
GROUPS_VARIABLE = "DASKJOB_AGENT_GROUPS"
PRELOAD_VARIABLE = "DASK_DISTRIBUTED__SCHEDULER__PRELOAD"
#: The number of workers for which the first clients wait; not set: they never wait.
EXPECTED_VARIABLE = "DASKJOB_AGENT_EXPECTED_WORKERS"

#: The reader (the operator) rejects answers above 256 KiB.
ANSWER_LIMIT_BYTES = 256 * 1024
#: The report is kept in a DaskJob's status, which has 4 KiB for it and the reader's additions.
REPORT_LIMIT_BYTES = 3584
#: The operator asks for 500 workers at once: their addresses fit, whatever their length.
BODY_LIMIT_BYTES = 256 * 1024
#: Above this number of workers a state row carries only what a decision needs.
FULL_ROWS_LIMIT = 1000
#: At most this number of rows is encoded for one answer; hardly ever do as many fit.
ROWS_LIMIT = 4000
RETIRE_LIMIT_SECONDS = 60.0
#: The share of a retirement's time in which running tasks may finish before they are handed back.
FINISH_SHARE = 0.5
#: A heartbeat that arrives this long after a worker was asked to stop names what it still runs.
HEARTBEAT_MARGIN_SECONDS = 0.1
#: The number of tasks handed back in one turn of the scheduler's loop.
HANDED_BACK_AT_ONCE = 500
#: How long a confirmed worker waits to be stopped. If the caller died meanwhile, the worker would
#: otherwise take no task ever again, and block the retirement of all others.
CONFIRMED_SECONDS = 300.0
#: A worker confirms each change of its status, at the latest after this time.
ECHO_SECONDS = 60.0
#: Workers report their memory at most every 0.5 s (distributed's heartbeat).
SAMPLE_SECONDS = 0.5
#: How long a client waits for the expected workers.
EXPECTED_SECONDS = 90.0
#: The number of departed workers whose peak memory is kept: those with the highest.
PEAKS_KEPT = 50
HISTORY_LIMIT = 200
#: The number of workers whose running tasks are looked at.
STAGES_LIMIT = 1000
#: The number of tasks sampled from a list; the rest is assumed to be like them
#: (distributed's own adaptive_target samples 100 too).
SAMPLE_TASKS = 100
#: Below this share of a CPU, a worker computes nothing: its heartbeats take about 3 %.
QUIET_CPU_PERCENT = 15
#: The number of rows about running tasks and lost workers, and of names in them.
RUNNING_KEPT = 5
LOSSES_KEPT = 3
NAMES_KEPT = 3

FULL_COLUMNS = (
    "name",
    "address",
    "nthreads",
    "memoryLimit",
    "memory",
    "processing",
    "status",
    "resources",
)
COMPACT_COLUMNS = ("name", "address", "memory", "processing", "status")

CELLS: dict[str, Callable[[WorkerState], Any]] = {
    "name": lambda ws: str(ws.name),
    "address": lambda ws: ws.address,
    "nthreads": lambda ws: ws.nthreads,
    "memoryLimit": lambda ws: int(ws.memory_limit or 0),
    "memory": lambda ws: resident_bytes(ws),
    "processing": lambda ws: len(ws.processing),
    "status": lambda ws: ws.status.name,
    "resources": lambda ws: dict(ws.resources),
}


def encode(answer: Any) -> bytes:
    """Return the answer as compact ASCII JSON."""
    return json.dumps(answer, separators=(",", ":")).encode("ascii")


def resident_bytes(ws: WorkerState) -> int:
    """Return the memory of the worker's process at its last heartbeat; 0 before the first."""
    return int(ws.metrics.get("memory", 0))


# --- tasks -----------------------------------------------------------------------------------


class TaskCounter:
    """Exact numbers of tasks, maintained from transitions alone.

    A task is *done* while its result is in memory, and stays so when the result is released or
    forgotten because no client needs it any more. It is no longer done while it must be computed
    again (its worker was lost). It is *erred* while in that state, and when forgotten in it. A task
    that disappears without ever having been done or erred leaves the total. Scattered data is not a
    task.
    """

    def __init__(self, tasks: dict[Any, TaskState]):
        #: Tasks by state, counting transitions only. Scattered data enters "memory" without one
        #: and leaves with one, into one of the sums below. So only the sum of "memory" and those
        #: is exact; data never changes it, so that no task has to be inspected.
        self.now = {
            "released": 0,
            "waiting": 0,
            "queued": 0,
            "no-worker": 0,
            "processing": 0,
            "memory": 0,
            "erred": 0,
            "forgotten": 0,
        }
        #: Done and released, but still part of a graph.
        self.released: set[Any] = set()
        #: Were done, and must be computed again.
        self.again: set[Any] = set()
        #: Released after having erred, and not retried since.
        self.failed: set[Any] = set()
        self.forgotten_done = 0
        self.forgotten_erred = 0
        #: Forgotten without ever having been done or erred: no client waited for them.
        self.dropped = 0
        # While an earlier preload was awaiting, a client may already have sent tasks.
        for ts in tasks.values():
            if ts.run_spec is not None:
                self.now[ts.state] = self.now.get(ts.state, 0) + 1
        self.transition = self._counter()

    def _counter(self) -> Callable[..., None]:
        """The function to call for every transition.

        distributed calls it about five times per task, in the scheduler's only thread. So it is a
        closure (no bound method, no attribute lookup on self), and common transitions return after
        one comparison of their start state.
        """
        now, released, again, failed = self.now, self.released, self.again, self.failed
        #: Lost actors that distributed 2024.1 moves from memory to erred by way of
        #: memory -> memory and released -> erred.
        lost_actors: set[Any] = set()

        def transition(key: Any, start: str, finish: str, **_: Any) -> None:
            if start == finish:
                # Waiting tasks that cannot be placed "move" to the same state, also actors.
                if start == "memory":
                    lost_actors.add(key)
                return
            if start == "memory":
                if finish == "released":
                    released.add(key)
                elif finish == "forgotten":
                    self.forgotten_done += 1
                if lost_actors:
                    lost_actors.discard(key)
            elif start == "released":
                if finish == "forgotten":
                    if key in released:
                        released.remove(key)
                        self.forgotten_done += 1
                    elif key in failed:
                        failed.remove(key)
                        again.discard(key)
                        self.forgotten_erred += 1
                    elif key in again:
                        # It was done once, and no client wants it any more.
                        again.remove(key)
                        self.forgotten_done += 1
                    else:
                        self.dropped += 1
                    return
                if key in released:
                    released.remove(key)
                    again.add(key)
                elif failed:
                    failed.discard(key)
                if key in lost_actors:
                    lost_actors.remove(key)
                    now["memory"] -= 1
            elif start == "erred":
                if finish == "released":
                    failed.add(key)
                else:
                    self.forgotten_erred += 1
                    again.discard(key)
            elif finish == "memory" and again:
                again.discard(key)
            now[start] -= 1
            now[finish] += 1

        return transition

    def snapshot(self) -> dict[str, int]:
        """Return the numbers as the routes report them."""
        now = self.now
        active = now["processing"] + now["waiting"] + now["queued"] + now["no-worker"]
        done = now["memory"] + len(self.released) + self.forgotten_done
        erred = now["erred"] + len(self.failed) + self.forgotten_erred
        return {
            "total": active + done + erred,
            "done": done,
            "processing": now["processing"],
            "waiting": now["waiting"],
            "queued": now["queued"],
            "noWorker": now["no-worker"],
            "erred": erred,
            "dropped": self.dropped,
        }


class PrefixTimes:
    """Runs, seconds and failures by task prefix, from the scheduler's own counters.

    distributed keeps them for every prefix, but clears them on ``client.restart()``; so prefixes
    are remembered here, and the counters of replaced ones are added up.
    """

    def __init__(self, scheduler: Scheduler):
        self.scheduler = scheduler
        self.seen: dict[str, Any] = {}
        self.past: dict[str, tuple[int, float, int]] = {}
        self._look_before_a_restart()

    def _look_before_a_restart(self) -> None:
        """See prefixes that are newer than the last sample: plugins hear of a restart too late."""
        clear = getattr(self.scheduler, "_clear_task_state", None)
        if clear is None:
            return

        def look_and_clear() -> None:
            try:
                self.look()
            finally:
                clear()

        self.scheduler._clear_task_state = look_and_clear

    def look(self) -> None:
        """Record the prefixes that exist now; O(prefixes)."""
        for name, prefix in self.scheduler.task_prefixes.items():
            known = self.seen.get(name)
            if known is not prefix:
                if known is not None:
                    self.past[name] = add(self.past.get(name), figures(known))
                self.seen[name] = prefix

    def rows(self) -> list[tuple[str, int, float, int]]:
        """Return (name, runs, seconds, erred) of every prefix, the longest first."""
        self.look()
        rows = [
            (str(name), *add(self.past.get(name), figures(prefix)))
            for name, prefix in self.seen.items()
            # Scattered data has a prefix too, but never ran.
            if name in self.past or prefix.state_counts.get("waiting", 0)
        ]
        return sorted(rows, key=lambda row: (-row[2], -row[1], row[0]))


def figures(prefix: Any) -> tuple[int, float, int]:
    """Return (runs, seconds, erred) of a distributed TaskPrefix."""
    counts = prefix.state_counts
    return counts.get("memory", 0), prefix.all_durations.get("compute", 0.0), counts.get("erred", 0)


def add(one: tuple[int, float, int] | None, two: tuple[int, float, int]) -> tuple[int, float, int]:
    """Return the sum of both figures."""
    return two if one is None else (one[0] + two[0], one[1] + two[1], one[2] + two[2])


# --- workers ---------------------------------------------------------------------------------


class Activity:
    """What runs, what waits for what, and what was lost, in a few rows: for people."""

    def __init__(self, scheduler: Scheduler):
        self.scheduler = scheduler
        #: Since when tasks are running on workers that compute nothing (epoch seconds).
        self.quiet_since: float | None = None
        #: Since when there are tasks that no worker can run.
        self.stuck_since: float | None = None
        #: The last workers that were lost.
        self.losses: list[list[Any]] = []

    def sample(self, now: float, moved_at: float) -> None:
        """Look at what does not move; O(workers)."""
        workers = self.scheduler.workers.values()
        runs = any(ws.processing for ws in workers)
        if runs and all(ws.metrics.get("cpu", 0) < QUIET_CPU_PERCENT for ws in workers):
            self.quiet_since = max(self.quiet_since or now, moved_at)
        else:
            self.quiet_since = None
        self.stuck_since = (self.stuck_since or now) if self.scheduler.unrunnable else None

    def see_loss(self, ws: WorkerState) -> None:
        """Record a worker that is gone, and the tasks that it was running."""
        names = sorted({prefix_of(key) for key in keys_at_the_end(self.scheduler, ws.address)})
        some = [shortened(name) for name in names[:NAMES_KEPT]]
        row = [shortened(str(ws.name)), round(time.time(), 1), some]
        self.losses.append([*row, resident_bytes(ws), int(ws.memory_limit or 0)])
        del self.losses[:-LOSSES_KEPT]

    def answer(self) -> dict[str, Any]:
        """Return what the state route reports."""
        return {
            "running": self.running(),
            "quietSince": self.quiet_since,
            "locks": waited_for(self.scheduler),
            "stuck": self.stuck() if self.scheduler.unrunnable else None,
            "losses": self.losses,
        }

    def running(self) -> list[list[Any]]:
        """Return (task, worker, since) of the tasks that have run longest."""
        rows = (
            (ws.last_seen - duration, ws, ts)
            for ws in self.scheduler.workers.values()
            for ts, duration in ws.executing.items()
        )
        longest = nsmallest(RUNNING_KEPT, rows, key=lambda row: row[0])
        return [
            [shortened(prefix_of(ts.key)), shortened(str(ws.name)), round(since, 1)]
            for since, ws, ts in longest
        ]

    def stuck(self) -> dict[str, Any]:
        """Return what tasks ask for that no worker has."""
        offered: dict[str, float] = {}
        for ws in self.scheduler.workers.values():
            for name, amount in ws.resources.items():
                offered[name] = max(amount, offered.get(name, 0.0))
        tasks = list(islice(self.scheduler.unrunnable, SAMPLE_TASKS))
        wanted: dict[str, float] = {}
        for ts in tasks:
            for name, amount in (ts.resource_restrictions or {}).items():
                wanted[name] = max(amount, wanted.get(name, 0.0))
        missing = {n: amount for n, amount in wanted.items() if offered.get(n, 0.0) < amount}
        pinned = {address for ts in tasks for address in ts.worker_restrictions or ()}
        return {
            "since": self.stuck_since,
            "tasks": sorted({shortened(prefix_of(ts.key)) for ts in tasks})[:NAMES_KEPT],
            "resources": [
                [shortened(name), amount, offered.get(name, 0.0)]
                for name, amount in sorted((missing or wanted).items())[:NAMES_KEPT]
            ],
            "workers": [shortened(address) for address in sorted(pinned)[:NAMES_KEPT]],
        }


def prefix_of(key: Any) -> str:
    """Return the name of a task without its number."""
    return str(key_split(key))


def keys_at_the_end(scheduler: Scheduler, address: str) -> list[Any]:
    """Return the keys of the tasks that a worker had when it was removed."""
    for _, event in reversed(scheduler.get_events(address)):
        if isinstance(event, dict) and event.get("action") == "remove-worker":
            return list(event.get("processing-tasks") or ())
    return []


def waited_for(scheduler: Scheduler) -> list[str]:
    """Return the names of the locks and semaphores that tasks wait for."""
    try:
        pending = scheduler.extensions["semaphores"].metrics["pending"]
        names = {str(name) for name, count in list(pending.items()) if count > 0}
        # Before distributed 2024.5, locks were no semaphores.
        events = getattr(scheduler.extensions.get("locks"), "events", {})
        names |= {str(name) for name, waiting in list(events.items()) if waiting}
    except Exception:
        return []
    return [shortened(name) for name in sorted(names)[:NAMES_KEPT]]


class History:
    """The number of workers over time, as the points at which it changed.

    At most 200 points: beyond that, points closer together than a growing distance are merged, and
    the count of the last one is kept.
    """

    def __init__(self) -> None:
        self.points: list[tuple[float, int]] = []
        self.peak = 0
        self._distance_seconds = 0.5

    def add(self, at: float, count: int) -> None:
        """Record that there are `count` workers from `at` (epoch seconds) on."""
        self.peak = max(self.peak, count)
        self.points.append((at, count))
        while len(self.points) > HISTORY_LIMIT:
            self.points = thinned(self.points, self._distance_seconds)
            self._distance_seconds *= 2


def thinned(points: list[tuple[float, int]], distance: float) -> list[tuple[float, int]]:
    """Return the points; one that follows a kept one within `distance` only updates its count."""
    kept: list[tuple[float, int]] = []
    for at, count in points:
        if kept and at - kept[-1][0] < distance:
            kept[-1] = (kept[-1][0], count)
        else:
            kept.append((at, count))
    return kept


class Gate:
    """Holds back a scheduler's clients until the expected workers have registered.

    And until the run has asked: a script may end its scheduler as soon as it is connected, and the
    run would take what it has never seen for a start that failed, not for a loss.

    A script that starts with a ``LocalCluster`` finds all workers there; without the gate, it would
    find any number. The gate opens once: when the workers are there, or some time after the first
    client came. Clients that come later pass.
    """

    #: The first two requests of a client. Its ``repr`` shows the answer to the first.
    OPERATIONS = ("identity", "register-client")

    def __init__(self, scheduler: Scheduler, expected: int):
        self.scheduler = scheduler
        self.expected = expected
        self._was_asked = False
        #: The number of workers that were missing when the gate opened.
        self.missing = 0
        self._opened = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._handlers = {name: scheduler.handlers[name] for name in self.OPERATIONS}
        identity, register = self._handlers.values()

        async def held_identity(**message: Any) -> Any:
            await self._passed()
            return identity(**message)

        # distributed passes the comm to handlers with an argument of this name.
        async def held_register(comm: Any, **message: Any) -> Any:
            await self._passed()
            return await register(comm, **message)

        scheduler.handlers.update(
            {self.OPERATIONS[0]: held_identity, self.OPERATIONS[1]: held_register}
        )

    @property
    def is_open(self) -> bool:
        """Whether clients pass."""
        return self._opened.is_set()

    async def _passed(self) -> None:
        if self._timer is None and not self.is_open:
            self._timer = asyncio.get_running_loop().call_later(EXPECTED_SECONDS, self.open)
        await self._opened.wait()

    def expect(self, workers: int) -> None:
        """Change the number of expected workers: some failed, or the cluster was scaled."""
        self.expected = workers
        self._was_asked = True
        self.look()

    def look(self) -> None:
        """Open if the expected workers are there."""
        if self._was_asked and len(self.scheduler.workers) >= self.expected:
            self.open()

    def open(self) -> None:
        """Pass on the requests of clients, now and later."""
        if self.is_open:
            return
        self.missing = max(self.expected - len(self.scheduler.workers), 0)
        if self.missing:
            logger.warning("daskjob agent: %d workers did not come", self.missing)
        if self._timer is not None:
            self._timer.cancel()
        self._opened.set()

    def answer(self) -> dict[str, Any]:
        """Return the answer to ``POST expect``."""
        return {"open": self.is_open, "expected": self.expected, "missing": self.missing}


class Agent(SchedulerPlugin):  # type: ignore[misc]
    """Watches one scheduler and answers questions about it."""

    name = "daskjob-agent"

    def __init__(self, scheduler: Scheduler, groups: list[Group]):
        self.scheduler = scheduler
        self.groups = groups
        self.gate: Gate | None = None
        self.counts = TaskCounter(scheduler.tasks)
        # An attribute, not a method: see TaskCounter._counter.
        self.transition = self.counts.transition
        self.prefixes = PrefixTimes(scheduler)
        self.history = History()
        self.activity = Activity(scheduler)
        #: The number of clients that have connected, without those that tasks opened on workers.
        self.clients_seen = len(self.client_names(scheduler.client_comms))
        self.live: dict[str, WorkerState] = {}
        #: Peak memory in bytes by worker name: a worker that returns is the same worker.
        self.peaks: dict[str, int] = {}
        self.seen = 0
        self.lost = 0
        #: Addresses that we are retiring, or that are confirmed and not stopped yet.
        self.retiring: set[str] = set()
        #: Names of workers that are about to be stopped, whether they have registered or not.
        self.leaving: frozenset[str] = frozenset()
        #: Whether a request is retiring workers: the next one waits for it.
        self.busy = False
        #: Timers that call confirmed workers back.
        self.holds: dict[str, asyncio.TimerHandle] = {}
        #: When workers were called back (monotonic seconds), by address.
        self.called_back: dict[str, float] = {}
        self.moved_at: float | None = None
        self._moves = scheduler.transition_counter
        self._sample_at = 0.0
        for address in list(scheduler.workers):
            self.add_worker(scheduler, address)

    # Called by distributed.

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Count a worker that registered."""
        ws = scheduler.workers.get(worker)
        if ws is not None:
            self.live[worker] = ws
            self.seen += 1
            self.retiring.discard(worker)
            cancel_hold(self, worker)
            self.history.add(time.time(), len(scheduler.workers))
        if self.gate is not None:
            self.gate.look()

    def remove_worker(
        self, scheduler: Scheduler, worker: str, *, stimulus_id: str = "", **_: Any
    ) -> None:
        """Record that a worker is gone, for any reason."""
        ws = self.live.pop(worker, None)
        self.history.add(time.time(), len(scheduler.workers))
        if ws is not None:
            self._see_memory(ws)
        cancel_hold(self, worker)
        self.called_back.pop(worker, None)
        if worker in self.retiring:
            self.retiring.remove(worker)
        elif self._is_loss(worker, ws, stimulus_id):
            self.lost += 1
            if ws is not None:
                self.activity.see_loss(ws)
        if len(self.peaks) > len(self.live) + 2 * PEAKS_KEPT:
            self._forget_peaks()

    def _is_loss(self, address: str, ws: WorkerState | None, stimulus_id: str) -> bool:
        """Return whether a worker that is gone was lost.

        One that is stopped while it registers has no time to announce its end.
        """
        if ws is not None and str(ws.name) in self.leaving:
            return False
        return stimulus_id.startswith(UNANNOUNCED) and not announced(self.scheduler, address)

    def see_leaving(self, names: Iterable[str]) -> None:
        """Replace the names of workers that are about to be stopped; none: all of them are gone.

        Then the next ones may have the same names. Those that the scheduler still knows are the
        old ones: it has not noticed their end.
        """
        gone, self.leaving = self.leaving, frozenset(names)
        gone -= self.leaving
        self.retiring |= {address for address, ws in self.live.items() if str(ws.name) in gone}

    def add_client(self, scheduler: Scheduler, client: str) -> None:  # noqa: ARG002
        """Count a client that connected."""
        self.clients_seen += len(self.client_names([client]))

    def may_call_back(self, address: str) -> bool:
        """Return whether a worker, if it is closing, does so because of a retirement.

        The echo of a retirement may arrive after the call back, and hide it for a moment.
        """
        status = self.scheduler.workers[address].status
        if address in self.retiring or status in (Status.running, Status.paused):
            return True
        called_back = self.called_back.get(address, -math.inf)
        return time.monotonic() - called_back < ECHO_SECONDS

    # Sampling.

    def sample(self) -> None:
        """Sample memory and prefixes; O(workers + prefixes), at most 500 workers a second."""
        now = time.time()
        if self._moves != self.scheduler.transition_counter:
            self._moves = self.scheduler.transition_counter
            self.moved_at = now
        if now < self._sample_at:
            return
        self._sample_at = now + len(self.live) / 500
        for ws in self.live.values():
            self._see_memory(ws)
        self.prefixes.look()
        self.activity.sample(now, self.moved_at or 0.0)

    def _see_memory(self, ws: WorkerState) -> None:
        name, memory = str(ws.name), resident_bytes(ws)
        if memory > self.peaks.get(name, -1):
            self.peaks[name] = memory

    def _forget_peaks(self) -> None:
        here = {str(ws.name) for ws in self.live.values()}
        gone = [item for item in self.peaks.items() if item[0] not in here]
        largest = dict(nlargest(PEAKS_KEPT, gone, key=lambda item: item[1]))
        self.peaks = {n: peak for n, peak in self.peaks.items() if n in here or n in largest}

    # Answers.

    def last_transition(self) -> float | None:
        """Return when a task last moved (epoch seconds), or None."""
        log = self.scheduler.transition_log
        # The log can be configured to keep nothing; then use the last sample that saw a move.
        return float(log[-1][-1]) if log else self.moved_at

    def idle_since(self, tasks: dict[str, int]) -> float | None:
        """Return since when there is nothing to compute, by ``Scheduler.check_idle``'s rules."""
        if tasks["processing"] or tasks["queued"] or tasks["noWorker"]:
            return None
        if getattr(self.scheduler, "_active_graph_updates", 0):
            return None
        return max(self.last_transition() or 0.0, float(self.scheduler.time_started))

    def clients(self) -> int:
        """Return the number of connected clients, without those that tasks opened on workers."""
        return len(self.client_names(self.scheduler.client_comms))

    @staticmethod
    def client_names(clients: Iterable[Any]) -> list[str]:
        """Return the clients that no task opened."""
        return [str(c) for c in clients if not str(c).startswith("Client-worker-")]

    def state(self, groups: list[Group] | None = None, after: str = "") -> bytes:
        """Return the answer to ``GET state``: below the limit, in one format for any size.

        ``target`` is about these groups, or else about those known at the start.
        ``workers.columns`` names the values in each of ``workers.rows``: all of them up to 1,000
        workers, else what a decision needs. Rows are in the order of addresses, from the first
        `after` this one on; those that do not fit are left to the next page, and
        ``workers.total`` counts the workers of all pages.
        """
        tasks = self.counts.snapshot()
        every = self.scheduler.workers
        workers = [ws for address, ws in sorted(every.items()) if address > after]
        answer: dict[str, Any] = {
            "version": 1,
            "schedulerId": self.scheduler.id,
            "startedAt": self.scheduler.time_started,
            "now": time.time(),
            "tasks": tasks,
            "lastTransition": self.last_transition(),
            "idleSince": self.idle_since(tasks),
            "clients": self.clients(),
            "target": self.target(self.groups if groups is None else groups),
            "stages": self.stages(),
            "activity": self.activity.answer(),
        }
        forms = [FULL_COLUMNS, COMPACT_COLUMNS]
        body = b""
        for columns in forms[len(every) > FULL_ROWS_LIMIT :]:
            rows = [[CELLS[column](ws) for column in columns] for ws in workers[:ROWS_LIMIT]]
            answer["workers"] = {"total": len(every), "columns": columns, "rows": rows}
            body = encode(answer)
            if len(body) <= ANSWER_LIMIT_BYTES:
                return body
        while len(body) > ANSWER_LIMIT_BYTES:
            rows = answer["workers"]["rows"]
            share = 0.95 * ANSWER_LIMIT_BYTES / len(body)
            answer["workers"]["rows"] = rows[: int(len(rows) * share)]
            body = encode(answer)
        return body

    def unfinished(self) -> bytes:
        """Return the answer to ``GET unfinished``: what is left when all clients are gone.

        A task that no client wants any more is unknown to the scheduler, although its worker runs
        it to its end; the worker's heartbeats count it.
        """
        workers = list(self.scheduler.workers.values())
        promising = self.scheduler.clients.get("fire-and-forget")
        counted_from = (self.last_transition() or 0.0) + HEARTBEAT_MARGIN_SECONDS
        tasks = self.counts.snapshot()
        return encode(
            {
                "clients": self.clients(),
                "promised": len(promising.wants_what) if promising else 0,
                "finished": tasks["done"] + tasks["erred"],
                "processing": tasks["processing"],
                "dropped": tasks["dropped"],
                "abandoned": sum(
                    (ws.metrics.get("task_counts") or {}).get("cancelled", 0) for ws in workers
                ),
                "stale": sum(ws.last_seen < counted_from for ws in workers),
            }
        )

    def stages(self) -> list[list[Any]]:
        """Return the prefixes that run, with their running tasks; O(running), at most 1,000."""
        found: dict[str, int] = {}
        for ws in islice(self.scheduler.workers.values(), STAGES_LIMIT):
            for ts in islice(ws.processing, ws.nthreads):
                found[ts.prefix.name] = found.get(ts.prefix.name, 0) + 1
        rows = sorted(found.items(), key=lambda row: -row[1])[:3]
        return [[str(name)[:100], count] for name, count in rows]

    def target(self, groups: list[Group]) -> dict[str, int]:
        """Return the number of workers each group should have; empty if that is not known."""
        try:
            return targets(self.scheduler, groups)
        except Exception as error:
            logger.warning("daskjob agent: no adaptive target: %r", error)
            return {}

    def report(self, limit: int) -> bytes:
        """Return the answer to ``GET report``, at most `limit` bytes: the longest lists are cut."""
        self._sample_at = 0.0
        self.sample()
        now, start = time.time(), self.scheduler.time_started
        many = limit > REPORT_LIMIT_BYTES
        prefixes = self.prefixes.rows()
        peaks = nlargest(len(self.peaks) if many else 20, self.peaks.items(), key=lambda i: i[1])
        points = self.history.points
        answer: dict[str, Any] = {
            "version": 1,
            "schedulerId": self.scheduler.id,
            "versions": versions(),
            "startedAt": start,
            "now": now,
            "wallSeconds": round(now - start, 1),
            "tasks": self.counts.snapshot(),
            "clients": self.clients_seen,
            "computeSeconds": round(sum(row[2] for row in prefixes), 3),
            "prefixes": {
                "columns": ["name", "count", "seconds", "erred"],
                "rows": [
                    [shortened(name), count, round(seconds, 3), erred]
                    for name, count, seconds, erred in prefixes[: None if many else 20]
                ],
            },
            "peakMemory": {
                "columns": ["worker", "bytes"],
                "rows": [[shortened(name), memory] for name, memory in peaks],
            },
            "workers": {
                "now": len(self.live),
                "peak": self.history.peak,
                "seen": self.seen,
                "lost": self.lost,
                "losses": self.activity.losses,
                "overTime": [[round(max(0.0, at - start), 1), count] for at, count in points],
            },
        }
        lists = (
            (answer["workers"], "overTime", halved),
            (answer["workers"], "losses", without_last),
            (answer["prefixes"], "rows", without_last),
            (answer["peakMemory"], "rows", without_last),
        )
        body = encode(answer)
        while len(body) > limit:
            holder, key, shorter = max(lists, key=lambda item: len(encode(item[0][item[1]])))
            holder[key] = shorter(holder[key])
            body = encode(answer)
        return body


def versions() -> dict[str, str]:
    """Return the versions of what ran."""
    return {
        "python": platform.python_version(),
        "dask": dask.__version__,
        "distributed": distributed.__version__,
    }


def shortened(name: str) -> str:
    """Return the name, without its middle if it is longer than a label may be (63)."""
    return name if len(name) <= 63 else name[:40] + "..." + name[-20:]


def halved(points: list[Any]) -> list[Any]:
    """Return every second point, including the first and the last."""
    return points[:-1:2] + points[-1:] if len(points) > 2 else points[:-1]


def without_last(rows: list[Any]) -> list[Any]:
    """Return the rows without the last tenth, at least one fewer."""
    return rows[: len(rows) - max(1, len(rows) // 10)]


#: Prefixes of distributed's stimulus for an unrequested removal: the stream broke (an orderly
#: close without a nanny looks the same), the nanny saw its process end, or no heartbeat arrived.
UNANNOUNCED = ("handle-worker-cleanup", "nanny-close", "check-worker-ttl")


def announced(scheduler: Scheduler, address: str) -> bool:
    """Return whether the worker had announced that it was closing."""
    for _, event in reversed(scheduler.get_events(address)):
        if isinstance(event, dict) and event.get("action") == "worker-status-change":
            return str(event.get("status", "")).startswith("clos")
    return False


# --- adaptive target -------------------------------------------------------------------------


class Group:
    """A worker group as the operator describes it.

    `prefix`: prefix of its workers' names; `nthreads`: threads of one worker; `resources`: the
    ``--resources`` of one worker.
    """

    def __init__(self, name: str, prefix: str, nthreads: float, resources: dict[str, float]):
        self.name = name
        self.prefix = prefix
        self.nthreads = max(1.0, nthreads)
        self.resources = resources


def parse_groups(text: str) -> list[Group]:
    """Return the groups of the environment variable, or of a query.

    Raises ValueError, TypeError, KeyError or AttributeError.
    """
    return [
        Group(
            str(item["name"]),
            str(item["prefix"]),
            float(item.get("nthreads") or 1),
            {str(k): float(v) for k, v in (item.get("resources") or {}).items()},
        )
        for item in json.loads(text or "[]")
    ]


class Demand:
    """Accumulates the demand for one group."""

    def __init__(self, group: Group):
        self.group = group
        self.members: list[WorkerState] = []
        self.resources = dict(group.resources)
        self.nthreads = group.nthreads
        #: Seconds of work, and tasks, each divided by the number one worker runs concurrently.
        self.seconds = 0.0
        self.tasks = 0.0

    def add_member(self, ws: WorkerState) -> None:
        """Add a registered worker of this group; the resources it really offers count too."""
        self.members.append(ws)
        for key, amount in ws.resources.items():
            self.resources[key] = max(amount, self.resources.get(key, 0.0))

    def satisfies(self, needs: dict[str, float]) -> bool:
        """Return whether one worker of the group could run a task with these needs."""
        return all(self.resources.get(key, 0.0) >= amount for key, amount in needs.items())

    def slots(self, needs: dict[str, float]) -> float:
        """Return how many tasks with these needs one worker runs concurrently."""
        fits = [self.resources.get(key, 0.0) // amount for key, amount in needs.items() if amount]
        return max(1.0, min([self.nthreads, *fits]))

    def add_tasks(self, needs: dict[str, float], tasks: float, seconds: float) -> None:
        """Add a number of tasks, and the seconds that all of them take together."""
        slots = self.slots(needs)
        self.tasks += tasks / slots
        self.seconds += seconds / slots


def targets(scheduler: Scheduler, groups: list[Group]) -> dict[str, int]:
    """Return the number of workers wanted, by group.

    For one group without resources exactly ``Scheduler.adaptive_target``. Otherwise the same rules
    by group: seconds of work over the target duration, no more workers than tasks, twice as many
    when 60 % of the memory is used, and idle workers are given up only while the rest can hold the
    data twice. Tasks whose resources only another group offers belong to that group; all others to
    the first group. O(workers), and at most 100 tasks are sampled from each list.
    """
    if not groups:
        return {}
    if len(groups) == 1 and not groups[0].resources:
        return {groups[0].name: int(scheduler.adaptive_target())}
    demands = [Demand(group) for group in groups]
    for ws in scheduler.workers.values():
        member_of(ws, demands).add_member(ws)
    for demand in demands:
        if demand.members:
            threads = sum(ws.nthreads for ws in demand.members)
            demand.nthreads = max(1.0, threads / len(demand.members))
    add_placed(scheduler, demands)
    add_unplaced(scheduler, demands)
    seconds = parse_timedelta(dask.config.get("distributed.adaptive.target-duration"))
    spare = spare_memory(scheduler)
    wanted = {}
    for demand in demands:
        wanted[demand.group.name], spare = workers_wanted(demand, seconds, spare)
    return wanted


def member_of(ws: WorkerState, demands: list[Demand]) -> Demand:
    """Return the group of a worker: by the longest prefix of its name, else the first."""
    matching = [d for d in demands if str(ws.name).startswith(d.group.prefix)]
    return max(matching, key=lambda d: len(d.group.prefix)) if matching else demands[0]


def owner_of(needs: dict[str, float] | None, demands: list[Demand]) -> Demand:
    """Return the group that tasks with these needs belong to."""
    if needs and not demands[0].satisfies(needs):
        for demand in demands[1:]:
            if demand.satisfies(needs):
                return demand
    return demands[0]


def add_placed(scheduler: Scheduler, demands: list[Demand]) -> None:
    """Add the work already assigned to workers, as the scheduler estimates it."""
    for ws in scheduler.workers.values():
        if not ws.processing:
            continue
        if not ws.resources:
            # No task with needs can be here, so there is no need to sample.
            demands[0].add_tasks({}, len(ws.processing), ws.occupancy)
            continue
        sample = list(islice(ws.processing, SAMPLE_TASKS))
        share = 1 / len(sample)
        for ts in sample:
            needs = ts.resource_restrictions or {}
            owner_of(needs, demands).add_tasks(
                needs, share * len(ws.processing), share * ws.occupancy
            )


def add_unplaced(scheduler: Scheduler, demands: list[Demand]) -> None:
    """Add the tasks that have no worker, or no free one."""
    for tasks in (scheduler.queued, scheduler.unrunnable):
        sample = list(islice(tasks, SAMPLE_TASKS))
        for ts in sample:
            needs = ts.resource_restrictions or {}
            times = len(tasks) / len(sample)
            owner_of(needs, demands).add_tasks(
                needs, times, times * expected_seconds(scheduler, ts.prefix)
            )


def expected_seconds(scheduler: Scheduler, prefix: Any) -> float:
    """Return the expected seconds of a task of this prefix, as in adaptive_target."""
    if prefix.duration_average >= 0:
        return float(prefix.duration_average)
    if prefix.max_exec_time > 0:
        return float(2 * prefix.max_exec_time)
    return float(scheduler.UNKNOWN_TASK_DURATION)


def spare_memory(scheduler: Scheduler) -> float:
    """Return the bytes that can be removed while the rest still fits twice the stored data."""
    limit = sum(ws.memory_limit for ws in scheduler.workers.values())
    return float(limit - 2 * sum(ws.nbytes for ws in scheduler.workers.values()))


def workers_wanted(demand: Demand, target_seconds: float, spare: float) -> tuple[int, float]:
    """Return the workers for this demand, and the spare memory after that."""
    here = len(demand.members)
    wanted = min(math.ceil(demand.seconds / target_seconds), math.ceil(demand.tasks))
    if demand.tasks and not here:
        wanted = max(1, wanted)
    limit = sum(ws.memory_limit for ws in demand.members)
    if limit and sum(ws.nbytes for ws in demand.members) > 0.6 * limit:
        wanted = max(wanted, 2 * here)
    idle = sorted(
        (ws for ws in demand.members if not ws.processing and not ws.long_running),
        key=lambda ws: int(ws.nbytes),
    )
    remaining = here
    for ws in idle:
        if remaining <= wanted or ws.memory_limit > spare:
            break
        spare -= ws.memory_limit
        remaining -= 1
    return max(wanted, remaining), spare


# --- retirement ------------------------------------------------------------------------------


def at_risk(ws: WorkerState) -> bool:
    """Return whether data would be lost with this worker: a key that no staying worker holds.

    Stricter than distributed's own policy, which accepts two replicas even if both are on workers
    being retired.
    """
    staying = (Status.running, Status.paused)
    return any(not any(holder.status in staying for holder in ts.who_has) for ts in ws.has_what)


def retired(scheduler: Scheduler, address: str) -> bool:
    """Return whether the worker takes no more work, has none, and holds no data at risk."""
    ws = scheduler.workers[address]
    return emptied(ws) and not ws.processing


def emptied(ws: WorkerState) -> bool:
    """Return whether the worker takes no more work and holds no data at risk."""
    return ws.status == Status.closing_gracefully and not at_risk(ws)


async def retire(agent: Agent, addresses: list[str], timeout: float) -> dict[str, list[str]]:
    """Empty the workers, and return which of them may be stopped.

    They stay registered, take no more work, and are not closed: a kubelet would restart a closed
    worker. Tasks that run may finish within a share of the time; all others are handed back at
    once. Workers not confirmed within `timeout` seconds resume work, also when this coroutine is
    cancelled; confirmed workers resume if they are still there after `CONFIRMED_SECONDS`.
    """
    scheduler = agent.scheduler
    addresses = list(dict.fromkeys(addresses))
    deadline = time.monotonic() + timeout
    turn = await in_turn(agent, addresses, deadline)
    known = [address for address in addresses if address in scheduler.workers]
    if not turn:
        unknown = [a for a in addresses if a not in scheduler.workers]
        return {"retired": [], "remaining": known, "unknown": unknown}
    # A worker that is closing for another reason must not be called back.
    ours = {address for address in known if agent.may_call_back(address)}
    agent.busy = True
    agent.retiring |= ours
    for address in ours:
        cancel_hold(agent, address)
    confirmed: list[str] = []
    try:
        await empty(scheduler, known, deadline)
        confirmed = [a for a in known if a in scheduler.workers and retired(scheduler, a)]
    finally:
        agent.busy = False
        for address in ours.intersection(confirmed, agent.retiring):
            hold(agent, address)
        call_back(agent, [a for a in ours if a not in confirmed])
    return {
        "retired": confirmed,
        "remaining": [a for a in known if a in scheduler.workers and a not in confirmed],
        "unknown": [a for a in addresses if a not in scheduler.workers],
    }


async def in_turn(agent: Agent, addresses: list[str], deadline: float) -> bool:
    """Wait until no other worker is being retired; ``False``: time is up before that.

    A confirmed worker relies on those that its data was moved to. If one of them were retired
    while the first is still there, the scheduler would count two replicas and might drop the one
    that stays longer (``ReduceReplicas``): then the data is lost with the first.

    Two requests for the same worker take turns as well. distributed gives up a retirement by
    restoring the status that it found, which the second one found as "closing_gracefully": the
    worker would keep it, and take no task ever again.
    """
    while agent.busy or any(address not in addresses for address in agent.retiring):
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            return False
        await asyncio.sleep(min(0.1, seconds))
    return True


async def empty(scheduler: Scheduler, addresses: list[str], deadline: float) -> None:
    """Have data and tasks move off these workers until none is left, or time is up."""
    start = time.monotonic()
    finish_by = start + FINISH_SHARE * (deadline - start)
    stopped_at: dict[str, float] = {}
    immovable: set[str] = set()
    asked: list[str] = []
    moving: asyncio.Future[Any] | None = None
    ask_at = start
    try:
        while True:
            if moving is not None and moving.done():
                if not set(asked) & set(moving.result()):
                    # No worker can take their data: waiting would not help.
                    immovable.update(asked)
                # The policy accepts two replicas on two workers that both retire; then the moves
                # that it requested are still in progress.
                moving, ask_at = None, time.monotonic() + 0.1
            left = [
                address
                for address in addresses
                if address in scheduler.workers
                and address not in immovable
                and not retired(scheduler, address)
            ]
            seconds = deadline - time.monotonic()
            if not left or seconds <= 0:
                return
            if moving is None and time.monotonic() >= ask_at:
                # Only those not yet emptied: asking again for the others would log each time.
                asked = [address for address in left if not emptied(scheduler.workers[address])]
                moving = asyncio.ensure_future(move_data(scheduler, asked)) if asked else None
            hand_back(scheduler, left, stopped_at, unfinished=time.monotonic() >= finish_by)
            if moving is None:
                await asyncio.sleep(min(0.1, seconds))
            else:
                await asyncio.wait({moving}, timeout=min(0.1, seconds))
    finally:
        if moving is not None:
            moving.cancel()


async def move_data(scheduler: Scheduler, addresses: list[str]) -> Any:
    """Have these workers take no more tasks and their data moved; return those that could."""
    return await scheduler.retire_workers(
        workers=addresses,
        close_workers=False,
        remove=False,
        stimulus_id=f"daskjob-retire-{time.time()}",
    )


def hand_back(
    scheduler: Scheduler, addresses: list[str], stopped_at: dict[str, float], *, unfinished: bool
) -> None:
    """Have the tasks of retiring workers computed elsewhere, without counting as failures.

    A task that is lost with its worker counts as suspicious, and fails with ``KilledWorker`` after
    a few times. Tasks that run are handed back only if `unfinished`, and if nothing else keeps the
    worker: until then they may finish.
    """
    handed_back = 0
    for address in addresses:
        ws = scheduler.workers[address]
        if ws.status != Status.closing_gracefully:
            continue
        since = stopped_at.setdefault(address, time.time())
        for ts in tasks_to_hand_back(ws, since, unfinished=unfinished):
            scheduler._reschedule(ts.key, address, stimulus_id=f"daskjob-hand-back-{time.time()}")
            handed_back += 1
            if handed_back == HANDED_BACK_AT_ONCE:
                return


def tasks_to_hand_back(ws: WorkerState, since: float, *, unfinished: bool) -> list[TaskState]:
    """Return the tasks of a worker that it will not compute."""
    if unfinished and not at_risk(ws):
        return list(ws.processing)
    if ws.last_seen < since + HEARTBEAT_MARGIN_SECONDS:
        # What it runs is known from its heartbeats.
        return []
    return [ts for ts in ws.processing if ts not in ws.executing]


def hold(agent: Agent, address: str) -> None:
    """Call a confirmed worker back unless it is stopped, or requested again, within the time."""
    cancel_hold(agent, address)
    loop = asyncio.get_running_loop()
    agent.holds[address] = loop.call_later(CONFIRMED_SECONDS, end_of_hold, agent, address)


def cancel_hold(agent: Agent, address: str) -> None:
    """Cancel the timer that would call a confirmed worker back."""
    timer = agent.holds.pop(address, None)
    if timer is not None:
        timer.cancel()


def end_of_hold(agent: Agent, address: str) -> None:
    """Have a worker that was not stopped resume work."""
    agent.holds.pop(address, None)
    if address in agent.retiring:
        logger.info("daskjob agent: %s was confirmed but not stopped; it resumes work", address)
        call_back(agent, [address])


RESUMABLE = (Status.running, Status.paused, Status.closing_gracefully)


def call_back(agent: Agent, addresses: list[str]) -> None:
    """Undo a retirement: stop the policies that drain these workers, and have them take work."""
    scheduler = agent.scheduler
    manager = scheduler.extensions.get("amm")
    if manager is not None and addresses:
        for policy in list(manager.policies):
            if isinstance(policy, RetireWorker) and policy.address in addresses:
                manager.policies.discard(policy)
    for address in addresses:
        agent.retiring.discard(address)
        cancel_hold(agent, address)
        ws = scheduler.workers.get(address)
        # Not only where the scheduler believes it to be retiring: the echo of an earlier status may
        # hide that for a moment, and the worker would never resume.
        if ws is None or ws.status not in RESUMABLE:
            continue
        agent.called_back[address] = time.monotonic()
        stimulus_id = f"daskjob-call-back-{time.time()}"
        # The worker must be notified too, or it would keep rejecting tasks; and notified first, or
        # it would get tasks while it still rejects them.
        scheduler.stream_comms[address].send(
            {"op": "worker-status-change", "status": "running", "stimulus_id": stimulus_id}
        )
        scheduler.handle_worker_status_change(Status.running, ws, stimulus_id)


# --- HTTP ------------------------------------------------------------------------------------


# A streamed body is limited here; otherwise tornado buffers 100 MB before the token is checked.
@stream_request_body
class Handler(RequestHandler):  # type: ignore[misc]
    """Checks the token, limits the body, and answers in JSON, errors included."""

    agent: Agent
    token: str

    def initialize(self, agent: Agent, token: str) -> None:
        """Called by tornado with the arguments of the route."""
        self.agent = agent
        self.token = token
        self.body = bytearray()
        self.task: asyncio.Task[Any] | None = None

    def prepare(self) -> None:
        """Called by tornado before the method, and before the body is read."""
        given = self.request.headers.get("Authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, b"Bearer " + self.token.encode()):
            self.set_header("WWW-Authenticate", "Bearer")
            raise HTTPError(401, reason="the token is missing or wrong")
        length = self.request.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > BODY_LIMIT_BYTES:
            raise too_large()

    def data_received(self, chunk: bytes) -> None:
        """Keep a piece of the body up to the limit (a chunked body declares no length)."""
        if len(self.body) <= BODY_LIMIT_BYTES:
            self.body += chunk

    def object(self) -> dict[str, Any]:
        """Return the body, an object in JSON, or raise a 4xx."""
        if len(self.body) > BODY_LIMIT_BYTES:
            raise too_large()
        try:
            body = json.loads(bytes(self.body))
        except (ValueError, RecursionError):
            raise HTTPError(400, reason="the body is not JSON") from None
        if not isinstance(body, dict):
            raise HTTPError(400, reason="the body must be an object")
        return body

    def check_xsrf_cookie(self) -> None:
        """Accept every request: there are no cookies."""

    def answer(self, body: bytes) -> None:
        """Send this JSON."""
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(body)

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ARG002
        """Called by tornado for any error: always JSON, never a traceback."""
        self.answer(encode({"error": self._reason}))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:  # noqa: ARG002
        """Log at most one line, and none for a caller's error."""
        if not isinstance(value, HTTPError):
            logger.warning("daskjob agent: %s failed: %r", self.request.path, value)


def too_large() -> HTTPError:
    """Return the error for a body beyond the limit."""
    return HTTPError(413, reason=f"the body is larger than {BODY_LIMIT_BYTES // 1024} KiB")


class StateHandler(Handler):
    """``GET daskjob/v1/state``; ``?groups=`` names the groups, like the environment variable.

    Groups may be added after the scheduler has started. ``?after=ADDRESS`` returns the workers
    with a greater address: the next page of an answer that has fewer rows than workers.
    """

    def get(self) -> None:
        """Send everything that a decision needs."""
        text = self.get_query_argument("groups", "")
        try:
            groups = parse_groups(text) if text else None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise HTTPError(400, reason="groups is not a list of groups") from None
        self.answer(self.agent.state(groups, self.get_query_argument("after", "")))


class ReportHandler(Handler):
    """``GET daskjob/v1/report``."""

    def get(self) -> None:
        """Send a summary of a run; ``?full=1`` for all of it."""
        full = self.get_query_argument("full", "") in ("1", "true")
        self.answer(self.agent.report(ANSWER_LIMIT_BYTES if full else REPORT_LIMIT_BYTES))


class UnfinishedHandler(Handler):
    """``GET daskjob/v1/unfinished``."""

    def get(self) -> None:
        """Send what the workers may still run after the end of the script."""
        self.answer(self.agent.unfinished())


class RetireHandler(Handler):
    """``POST daskjob/v1/retire``."""

    async def post(self) -> None:
        """Empty workers; answer when that is confirmed or the time is up."""
        addresses, timeout = self.parsed()
        self.task = asyncio.ensure_future(retire(self.agent, addresses, timeout))
        try:
            self.answer(encode(await self.task))
        except asyncio.CancelledError:
            logger.info("daskjob agent: retirement cancelled, the caller has disconnected")

    def on_connection_close(self) -> None:
        """The caller is gone and will not learn which workers retired: they resume work."""
        if self.task is not None:
            self.task.cancel()

    def parsed(self) -> tuple[list[str], float]:
        """Return (addresses, seconds) of the body, or raise a 4xx that says what it should be."""
        body = self.object()
        workers, timeout = body.get("workers"), body.get("timeout", RETIRE_LIMIT_SECONDS)
        if not isinstance(workers, list) or not all(isinstance(w, str) for w in workers):
            raise HTTPError(400, reason="workers must be a list of addresses")
        number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
        if not number or not timeout >= 0:
            raise HTTPError(400, reason="timeout must be a number of seconds from 0 to 60")
        return workers, min(float(timeout), RETIRE_LIMIT_SECONDS)


class ExpectHandler(Handler):
    """``POST daskjob/v1/expect``: how many workers the first clients wait for."""

    def post(self) -> None:
        """Change the number, if clients still wait, and answer whether they do."""
        gate, workers = self.agent.gate, self.object().get("workers")
        if type(workers) is not int:
            raise HTTPError(400, reason="workers must be a number")
        if gate is not None and not gate.is_open:
            gate.expect(workers)
        self.answer(encode(gate.answer() if gate else {"open": True}))


class LeavingHandler(Handler):
    """``POST daskjob/v1/leaving``: the names of the workers that are about to be stopped."""

    def post(self) -> None:
        """Replace the names."""
        workers = self.object().get("workers")
        if not isinstance(workers, list) or not all(isinstance(w, str) for w in workers):
            raise HTTPError(400, reason="workers must be a list of names")
        self.agent.see_leaving(workers)
        self.answer(encode({"leaving": sorted(self.agent.leaving)}))


def mounted_prefix(scheduler: Scheduler) -> str:
    """Return the prefix of the scheduler's own routes: "/", or "/<dashboard prefix>/".

    The scheduler does not keep its prefix, so it is derived from a route that it mounted.
    """
    mounted = [
        (rule.target, rule.matcher.regex.pattern)
        for rule in scheduler.http_application.wildcard_router.rules
        if hasattr(rule.matcher, "regex")
    ]
    for module in dask.config.get("distributed.scheduler.http.routes"):
        for path, handler, _ in getattr(import_module(module), "routes", ()):
            ending = path.lstrip("/").rstrip("$") + "$"
            for target, pattern in mounted:
                if target is handler and pattern.endswith("/" + ending):
                    return str(pattern[: -len(ending)])
    return "/"


def add_routes(agent: Agent, token: str) -> str:
    """Mount the routes and return their prefix.

    tornado matches added handlers before those given to the constructor, and bokeh's application
    after both: the order of preloads and dashboard does not matter.
    """
    prefix = mounted_prefix(agent.scheduler) + "daskjob/v1/"
    given = {"agent": agent, "token": token}
    agent.scheduler.http_application.add_handlers(
        r".*",
        [
            (prefix + "state", StateHandler, given),
            (prefix + "retire", RetireHandler, given),
            (prefix + "report", ReportHandler, given),
            (prefix + "unfinished", UnfinishedHandler, given),
            (prefix + "expect", ExpectHandler, given),
            (prefix + "leaving", LeavingHandler, given),
        ],
    )
    return prefix


# --- preload ---------------------------------------------------------------------------------


def hidden_preloads(scheduler: Scheduler) -> tuple[Any, Any]:
    """Return the (preload, arguments) of the image's YAML files that our variable hides.

    If the user's own ``--preload`` or variable names other preloads, that already hides the files,
    and Dask would not have loaded them either.
    """
    if PRELOAD_VARIABLE not in os.environ or len(scheduler.preloads) != 1:
        return [], []
    named = dask.config.get("distributed.scheduler.preload")
    if scheduler.preloads[0].name != (named if isinstance(named, str) else (named or [""])[0]):
        return [], []
    files = dask.config.collect(paths=dask.config.paths, env={})
    return (
        dask.config.get("distributed.scheduler.preload", [], config=files) or [],
        dask.config.get("distributed.scheduler.preload-argv", [], config=files) or [],
    )


def expected_workers() -> int:
    """Return the number of workers for which clients wait; 0: they do not wait."""
    text = os.environ.get(EXPECTED_VARIABLE, "")
    return int(text) if text.isdigit() else 0


def guarded(function: Callable[[], None], callbacks: dict[str, PeriodicCallback], name: str) -> Any:
    """Return a function that calls this one until it fails once."""

    def call() -> None:
        try:
            function()
        except Exception as error:
            logger.warning("daskjob agent: sampling stopped: %r", error)
            callbacks[name].stop()

    return call


def start_agent(scheduler: Scheduler, token: str) -> Agent:
    """Plug an agent into the scheduler."""
    try:
        groups = parse_groups(os.environ.get(GROUPS_VARIABLE, ""))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("daskjob agent: invalid %s: %r", GROUPS_VARIABLE, error)
        groups = []
    agent = Agent(scheduler, groups)
    scheduler.add_plugin(agent, name=Agent.name)
    expected = expected_workers()
    if expected:
        agent.gate = Gate(scheduler, expected)
    prefix = add_routes(agent, token)
    # The scheduler starts its callbacks after its preloads, and stops them when it closes.
    callbacks = scheduler.periodic_callbacks
    callbacks[Agent.name] = PeriodicCallback(
        guarded(agent.sample, callbacks, Agent.name), SAMPLE_SECONDS * 1000
    )
    logger.info("daskjob agent: answering below %s", prefix)
    return agent


started: list[Any] = []


async def dask_setup(scheduler: Scheduler) -> None:
    """Called by the scheduler once it listens."""
    try:
        token = os.environ.get(TOKEN_VARIABLE, "")
        if token:
            start_agent(scheduler, token)
        else:
            logger.warning("daskjob agent: not started, %s is not set", TOKEN_VARIABLE)
    except Exception as error:
        logger.warning("daskjob agent: not started: %r", error)
    try:
        preload, arguments = hidden_preloads(scheduler)
        if preload:
            preloads = process_preloads(scheduler, preload, arguments)
            started.append(preloads)
            await preloads.start()
    except Exception as error:
        logger.warning("daskjob agent: preloads of the YAML files were not loaded: %r", error)


async def dask_teardown(scheduler: Scheduler) -> None:  # noqa: ARG001
    """Called by the scheduler when it starts to close."""
    while started:
        try:
            await started.pop().teardown()
        except Exception as error:
            logger.warning("daskjob agent: teardown of the YAML files' preloads failed: %r", error)
