"""Which objects are due for a pass: each in line once, taken by one pass at a time.

No I/O and no tasks here, and the clock is a parameter. What changes while a pass is made is due
again after it. A pass that fails is due again after a wait that grows, with jitter and a cap; what
changes meanwhile shortens that wait, but never to less than a second. All that is due later stands
in one heap, each key once: what a newer pass says replaces what an older one said. Of a key with
nothing to come, nothing is remembered.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from daskjob.controller.clock import Clock

K = TypeVar("K", bound=Hashable)

#: No object is tried more often than once a second after it failed.
FIRST_WAIT_SECONDS = 1.0
#: Where trying again may help, the API server is most likely away, for minutes: all goes on within
#: 15 s of its return, jitter included.
PATIENT_WAIT_SECONDS = 10.0
#: What still fails after a quarter of an hour has another trouble, and is tried ever more rarely.
PATIENT_TRIES = 90
#: Six tries an hour at last.
LONGEST_WAIT_SECONDS = 600.0
#: Somebody who mends an object that fails need not wait longer than this.
CHANGED_WAIT_SECONDS = 30.0
#: An object that wants another look at once, again and again, gets one a second at last.
RESTLESS_WAIT_SECONDS = 0.05

#: Tries of all failing objects together. A try that succeeds does not count, so that after an
#: outage everything goes on as fast as it can.
RETRIES_PER_SECOND = 10.0
RETRIES_AT_ONCE = 20.0

#: Timers that were replaced stay in the heap until there are so many of them, and more than of
#: the others.
STALE_TIMERS = 64


def wait_after(failures: int, *, retryable: bool) -> float:
    """Return for how many seconds a key rests after so many failures in a row, without jitter."""
    if retryable and failures <= PATIENT_TRIES:
        return min(_doubled(FIRST_WAIT_SECONDS, failures - 1), PATIENT_WAIT_SECONDS)
    if retryable:
        return min(_doubled(PATIENT_WAIT_SECONDS, failures - PATIENT_TRIES), LONGEST_WAIT_SECONDS)
    return min(_doubled(FIRST_WAIT_SECONDS, failures - 1), LONGEST_WAIT_SECONDS)


def _doubled(seconds: float, times: int) -> float:
    return seconds * 2.0 ** min(times, 20)


def _jitter() -> float:
    return random.uniform(1.0, 1.25)


@dataclass(slots=True)
class _Entry:
    """What there is to remember of a key."""

    #: Since when it is in line; ``None``: it is not.
    since: float | None = None
    #: Whether a pass is being made.
    taken: bool = False
    #: It changed since that pass began, and is due within so many seconds; ``None``: it did not.
    changed: float | None = None
    #: When it is due by itself, and the number of that timer; 0: there is none.
    due: float = 0.0
    timer: int = 0
    #: Failures in a row, when the last one was, and before when no change makes it due.
    failures: int = 0
    failed_at: float = 0.0
    not_before: float = 0.0
    #: Passes in a row that asked for another one at once.
    restless: int = 0


class WorkQueue(Generic[K]):
    """Keys that are due, keys that are being looked at, and keys that are due later."""

    def __init__(self, clock: Clock, jitter: Callable[[], float] = _jitter) -> None:
        self._clock = clock
        self._jitter = jitter
        self._entries: dict[K, _Entry] = {}
        self._line: deque[K] = deque()
        #: Due as well, but failed before: taken as the budget for such tries allows.
        self._retries: deque[K] = deque()
        self._budget = RETRIES_AT_ONCE
        self._budget_at = clock()
        self._timers: list[tuple[float, int, K]] = []
        self._numbers = itertools.count(1)
        self._stale = 0
        self._moved_at = clock()

    def __len__(self) -> int:
        """Return how many keys something is remembered of."""
        return len(self._entries)

    # What happens.

    def add(self, key: K, within: float = 0.0) -> bool:
        """Take note that something of a key has changed; it is due within so many seconds.

        What changes in the meantime is seen by the same pass. Return whether it is due sooner now
        than it was: where it is not, who waits for what is due need not look again.
        """
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry()
        if entry.taken:
            entry.changed = within if entry.changed is None else min(entry.changed, within)
        elif entry.since is None:
            return self._changed(key, entry, within)
        return False

    def take(self) -> K | None:
        """Return the next key that is due, for a pass; ``None``: there is none now."""
        now = self._clock()
        self._line_up_due(now)
        if self._retries and self._may_retry(now):
            key = self._retries.popleft()
        elif self._line:
            key = self._line.popleft()
        else:
            return None
        entry = self._entries[key]
        entry.since, entry.taken, entry.changed = None, True, None
        self._moved_at = now
        return key

    def done(self, key: K, wake_in: float | None = None) -> None:
        """Take note that a pass was made; in so many seconds time alone calls for the next one."""
        entry = self._returned(key)
        if entry.failures:
            self._budget = min(self._budget + 1.0, RETRIES_AT_ONCE)
            entry.failures = 0
        at_once = wake_in is not None and wake_in <= 0
        entry.restless = entry.restless + 1 if at_once else 0
        waits = [] if entry.changed is None else [entry.changed]
        if entry.changed is not None and entry.changed <= 0:
            self._line_up(key, entry)
            return
        if wake_in is not None:
            waits.append(max(wake_in, _rest(entry.restless)))
        if waits:
            self._set_timer(key, entry, self._clock() + min(waits))
        else:
            self._forget(key)

    def failed(self, key: K, *, retryable: bool) -> float:
        """Take note that a pass failed; return in how many seconds the next one is made."""
        entry = self._returned(key)
        entry.failures += 1
        wait = wait_after(entry.failures, retryable=retryable) * self._jitter()
        now = entry.failed_at = self._clock()
        entry.not_before = now + min(wait, CHANGED_WAIT_SECONDS)
        due = now + wait if entry.changed is None else entry.not_before
        self._set_timer(key, entry, due)
        return due - now

    def put_back(self, key: K) -> None:
        """Record that a pass was cancelled; the key is due again at once."""
        self._line_up(key, self._returned(key))

    def hurry(self) -> None:
        """Let all that failed be tried again now, as fast as the budget for that allows."""
        for key, entry in self._entries.items():
            if entry.failures and not entry.taken and entry.since is None:
                self._set_timer(key, entry, entry.failed_at + FIRST_WAIT_SECONDS)

    # What there is.

    def seconds_until_due(self) -> float | None:
        """Return when there will be something to take; ``None``: not before something changes."""
        now = self._clock()
        self._line_up_due(now)
        if self._line:
            return 0.0
        moments = [self._timers[0][0] - now] if self._timers else []
        if self._retries:
            moments.append(self._seconds_until_retry(now))
        return min(moments, default=None)

    @property
    def depth(self) -> int:
        """How many keys are due and wait for a pass."""
        return len(self._line) + len(self._retries)

    @property
    def timers(self) -> int:
        """How many keys are due later."""
        return len(self._timers) - self._stale

    @property
    def failing(self) -> int:
        """How many keys failed when they were last looked at."""
        return sum(1 for entry in self._entries.values() if entry.failures)

    @property
    def oldest_seconds(self) -> float:
        """For how long the key that waits longest has been due."""
        firsts = [line[0] for line in (self._line, self._retries) if line]
        since = [self._entries[key].since for key in firsts]
        now = self._clock()
        return now - min((moment for moment in since if moment is not None), default=now)

    @property
    def stuck_seconds(self) -> float:
        """For how long nothing was taken or finished although something is due."""
        return min(self.oldest_seconds, self._clock() - self._moved_at)

    # How it is done.

    def _forget(self, key: K) -> None:
        del self._entries[key]
        if not self._entries:
            # A dictionary that was large stays large, however empty, until it is cleared.
            self._entries.clear()
            self._timers.clear()
            self._stale = 0

    def _returned(self, key: K) -> _Entry:
        entry = self._entries[key]
        entry.taken = False
        self._moved_at = self._clock()
        return entry

    def _changed(self, key: K, entry: _Entry, within: float) -> bool:
        now = self._clock()
        due = now + max(within, 0.0)
        if entry.failures:
            due = max(due, entry.not_before)
        if due <= now:
            self._line_up(key, entry)
        elif not entry.timer or due < entry.due:
            self._set_timer(key, entry, due)
        else:
            return False
        return True

    def _line_up(self, key: K, entry: _Entry) -> None:
        self._cancel_timer(entry)
        entry.since = self._clock()
        (self._retries if entry.failures else self._line).append(key)

    def _may_retry(self, now: float) -> bool:
        if self._seconds_until_retry(now) > 0:
            return False
        self._budget -= 1.0
        return True

    def _seconds_until_retry(self, now: float) -> float:
        earned = (now - self._budget_at) * RETRIES_PER_SECOND
        self._budget = min(self._budget + earned, RETRIES_AT_ONCE)
        self._budget_at = now
        # Rounded, so that a wait of just this long is never too short by a bit of a float.
        return max(round((1.0 - self._budget) / RETRIES_PER_SECOND, 6), 0.0)

    def _set_timer(self, key: K, entry: _Entry, due: float) -> None:
        self._cancel_timer(entry)
        entry.due, entry.timer = due, next(self._numbers)
        heapq.heappush(self._timers, (due, entry.timer, key))

    def _cancel_timer(self, entry: _Entry) -> None:
        if not entry.timer:
            return
        entry.timer = 0
        self._stale += 1
        if self._stale > STALE_TIMERS and self._stale * 2 > len(self._timers):
            self._timers = [timer for timer in self._timers if not self._is_stale(timer)]
            heapq.heapify(self._timers)
            self._stale = 0

    def _is_stale(self, timer: tuple[float, int, K]) -> bool:
        entry = self._entries.get(timer[2])
        return entry is None or entry.timer != timer[1]

    def _line_up_due(self, now: float) -> None:
        while self._timers:
            timer = self._timers[0]
            stale = self._is_stale(timer)
            if not stale and timer[0] > now:
                return
            heapq.heappop(self._timers)
            if stale:
                self._stale -= 1
                continue
            entry = self._entries[timer[2]]
            entry.timer = 0
            self._line_up(timer[2], entry)


def _rest(restless: int) -> float:
    """Return how long a key rests whose passes ask for another one at once: the first gets it."""
    if restless <= 1:
        return 0.0
    return min(_doubled(RESTLESS_WAIT_SECONDS, restless - 2), FIRST_WAIT_SECONDS)
