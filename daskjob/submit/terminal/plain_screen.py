"""Two streams without a live line: the output of a script, and messages, line by line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import BinaryIO, Protocol

from daskjob.submit.terminal.live_line import Piece


class Lines(Protocol):
    """What shows the messages of a run."""

    @property
    def has_live_line(self) -> bool:
        """Whether there is a live line."""

    def say(self, line: str, style: str = "", *, urgent: bool = False, wrap: bool = False) -> None:
        """Write a line of daskjob."""

    def show(self, line: Callable[[int], list[Piece]]) -> None:
        """Draw the live line."""

    def hide(self) -> None:
        """Remove the live line."""

    def end_line(self) -> None:
        """End a line that a script has left open."""


class PlainScreen:
    """Standard output for the script's log, standard error for messages."""

    has_live_line = False

    def __init__(self, *, log_to_stderr: bool = False) -> None:
        sys.stdout.flush()
        self._out: BinaryIO = (sys.stderr if log_to_stderr else sys.stdout).buffer
        self._is_shared = log_to_stderr or (sys.stdout.isatty() and sys.stderr.isatty())
        self._ends_line = True

    def write(self, data: bytes) -> None:
        """Write a piece of the log."""
        self._out.write(data)
        self._out.flush()
        if data:
            self._ends_line = data.endswith(b"\n")

    def say(self, line: str, style: str = "", *, urgent: bool = False, wrap: bool = False) -> None:
        """Write a line of daskjob."""
        del style, urgent, wrap
        self.end_line()
        print(line, file=sys.stderr, flush=True)

    def show(self, line: Callable[[int], list[Piece]]) -> None:
        """Draw nothing."""

    def hide(self) -> None:
        """Remove nothing."""

    def end_line(self) -> None:
        """End a line that the log has left open where messages go to the same place."""
        if self._is_shared and not self._ends_line:
            self.write(b"\n")

    def close(self) -> None:
        """Do nothing: nothing is pending."""
