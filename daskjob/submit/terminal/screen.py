"""Where the output of a run goes: two streams, each to a terminal, a pipe or a file.

The script's output goes out unchanged, byte by byte, so that ``daskjob run script.py > file``
writes what ``python script.py > file`` would. Messages of daskjob go to standard error. What is a
terminal is one pane, which also has the live line.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from daskjob.submit.local_run import Shape, Stream
from daskjob.submit.terminal.live_line import Piece, paint, painted, wrapped
from daskjob.submit.terminal.outlet import (
    Outlet,
    are_one_file,
    are_one_terminal,
    is_in_foreground,
)
from daskjob.submit.terminal.pane import HELD_LINES, Pane

#: The width where a terminal reports 0 columns: it does not know.
UNKNOWN_COLUMNS = 80
#: What writing to a terminal that was closed yields.
_CLOSED = (errno.EIO, errno.ENXIO, errno.EBADF)


class Screen:
    """The standard streams of this process, for a run."""

    def __init__(self, *, out: int = 1, err: int = 2, live: bool = True) -> None:
        """``out`` is where the script's standard output goes; without ``live``, no live line."""
        dumb = os.environ.get("TERM") in (None, "", "dumb")
        self._err = Outlet(err, self._failed)
        self._out = self._err if are_one_file(out, err) else Outlet(out, self._failed)
        if self._out.is_terminal and self._err.is_terminal and are_one_terminal(out, err):
            self._out = self._err
        # As in `| less`: its keys are for the reader too, and the script gets the real terminal.
        self._shares_keys = is_terminal(0) and self._out.is_pipe and is_in_foreground(0)
        self._stdin_is_terminal = is_terminal(0) and not self._shares_keys
        terminal = self._terminal = self._found_terminal()
        # The reader of a pipe may write to the same terminal, where the line would be in its way.
        self.has_live_line = live and not dumb and self._err.is_terminal and not self._out.is_pipe
        self.colour = self._err.is_terminal and not dumb and not os.environ.get("NO_COLOR")
        self._pane = Pane(terminal, live=self.has_live_line) if terminal else None
        self._err_ends_line = True
        #: Messages that wait for the end of a line that the script has begun there.
        self._held: list[bytes] = []
        #: Called when the script may print again.
        self.on_room: Callable[[], None] = lambda: None
        #: Called once when output cannot be written any more.
        self.on_error: Callable[[], None] = lambda: None
        #: Why standard output, or standard error, cannot be written.
        self.error: OSError | None = None
        self.terminal_is_closed = False
        for outlet in {self._out, self._err}:
            if self._pane is None or outlet is not terminal:
                outlet.on_empty = self._has_room
        if self._pane is not None:
            self._pane.on_room = self._has_room

    def _found_terminal(self) -> Outlet | None:
        """Return where the terminal is written: for keys that echo, the one they come from."""
        for outlet in (self._err, self._out):
            if outlet.is_terminal:
                return outlet
        return Outlet(0, self._failed) if self._stdin_is_terminal else None

    @property
    def shape(self) -> Shape:
        """Which streams of the script are to be a terminal: those that ours are."""
        joined = self._out is self._err and self._out is not self._terminal
        return Shape(
            stdin=self._stdin_is_terminal,
            stdout=self._out is self._terminal,
            stderr=self._err is self._terminal,
            joined=joined,
            shares_stdin=self._shares_keys,
        )

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the terminal."""
        for descriptor in (self._err.descriptor, self._out.descriptor, 0):
            try:
                found = os.get_terminal_size(descriptor)
            except OSError:
                continue
            return found.lines, found.columns
        return 24, 80

    # The script's output

    def write(self, stream: Stream, data: bytes) -> None:
        """Write output of the script."""
        outlet = self._out if stream is Stream.OUT else self._err
        if self._pane is not None and (stream is Stream.TERMINAL or outlet is self._terminal):
            self._pane.write(data)
            return
        if outlet is not self._err:
            outlet.write(data)
            return
        if self._held and (end := data.rfind(b"\n") + 1):
            outlet.write(data[:end])
            self._release()
            data = data[end:]
        if data:
            self._err_ends_line = data.endswith(b"\n")
            outlet.write(data)

    def _release(self) -> None:
        """Write the messages that waited for the end of a line."""
        held, self._held = self._held, []
        for message in held:
            self._err.write(message + b"\n")

    @property
    def is_full(self) -> bool:
        """Whether the script has to wait for the reader of its output."""
        pane = self._pane is not None and self._pane.is_full
        return pane or self._out.is_full or self._err.is_full

    def _has_room(self) -> None:
        if not self.is_full:
            self.on_room()

    # Messages

    def say(self, line: str, style: str = "", *, urgent: bool = False, wrap: bool = False) -> None:
        """Write a line of daskjob; unless ``urgent``, after what a script draws in several rows.

        On a terminal, ``wrap`` breaks it between words: half an address cannot be clicked.
        """
        if wrap and self.has_live_line:
            line = "\n".join(wrapped(line, self.size[1] or UNKNOWN_COLUMNS))
        data = paint(line, style, colour=self.colour)
        if self._pane is not None and self._err.is_terminal:
            self._pane.write_line(data, urgent=urgent)
            return
        if not self._err_ends_line and not urgent and len(self._held) < HELD_LINES:
            self._held.append(data)
            return
        self._end_open_line()
        self._err.write(data + b"\n")

    def _end_open_line(self) -> None:
        """End the line that the script has left open where there is no terminal."""
        if not self._err_ends_line:
            self._err.write(b"\n")
            self._err_ends_line = True
        self._release()

    def end_line(self) -> None:
        """End a line that a script has left open on the terminal: it will not continue it."""
        if self._pane is not None:
            self._pane.end_line()
        if self._held:
            self._end_open_line()

    def show(self, line: Callable[[int], list[Piece]]) -> None:
        """Draw the live line; the function returns it for a width."""
        if self._pane is None or not self.has_live_line:
            return
        colour = self.colour
        # One column less: a full row would leave the cursor beyond its end.
        self._pane.show(lambda columns: painted(line(columns - 1), colour=colour))

    def hide(self) -> None:
        """Remove the live line."""
        if self._pane is not None:
            self._pane.hide()
        if self._held:
            self._end_open_line()

    # The end

    async def drained(self) -> None:
        """Wait until the reader has taken everything."""
        self.hide()
        for outlet in self._outlets():
            await outlet.drained()
        self.hide()
        for outlet in self._outlets():
            await outlet.drained()

    def close(self) -> None:
        """Give up what has not been written."""
        for outlet in self._outlets():
            outlet.close()

    def _outlets(self) -> list[Outlet]:
        return [self._err] if self._out is self._err else [self._out, self._err]

    def _failed(self, error: OSError) -> None:
        if self.error is not None or self.terminal_is_closed:
            return
        if error.errno in _CLOSED:
            self.terminal_is_closed = True
        else:
            self.error = error
        self.on_error()


def is_terminal(descriptor: int) -> bool:
    """Return whether a descriptor is a terminal; a closed one is not."""
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def screen_of(*, quiet: bool, log_to_stderr: bool) -> Screen:
    """Return the screen of this process."""
    sys.stdout.flush()
    sys.stderr.flush()
    return Screen(out=2 if log_to_stderr else 1, live=not quiet)
