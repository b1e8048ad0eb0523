"""A terminal that a script, daskjob and one live line share.

The script may leave its line open: a prompt, a progress bar, dots. Then the live line is drawn on
the next row and the cursor returned to where the script left it. It hides while that is not safe:
on another screen (an editor), after the script moved the cursor between rows (several bars), and
in the middle of a character or an escape sequence.

Everything is written in frames: the live line is removed, output written and the line drawn again
in one write, so that it does not flicker and no half of it can be seen.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable

from daskjob.submit.terminal.outlet import Outlet

#: The pause before a frame: short after silence, for prompts and echoes, else 50 frames a second.
FIRST_FRAME_SECONDS = 0.004
FRAME_SECONDS = 0.02
#: How long the line hides after the script moved the cursor between rows.
MOVED_SECONDS = 3.0
#: The number of lines of daskjob that wait meanwhile.
HELD_LINES = 200
#: The longest open line that is drawn around.
OPEN_BYTES = 4096
#: Output that waits for a frame is written at once above this size.
QUEUE_BYTES = 256 * 1024

#: Escape sequences that leave the cursor in its row: colours, erasing in the line, moves in it,
#: modes, the window's title.
_HARMLESS = re.compile(
    rb"\x1b\[[0-9;:]*[mKCDGPX@n]|\x1b\[[?>=][0-9;]*[hlmu]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
)
_ALTERNATE = re.compile(rb"\x1b\[\?(?:1049|1047|47)([hl])")
_COLUMN = re.compile(rb"\x1b\[[0-9;]*[CG]")
_MOVES = re.compile(rb"[\x1b\x0b\x0c]")
#: The beginning of an escape sequence at the end of output.
_CUT_ESCAPE = re.compile(rb"\x1b(?:\[[0-9;:?>=]*|\][^\x07\x1b]*\x1b?)?$")
_SAVE, _RESTORE = b"\x1b7", b"\x1b8"


class OpenLine:
    """What the script's last row holds, and whether something may be drawn beside it."""

    def __init__(self) -> None:
        #: What was written since the last newline.
        self.text = b""
        self.moved_at = -MOVED_SECONDS
        self._other_screen = False
        #: The beginning of an escape sequence whose rest has not come.
        self._cut = b""

    def feed(self, data: bytes, now: float) -> None:
        """Take output."""
        looked_at = self._cut + data
        cut = _CUT_ESCAPE.search(looked_at)
        self._cut = cut.group() if cut and len(cut.group()) < OPEN_BYTES else b""
        looked_at = looked_at[: len(looked_at) - len(self._cut)]
        for switch in _ALTERNATE.finditer(looked_at):
            self._other_screen = switch.group(1) == b"h"
        if _MOVES.search(_HARMLESS.sub(b"", looked_at)):
            self.moved_at = now
        _, newline, rest = data.rpartition(b"\n")
        tail = rest if newline else self.text + data
        # A bar that was written again and again is what came after the last return.
        if len(tail) > OPEN_BYTES and b"\r" in tail[:-1]:
            tail = tail[tail.rfind(b"\r", 0, -1) :]
        self.text = tail[-2 * OPEN_BYTES :]

    @property
    def is_open(self) -> bool:
        """Whether the row holds something."""
        return bool(_HARMLESS.sub(b"", self.text).strip(b"\r"))

    def is_busy(self, now: float) -> bool:
        """Return whether the script uses rows above or below, where a line would be in its way."""
        return self._other_screen or now - self.moved_at < MOVED_SECONDS

    def leaves_room(self, now: float, columns: int) -> bool:
        """Return whether the live line may be drawn below."""
        if self.is_busy(now):
            return False
        if _CUT_ESCAPE.search(self.text) or _ends_in_a_character(self.text):
            return False
        return len(self.text) <= OPEN_BYTES and self.fits(columns)

    def fits(self, columns: int) -> bool:
        """Return whether it takes one row, with the cursor before the row's end."""
        from rich.cells import cell_len

        if _COLUMN.search(self.text):
            return False
        plain = _HARMLESS.sub(b"", self.text).decode(errors="replace")
        return all(cell_len(part.expandtabs()) < columns for part in plain.split("\r"))


class Pane:
    """The terminal."""

    def __init__(self, outlet: Outlet, *, live: bool) -> None:
        self._outlet = outlet
        self._live = live
        self._open = OpenLine()
        self._queue: list[bytes] = []
        self._queued = 0
        #: Lines of daskjob that wait until the script is not busy in several rows.
        self._held: list[bytes] = []
        #: The line as it should be, for a width, and as it is on the screen.
        self._line: Callable[[int], bytes] | None = None
        self._shown = b""
        self._below = False
        self._timer: asyncio.TimerHandle | None = None
        self._drawn_at = 0.0
        outlet.on_empty = self._emptied
        #: Called when the script may write again.
        self.on_room: Callable[[], None] = lambda: None

    @property
    def columns(self) -> int:
        """The width of the terminal."""
        try:
            return os.get_terminal_size(self._outlet.descriptor).columns or 80
        except OSError:
            return 80

    @property
    def is_full(self) -> bool:
        """Whether the script should wait."""
        return self._outlet.is_full or self._queued > QUEUE_BYTES

    def write(self, data: bytes) -> None:
        """Take output of the script."""
        self._open.feed(data, time.monotonic())
        self._put(data)

    def write_line(self, line: bytes, *, urgent: bool = False) -> None:
        """Take a line of daskjob: above an open line of the script, not into it.

        Unless ``urgent``, it waits while the script has several rows in use, such as bars.
        """
        busy = self._live and self._open.is_busy(time.monotonic())
        if busy and not urgent and len(self._held) < HELD_LINES:
            self._held.append(line)
            return
        self._release()
        self._put(self._inserted(line))

    def end_line(self) -> None:
        """End the script's line, if it is open, and what the script had in use."""
        if self._open.is_open:
            self.write(b"\n")
        self._release()

    def _release(self) -> None:
        """Write the lines that waited."""
        held, self._held = self._held, []
        for line in held:
            self._put(self._inserted(line))

    def show(self, line: Callable[[int], bytes] | None) -> None:
        """Draw this as the live line, from the next frame on; ``None``: no line."""
        self._line = line if self._live else None
        self._soon()

    def hide(self) -> None:
        """Write everything and remove the line."""
        self._line = None
        self._release()
        self._frame()

    def _put(self, data: bytes) -> None:
        self._queue.append(data)
        self._queued += len(data)
        if not self._live or self._queued > QUEUE_BYTES:
            self._frame()
        else:
            self._soon()

    def _inserted(self, message: bytes) -> bytes:
        """Return the bytes that put a line above the script's open one."""
        text = self._open.text
        if not self._open.is_open:
            return message + b"\n"
        if self._open.leaves_room(time.monotonic(), self.columns):
            return b"\r\x1b[K" + message + b"\n" + text
        self._open.text = b""
        return b"\n" + message + b"\n"

    def _soon(self) -> None:
        if self._timer is not None:
            return
        since = time.monotonic() - self._drawn_at
        pause = FIRST_FRAME_SECONDS if since > FRAME_SECONDS else FRAME_SECONDS
        self._timer = asyncio.get_running_loop().call_later(pause, self._frame)

    def _frame(self) -> None:
        """Write one frame, unless the terminal has not taken the last one yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._outlet.is_empty and self._live:
            return
        now, columns = time.monotonic(), self.columns
        if self._held and not self._open.is_busy(now):
            held, self._held = self._held, []
            self._queue += [self._inserted(line) for line in held]
        queue = b"".join(self._queue)
        self._queue, self._queued = [], 0
        line = b""
        if self._line is not None and self._open.leaves_room(now, columns):
            line = self._line(columns)
        if not queue and line == self._shown:
            return
        below = self._open.is_open
        frame = self._erased() + queue + _drawn(line, below=below)
        self._shown, self._below, self._drawn_at = line, below, now
        self._outlet.write(frame)
        self.on_room()

    def _erased(self) -> bytes:
        if not self._shown:
            return b""
        down = b"\x1b[B" if self._below else b""
        return _SAVE + down + b"\r\x1b[J" + _RESTORE

    def _emptied(self) -> None:
        if self._queue or self._line is not None:
            self._soon()
        self.on_room()


def _drawn(line: bytes, *, below: bool) -> bytes:
    """Return the bytes that draw a line and leave the cursor, and its colours, where they were."""
    if not line:
        return b""
    # Index and up: makes a row below at the end of the screen, and keeps the column.
    room = b"\x1bD\x1b[A" if below else b""
    down = b"\x1b[B" if below else b""
    return room + _SAVE + down + b"\r\x1b[0m\x1b[K" + line + b"\x1b[0m" + _RESTORE


def _ends_in_a_character(text: bytes) -> bool:
    """Return whether the last character of UTF-8 is not complete."""
    for back in range(1, min(4, len(text)) + 1):
        byte = text[-back]
        if byte & 0xC0 != 0x80:
            size = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return size > back
    return False
