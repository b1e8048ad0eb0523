"""The tasks that are not finished when a script has ended.

With a LocalCluster, Python waits at its exit up to 4 s for tasks that are running, and drops those
that wait for a worker, also tasks that ``fire_and_forget`` promises to run. Here running tasks get
the same time, and after a success the run waits for what ``fire_and_forget`` promised, while tasks
finish: one that never ends, which ends with a LocalCluster, ends here too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from daskjob.backends.agent_answers import NoAnswer
from daskjob.core.manifests import Manifest, integer, mapping

#: How long running tasks may take to finish: as long as a nanny waits for its worker (80 % of 5 s).
FINISH_SECONDS = 4.0
#: How long the scheduler may take to see that the script's clients are gone. Others may stay.
CLIENTS_SECONDS = 1.0
#: How long promised tasks are waited for while none finishes; longer if the script ran longer.
PATIENCE_SECONDS = 30.0
#: Requests without an answer after which a scheduler is given up: a busy one may miss some.
PATIENCE = 3
#: How soon the scheduler is asked again: at first, and after `FAST_SECONDS`.
LOOK_SECONDS = 0.02
SLOW_LOOK_SECONDS = 0.2
FAST_SECONDS = 0.5
#: A shorter wait is not reported.
UNREPORTED_SECONDS = 1.0


class Agent(Protocol):
    """The agent of a scheduler."""

    async def get(self, route: str) -> Manifest:
        """Return the answer to a GET request, or raise NoAnswer."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What a scheduler still has when the script has ended."""

    clients: int = 0
    #: Tasks that ``fire_and_forget`` promises to run.
    promised: int = 0
    #: Tasks that are done, or have erred.
    finished: int = 0
    processing: int = 0
    dropped: int = 0
    #: Tasks that no client wants any more, and that workers run to their end.
    abandoned: int = 0
    #: Workers whose last heartbeat is too old to show such tasks.
    stale: int = 0

    @property
    def may_run(self) -> bool:
        """Whether workers may be running a task."""
        if self.processing or self.abandoned:
            return True
        return bool(self.dropped and self.stale)


def unfinished_from(answer: Mapping[str, object]) -> Unfinished:
    """Return what the agent answered."""
    counts = {name: max(integer(answer.get(name)) or 0, 0) for name in Unfinished.__slots__}
    return Unfinished(**counts)


@dataclass(frozen=True, slots=True)
class Wait:
    """What a run waits for when its script has ended."""

    #: The promised tasks that are unfinished, once that is worth a message; 0: running tasks.
    promised: int = 0
    #: How long none of them may take, in seconds.
    patience: float = 0.0
    #: The promised tasks that are unfinished, from the beginning.
    pending: int = 0


@dataclass(frozen=True, slots=True)
class EndedScript:
    """A script that has ended by itself, and the run that waits for its tasks."""

    succeeded: bool
    #: How long the script ran.
    seconds: float
    #: Returns whether the run must end now: it was cancelled, or its deadline has passed.
    must_end: Callable[[], bool]
    #: Called while the run waits.
    waiting: Callable[[Wait], None]

    @property
    def patience(self) -> float:
        """How long promised tasks are waited for while none finishes, in seconds."""
        return max(PATIENCE_SECONDS, self.seconds)


@dataclass(frozen=True, slots=True)
class LastTasks:
    """What became of the last tasks of a script."""

    #: Promised tasks that were pending when the run had to end, or when the scheduler was lost.
    dropped: int = 0
    #: Promised tasks that were given up, since none of them finished in time.
    given_up: int = 0
    #: Tasks that no client wanted any more, and that their workers ran to the end.
    finished: int = 0


async def until_finished(agent: Agent, script: EndedScript) -> LastTasks:
    """Wait for the last tasks of a script; return what became of them."""
    began = moved_at = time.monotonic()
    silences = finished = most_abandoned = 0
    left = Unfinished()
    while True:
        try:
            left = unfinished_from(await agent.get("unfinished"))
        except NoAnswer:
            silences += 1
            early = time.monotonic() - began < FAST_SECONDS
            if silences == PATIENCE or early or script.must_end():
                break
            continue
        if script.must_end():
            break
        silences, now = 0, time.monotonic()
        most_abandoned = max(most_abandoned, left.abandoned)
        if left.finished != finished:
            finished, moved_at = left.finished, now
        waited = now - began
        if script.succeeded and left.promised and now - moved_at < script.patience:
            is_long = waited >= UNREPORTED_SECONDS
            script.waiting(Wait(left.promised if is_long else 0, script.patience, left.promised))
        elif left.clients and waited < CLIENTS_SECONDS:
            pass
        elif not left.may_run or waited > FINISH_SECONDS:
            return LastTasks(
                given_up=left.promised if script.succeeded else 0,
                finished=max(most_abandoned - left.abandoned, 0),
            )
        else:
            script.waiting(Wait())
        await asyncio.sleep(LOOK_SECONDS if waited < FAST_SECONDS else SLOW_LOOK_SECONDS)
    return LastTasks(dropped=left.promised if script.succeeded else 0)


def with_finished(report: Manifest, finished: int) -> Manifest:
    """Return a report that counts dropped tasks as done which workers ran to the end."""
    tasks = mapping(report.get("tasks"))
    count = min(finished, integer(tasks.get("dropped")) or 0)
    if count <= 0:
        return report
    changes = {"total": count, "done": count, "dropped": -count}
    changed = {name: (integer(tasks.get(name)) or 0) + by for name, by in changes.items()}
    return {**report, "tasks": {**tasks, **changed}}
