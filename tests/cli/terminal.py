"""A command on a terminal: its screen as a person sees it, its bytes, its keys."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyte

from tests.cli.command import Daskjob
from tests.waiting import wait_until

ROWS = 30


class Terminal:
    """A command that leads a session on a terminal of its own."""

    def __init__(
        self,
        daskjob: Daskjob,
        *words: object,
        columns: int = 100,
        shell: str = "",
        program: tuple[str, ...] = (sys.executable, "-m", "daskjob"),
    ) -> None:
        """``shell`` is a command line for bash, instead of the words of daskjob."""
        self.screen = pyte.HistoryScreen(columns or 80, ROWS, history=5000)
        self._stream = pyte.ByteStream(self.screen)
        command = [*program, *map(str, words)]
        if shell:
            command = ["bash", "--norc", "-c", shell]
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            try:
                # The size must be there before the command asks for it.
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
                os.chdir(daskjob.work)
                os.execvpe(command[0], command, daskjob.environment)
            finally:
                os._exit(70)
        self.seen = b""

    def read(self) -> bool:
        """Read available output; return false once the terminal is closed."""
        ready, _, _ = select.select([self.descriptor], [], [], 0.05)
        if not ready:
            return True
        try:
            data = os.read(self.descriptor, 65536)
        except OSError:
            return False
        self.seen += data
        self._stream.feed(data)
        return bool(data)

    def read_for(self, seconds: float) -> None:
        """Read output for a time, to see that something is not in it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.read()

    def wait_for(self, text: bytes) -> None:
        """Wait for bytes."""
        wait_until(lambda: self.read() and text in self.seen, 30, lambda: repr(self.seen))

    def wait_for_row(self, text: str) -> str:
        """Wait for a row of the screen that holds a text; return the row."""
        found: list[str] = []

        def shown() -> bool:
            self.read()
            found[:] = [row for row in self.rows() if text in row]
            return bool(found)

        wait_until(shown, 30, lambda: "\n".join(self.rows()))
        return found[0]

    def rows(self) -> list[str]:
        """The rows of the screen that hold something."""
        return [row.rstrip() for row in self.screen.display if row.strip()]

    def all_rows(self) -> list[str]:
        """Also the rows that have left the screen."""
        past = [
            "".join(row[column].data for column in range(self.screen.columns)).rstrip()
            for row in self.screen.history.top
        ]
        return past + self.rows()

    def resize(self, columns: int) -> None:
        """Change the width of the window."""
        self.screen.resize(ROWS, columns)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self.descriptor, keys)

    def end(self, seconds: float = 30) -> int:
        """Read all output and return the exit code."""
        wait_until(lambda: not self.read(), seconds, lambda: repr(self.seen), pause=0)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


@contextmanager
def terminal(
    daskjob: Daskjob, *words: object, columns: int = 100, shell: str = ""
) -> Iterator[Terminal]:
    """A terminal that is closed at the end."""
    screen = Terminal(daskjob, *words, columns=columns, shell=shell)
    try:
        yield screen
    finally:
        os.close(screen.descriptor)
