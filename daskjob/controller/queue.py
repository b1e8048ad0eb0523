"""The queue of objects that are due for a pass: each is queued once, taken by one pass at a time.

No I/O and no tasks here, and the clock is a parameter. An object that changes during its pass is
due again after it. After a failed pass an object is due again with exponential backoff, jitter and
a cap; a change shortens that delay, but never to less than a second. Objects that are due later are
in one heap, each key once: a newer time replaces an older one. A key with nothing due is forgotten.
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

#: A failed object is retried at most once a second.
FIRST_WAIT_SECONDS = 1.0
#: The longest delay for retryable errors. The API server is most likely down, for minutes: all
#: objects are retried within 15 s of its return, jitter included.
PATIENT_WAIT_SECONDS = 10.0
#: Other errors, like a denied change, may be passing faults too: for the first minute they are
#: retried as often as retryable ones.
SOON_TRIES = 9
#: An object that still fails after this number of retries, a quarter of an hour, has another
#: problem: its delay grows further.
PATIENT_TRIES = 90
#: The longest delay: six retries an hour.
LONGEST_WAIT_SECONDS = 600.0
#: The longest delay after a failed object was changed, which may have repaired it.
CHANGED_WAIT_SECONDS = 30.0
#: The first delay of an object whose passes keep asking for another one at once; it doubles up to
#: a second.
RESTLESS_WAIT_SECONDS = 0.05

#: Rate limit and burst for retries of all failing objects together. Successful retries do not
#: count, so that all work resumes at full speed after an outage.
RETRIES_PER_SECOND = 10.0
RETRIES_AT_ONCE = 20.0

#: Replaced timers stay in the heap until there are this many of them, and more than valid ones.
STALE_TIMERS = 64


def wait_after(failures: int, *, retryable: bool) -> float:
    """Return the delay in seconds after this many consecutive failures, without jitter."""
    if retryable and failures <= PATIENT_TRIES:
        return min(_doubled(FIRST_WAIT_SECONDS, failures - 1), PATIENT_WAIT_SECONDS)
    if retryable:
        return min(_doubled(PATIENT_WAIT_SECONDS, failures - PATIENT_TRIES), LONGEST_WAIT_SECONDS)
    if failures <= SOON_TRIES:
        return min(_doubled(FIRST_WAIT_SECONDS, failures - 1), PATIENT_WAIT_SECONDS)
    return min(_doubled(CHANGED_WAIT_SECONDS, failures - SOON_TRIES), LONGEST_WAIT_SECONDS)


def _doubled(seconds: float, times: int) -> float:
    return seconds * 2.0 ** min(times, 20)


def _jitter() -> float:
    return random.uniform(1.0, 1.25)


@dataclass(slots=True)
class _Entry:
    """The state of a key."""

    #: When it was queued; ``None``: it is not.
    since: float | None = None
    #: Whether a pass over it is in progress.
    taken: bool = False
    #: It changed during that pass, and is due within this many seconds; ``None``: it did not.
    changed: float | None = None
    #: The time of its timer, and the timer's number; 0: there is none.
    due: float = 0.0
    timer: int = 0
    #: Consecutive failures, the time of the last one, and the earliest retry if it changes.
    failures: int = 0
    failed_at: float = 0.0
    not_before: float = 0.0
    #: Consecutive passes that asked for another one at once.
    restless: int = 0


class WorkQueue(Generic[K]):
    """Keys that are due now, keys with a pass in progress, and keys that are due later."""

    def __init__(self, clock: Clock, jitter: Callable[[], float] = _jitter) -> None:
        self._clock = clock
        self._jitter = jitter
        self._entries: dict[K, _Entry] = {}
        self._line: deque[K] = deque()
        #: Also due, but failed before: taken as the budget for retries allows.
        self._retries: deque[K] = deque()
        self._budget = RETRIES_AT_ONCE
        self._budget_at = clock()
        self._timers: list[tuple[float, int, K]] = []
        self._numbers = itertools.count(1)
        self._stale = 0
        self._moved_at = clock()

    def __len__(self) -> int:
        """Return the number of remembered keys."""
        return len(self._entries)

    # Events.

    def add(self, key: K, within: float = 0.0) -> bool:
        """Record a change of a key; it is due within this many seconds.

        One pass covers all changes until then. Return whether the key is now due sooner than
        before: if not, a task that waits for the next due key need not wake.
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
        """Take the next key that is due, for a pass; ``None``: none is due now."""
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
        """Record a successful pass; without a change, the next one is due in this many seconds."""
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

    def set_aside(self, key: K, at_most: float) -> None:
        """Record a pass that could not be made yet: due on a change, or after these seconds.

        It neither succeeded nor failed.
        """
        entry = self._returned(key)
        wait = at_most if entry.changed is None else min(entry.changed, at_most)
        if wait <= 0:
            self._line_up(key, entry)
        else:
            self._set_timer(key, entry, self._clock() + wait)

    def failed(self, key: K, *, retryable: bool) -> float:
        """Record a failed pass; return the seconds until the next one."""
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
        """Make all failed keys due now; the budget for retries still applies."""
        for key, entry in self._entries.items():
            if entry.failures and not entry.taken and entry.since is None:
                self._set_timer(key, entry, entry.failed_at + FIRST_WAIT_SECONDS)

    # State.

    def seconds_until_due(self) -> float | None:
        """Return the seconds until a key is due; ``None``: none is before a change."""
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
        """The number of keys that are due and wait for a pass."""
        return len(self._line) + len(self._retries)

    @property
    def timers(self) -> int:
        """The number of keys that are due later."""
        return len(self._timers) - self._stale

    @property
    def failing(self) -> int:
        """The number of keys whose last pass failed."""
        return sum(1 for entry in self._entries.values() if entry.failures)

    @property
    def oldest_seconds(self) -> float:
        """The longest time that any waiting key has been due, in seconds."""
        firsts = [line[0] for line in (self._line, self._retries) if line]
        since = [self._entries[key].since for key in firsts]
        now = self._clock()
        return now - min((moment for moment in since if moment is not None), default=now)

    @property
    def stuck_seconds(self) -> float:
        """The time without any progress although a key is due, in seconds."""
        return min(self.oldest_seconds, self._clock() - self._moved_at)

    # Internals.

    def _forget(self, key: K) -> None:
        del self._entries[key]
        if not self._entries:
            # Removing keys does not shrink a dictionary; clearing it does.
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
        # Rounded, so that a wait of this length is never too short by a float's rounding error.
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
    """Return the delay of a key whose passes keep asking for another one at once; at first none."""
    if restless <= 1:
        return 0.0
    return min(_doubled(RESTLESS_WAIT_SECONDS, restless - 2), FIRST_WAIT_SECONDS)
