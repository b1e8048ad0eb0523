"""A trigger that measures the event loop of the triggerer that runs it."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
import time
from asyncio import events
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

#: Between two looks at whether it shall end.
PAUSE_SECONDS = 0.2


@dataclass
class Collected:
    """What the garbage collector takes in one thread, in whichever callback it runs.

    It looks at all objects of Airflow, for 0.2 s of CPU; no trigger can prevent that.
    """

    thread: int
    seconds: float = 0.0
    longest: float = 0.0
    _began: float = 0.0

    def note(self, phase: str, _: dict[str, int]) -> None:
        """Record the beginning or the end of a collection."""
        if threading.get_ident() != self.thread:
            return
        if phase == "start":
            self._began = time.thread_time()
            return
        spent = time.thread_time() - self._began
        self.seconds += spent
        self.longest = max(self.longest, spent)


@dataclass
class Measured:
    """What the callbacks of a loop took, without collections of garbage."""

    collected: Collected
    count: int = 0
    #: The longest ones: CPU seconds of the loop's thread, and what ran.
    longest: list[tuple[float, str]] = field(default_factory=list)

    def add(self, seconds: float, callback: object) -> None:
        """Record a callback."""
        self.count += 1
        if len(self.longest) < 5 or seconds > self.longest[-1][0]:
            what = getattr(callback, "__self__", callback)
            self.longest.append((seconds, repr(what)[:300]))
            self.longest.sort(key=lambda pair: -pair[0])
            del self.longest[5:]


@contextmanager
def measured() -> Iterator[Measured]:
    """Measure every callback of the loop's thread, by its clock: machines are shared."""
    collected, run = Collected(threading.get_ident()), events.Handle._run
    found = Measured(collected)

    def timed(handle: Any) -> None:
        before, collected_before = time.thread_time(), collected.seconds
        try:
            run(handle)
        finally:
            spent = time.thread_time() - before - (collected.seconds - collected_before)
            found.add(spent, handle._callback)

    events.Handle._run = timed  # type: ignore[assignment, method-assign]
    gc.callbacks.append(collected.note)
    try:
        yield found
    finally:
        gc.callbacks.remove(collected.note)
        events.Handle._run = run  # type: ignore[method-assign]


class GaugeTrigger(BaseTrigger):
    """Measures until a file ``stop`` is in a folder; writes ``gauge.json`` there."""

    def __init__(self, folder: str = "") -> None:
        super().__init__()
        self.folder = folder

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class, and its argument."""
        return f"{__name__}.GaugeTrigger", {"folder": self.folder}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Measure; the event is for no one."""
        folder = Path(self.folder)
        with measured() as found:
            # The first callback is the rest of this trigger's own start.
            await asyncio.sleep(0)
            found.longest.clear()
            folder.joinpath("started").touch()
            while not folder.joinpath("stop").exists():
                await asyncio.sleep(PAUSE_SECONDS)
        report = {
            "count": found.count,
            "longest": found.longest,
            "longest_collection": found.collected.longest,
            "peak_mib": _peak_mib(),
        }
        draft = folder / "gauge.draft"
        draft.write_text(json.dumps(report))
        draft.rename(folder / "gauge.json")
        yield TriggerEvent({"status": "measured"})


def _peak_mib() -> float:
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
