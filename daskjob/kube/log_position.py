"""How far a container's log was read, so that reading can be resumed exactly. No I/O.

The API server selects lines by time only in whole seconds, and containers write several lines in
one nanosecond. So a resumed log starts with lines that were read before. They are recognized as
what they are: the end of what was read, in the same order. Comparing times alone would lose or
repeat lines of equal times, and counting lines would lose new ones after a rotation of the log.

The kubelet stamps each line when it was written. Lines of the two streams of a container may be
out of order by a moment; ``MARGIN_SECONDS`` covers that.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

#: How much earlier than the last line a resumed log starts.
MARGIN_SECONDS = 1
#: The longest line that container runtimes do not split.
LONGEST_WHOLE = 16 * 1024
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d) ")


@dataclass(frozen=True, slots=True)
class StampedLine:
    """A line of a log and the whole second of its time; ``text`` ends with its newline."""

    second: int
    text: bytes
    #: Identifies the line with its exact time.
    key: int


class LogPosition:
    """The position in one container's log; ``feed`` returns every line once.

    ``stamps``: with its time, see ``time_of``.
    """

    def __init__(self, tail: int | None = None, *, stamps: bool = False) -> None:
        self._stamps = stamps
        #: The lines that may be sent again, and how late the last one is.
        self._recent: deque[tuple[int, int]] = deque()
        self._latest = 0
        #: After a request for the last lines only: the second of the first one. Earlier lines of
        #: the same second may be sent later; they were not asked for.
        self._tail = tail
        self._tail_second: int | None = None
        self._rest = b""
        self._last = b""
        self._search: _Search | None = None

    @property
    def begun(self) -> bool:
        """Whether any line was read."""
        return self._latest > 0

    @property
    def rest(self) -> bytes:
        """The end of the response after its last newline."""
        return self._rest

    def ends_with(self, last: bytes) -> bool:
        """Return whether this is the last line that was sent, as a request for that one has it."""
        mine = self._rest or self._last
        if len(mine) <= LONGEST_WHOLE:
            return mine == last
        # Of a line that the container runtime has split, only the last part is sent.
        found = _STAMP.match(last)
        return found is not None and mine.endswith(last[found.end() :])

    @property
    def since(self) -> str:
        """The time from which to resume, in the precision of the API; empty: from the start."""
        if not self.begun:
            return ""
        return datetime.fromtimestamp(self._oldest, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def _oldest(self) -> int:
        return self._latest - MARGIN_SECONDS

    def resume(self) -> None:
        """Expect a new response, whose first lines may have been read before."""
        self._rest = b""
        keys = [key for _, key in self._recent]
        may_start_earlier = self._tail_second is not None and self._tail_second >= self._oldest
        self._search = _Search(keys, may_start_earlier, self._latest) if keys else None

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the new lines that are complete with this chunk of the response."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return self._new(line + b"\n" for line in lines)

    def end(self) -> list[bytes]:
        """Return the last line, which has no newline, at the end of a complete response."""
        rest, self._rest = self._rest, b""
        return self._new([rest] if rest else [])

    def _new(self, sent: Iterable[bytes]) -> list[bytes]:
        new: list[bytes] = []
        for data in sent:
            for fresh in self._fresh(data):
                # What has no time is no line of the container, but an error of the kubelet.
                if (line := stamped(fresh)) is not None:
                    self._record(line)
                    self._last = fresh
                    new.append(fresh if self._stamps else line.text)
        return new

    def _fresh(self, data: bytes) -> Sequence[bytes]:
        if self._search is None:
            return (data,)
        fresh = self._search.take(data)
        if self._search.over:
            self._search = None
        return fresh

    def _record(self, line: StampedLine) -> None:
        if self._tail is not None and not self.begun:
            self._tail_second = line.second
        if line.second > self._latest:
            self._latest = line.second
            # Also in the middle: a line that is out of order is not sent again either.
            self._recent = deque(known for known in self._recent if known[0] >= self._oldest)
        if line.second >= self._oldest:
            self._recent.append((line.second, line.key))


class _Search:
    """Finds out which lines at the start of a response are known: a run that ends the known ones.

    Usually all known lines come first. After a rotation of the log, only the last of them do, or
    none. If the response may start earlier than the known lines, those before are not wanted.
    """

    def __init__(self, keys: list[int], may_start_earlier: bool, latest: int) -> None:
        self._keys = keys
        self._earlier = may_start_earlier
        self._latest = latest
        #: The index in the known lines at which the response starts.
        self._start = 0
        #: The lines of the response so far, each known from ``_start`` on.
        self._held: list[bytes] = []
        self.over = False

    def take(self, data: bytes) -> Sequence[bytes]:
        """Return the lines that are certainly new, up to this one."""
        place = self._start + len(self._held)
        if self._keys[place] == hash(data):
            self._held.append(data)
            self.over = place + 1 == len(self._keys)
            return ()
        line = stamped(data)
        if line is None:
            return ()
        self._held.append(data)
        return self._later_start(line) if self._earlier else self._shorter()

    def _later_start(self, last: StampedLine) -> Sequence[bytes]:
        """Drop lines before the first known one; give up at the first that is certainly later."""
        if last.second > self._latest:
            self.over = True
            return (self._held[-1],)
        while self._held:
            del self._held[0]
            held = [hash(data) for data in self._held]
            if self._keys[: len(held)] == held:
                break
        return ()

    def _shorter(self) -> Sequence[bytes]:
        """Assume that fewer of the known lines are still there, at worst none."""
        held = [hash(data) for data in self._held]
        for start in range(self._start + 1, len(self._keys) + 1):
            known = self._keys[start : start + len(held)]
            if known != held[: len(known)]:
                continue
            self._start = start
            if start + len(held) >= len(self._keys):
                self.over = True
                return self._held[len(known) :]
            return ()
        raise AssertionError("no known line at all is always possible")


def stamped(data: bytes) -> StampedLine | None:
    """Return a line without its time; ``None`` if it has none."""
    found = _STAMP.match(data)
    if found is None:
        return None
    second = _second(found[1], found[3])
    return None if second is None else StampedLine(second, data[found.end() :], hash(data))


def time_of(line: bytes) -> tuple[int, bytes]:
    """Return the time at the start of a line, as a second and the digits of its fraction."""
    found = _STAMP.match(line)
    second = _second(found[1], found[3]) if found else None
    return (second or 0, (found[2] or b"") if found else b"")


# Cached: a log has many lines of one second.
@lru_cache(maxsize=64)
def _second(moment: bytes, zone: bytes) -> int | None:
    try:
        parsed = datetime.fromisoformat((moment + zone.replace(b"Z", b"+00:00")).decode())
    except ValueError:
        return None
    return int(parsed.timestamp())
