"""A terminal that a script, daskjob and one live line share.

The script may leave its line open: a prompt, a progress bar, dots. Then the live line is drawn on
the next row and the cursor returned to where the script left it. It hides while that is not safe:
on another screen (an editor), after the script moved the cursor between rows (several bars), in
the middle of a character or an escape sequence, and in the background of a shell.

Everything is written in frames: the live line is removed, output written and the line drawn again
in one write, so that it does not flicker and no half of it can be seen.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

from daskjob.submit.terminal.open_line import OpenLine
from daskjob.submit.terminal.outlet import Outlet

#: The pause before a frame: short after silence, for prompts and echoes, else 50 frames a second.
FIRST_FRAME_SECONDS = 0.004
FRAME_SECONDS = 0.02
#: The number of lines of daskjob that wait meanwhile.
HELD_LINES = 200
#: Output that waits for a frame is written at once above this size.
QUEUE_BYTES = 256 * 1024

_SAVE, _RESTORE = b"\x1b7", b"\x1b8"


class Pane:
    """The terminal."""

    def __init__(self, outlet: Outlet, *, live: bool) -> None:
        self._outlet = outlet
        self._live = live
        self._open = OpenLine()
        self._has_ended = False
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
        return self._size.columns or 80

    @property
    def _size(self) -> os.terminal_size:
        try:
            return os.get_terminal_size(self._outlet.descriptor)
        except OSError:
            return os.terminal_size((80, 24))

    def _leaves_room(self) -> bool:
        return self._open.leaves_room(time.monotonic(), self.columns, self._size.lines)

    @property
    def is_full(self) -> bool:
        """Whether the script should wait."""
        return self._outlet.is_full or self._queued > QUEUE_BYTES

    @property
    def _draws(self) -> bool:
        """Whether escape sequences may be written: in the background, the screen is a shell's."""
        return self._live and self._outlet.is_in_foreground

    def write(self, data: bytes) -> None:
        """Take output of the script."""
        if self._held and not self._draws and (end := data.rfind(b"\n") + 1):
            self._take(data[:end])
            self._release()
            data = data[end:]
        self._take(data)

    def _take(self, data: bytes) -> None:
        self._has_ended = False
        self._open.feed(data, time.monotonic())
        self._put(data)

    def write_line(self, line: bytes, *, urgent: bool = False) -> None:
        """Take a line of daskjob: above an open line of the script, not into it.

        Unless ``urgent``, it waits while the script has several rows in use, such as bars.
        """
        if not urgent and len(self._held) < HELD_LINES and self._must_wait():
            self._held.append(line)
            return
        self._release()
        self._put(self._inserted(line))

    def _must_wait(self) -> bool:
        """Return whether a line of daskjob would spoil what the script draws now."""
        if self._draws:
            return self._open.is_split or self._open.is_busy(time.monotonic())
        return self._open.is_open and not self._has_ended

    def end_line(self) -> None:
        """End the script's line, if it is open, and what the script had in use."""
        self._has_ended = True
        if self._live and (ended := self._open.end()):
            self._put(ended)
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
        text, colours, before = self._open.text, self._open.modes.colours, b""
        if not self._draws:
            colours = b""
        if self._open.is_open:
            if self._draws and self._leaves_room():
                again = self._open.colours_before + text
                return _plain(b"\r\x1b[K" + message + b"\n", colours) + again
            before, self._open.text = b"\n", b""
        return _plain(before + message + b"\n", colours) + colours

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
        now, columns, draws = time.monotonic(), self.columns, self._draws
        if self._held and not self._must_wait():
            held, self._held = self._held, []
            self._queue += [self._inserted(line) for line in held]
        queue = b"".join(self._queue)
        self._queue, self._queued = [], 0
        line = b""
        if draws and self._line is not None and self._leaves_room():
            line = self._line(columns)
        if not queue and line == self._shown:
            return
        below = self._open.is_open
        # In the background the row of the line has become the shell's.
        erased = self._erased() if draws else b""
        frame = erased + queue + _drawn(line, below=below, wraps=self._open.modes.wraps)
        self._shown, self._below, self._drawn_at = line, below, now
        self._outlet.write(frame)
        self.on_room()

    def _erased(self) -> bytes:
        if not self._shown:
            return b""
        down = b"\x1b[B" if self._below else b""
        # Erased cells take the background that is set. The row first, by itself: tmux keeps a
        # screen that is erased from its first cell on, unless nothing is in it.
        return _SAVE + down + b"\r\x1b[0m\x1b[K\x1b[J" + _RESTORE

    def _emptied(self) -> None:
        if self._queue or self._line is not None:
            self._soon()
        self.on_room()


def _plain(message: bytes, colours: bytes) -> bytes:
    """Return a message without the colours that are on."""
    return b"\x1b[0m" + message if colours else message


def _drawn(line: bytes, *, below: bool, wraps: bool) -> bytes:
    """Return the bytes that draw a line and leave the cursor, and its colours, where they were."""
    if not line:
        return b""
    # Index and up: makes a row below at the end of the screen, and keeps the column.
    room = b"\x1bD\x1b[A" if below else b""
    down = b"\x1b[B" if below else b""
    # In a window that has just become narrower, or with wide letters, it is cut, not wrapped.
    cut, uncut = (b"\x1b[?7l", b"\x1b[?7h") if wraps else (b"", b"")
    drawn = b"\r\x1b[0m\x1b[K" + cut + line + uncut + b"\x1b[0m"
    return room + _SAVE + down + drawn + _RESTORE
