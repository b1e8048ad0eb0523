"""The screen with the live line for blocking callers: it has a thread with an event loop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import FrameType
from typing import Any, TypeVar

from daskjob.submit.local_run import Stream
from daskjob.submit.terminal.live_line import Piece
from daskjob.submit.terminal.outlet import is_in_foreground
from daskjob.submit.terminal.plain_screen import PlainScreen
from daskjob.submit.terminal.screen import Screen, is_terminal

T = TypeVar("T")

#: To the first column, and erase the row.
OVER = "\r\x1b[K"
#: How often to look whether a slow terminal has taken enough.
LOOK_SECONDS = 0.01
#: How long a terminal may take for the last lines.
DRAIN_SECONDS = 5.0


def screen_for(*, log_to_stderr: bool) -> PlainScreen | LiveScreen:
    """Return a screen with the live line where standard error is a terminal, else without."""
    if is_terminal(2):
        live = LiveScreen(log_to_stderr=log_to_stderr)
        if live.has_live_line:
            return live
        live.close()
    return PlainScreen(log_to_stderr=log_to_stderr)


class LiveScreen:
    """The standard streams of this process, with the live line. ``close`` it at the end."""

    def __init__(self, *, log_to_stderr: bool = False) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._screen = self._do(lambda: Screen(out=2 if log_to_stderr else 1))
        self._before: Any = None
        if self.has_live_line and signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
            self._before = signal.signal(signal.SIGTSTP, self._stopped)

    @property
    def has_live_line(self) -> bool:
        """Whether there is a live line."""
        return self._screen.has_live_line

    def write(self, data: bytes) -> None:
        """Write a piece of the log, and wait for a slow terminal.

        Raises
        ------
        OSError
            It cannot be written.
        """
        self._wait(self._written(data))

    async def _written(self, data: bytes) -> None:
        screen = self._screen
        screen.write(Stream.OUT, data)
        while screen.is_full and screen.error is None and not screen.terminal_is_closed:
            await asyncio.sleep(LOOK_SECONDS)
        if screen.error is not None:
            raise screen.error

    def say(self, line: str, style: str = "", *, urgent: bool = False, wrap: bool = False) -> None:
        """Write a line of daskjob, over the keys that the terminal has echoed, such as ^C."""
        start = OVER if is_in_foreground(2) else ""
        self._do(lambda: self._screen.say(start + line, style, urgent=urgent, wrap=wrap))

    def show(self, line: Callable[[int], list[Piece]]) -> None:
        """Draw the live line."""
        self._do(lambda: self._screen.show(line))

    def hide(self) -> None:
        """Remove the live line."""
        self._do(self._screen.hide)

    def end_line(self) -> None:
        """End a line that a script has left open."""
        self._do(self._screen.end_line)

    def close(self) -> None:
        """Remove the live line, write what is pending, and end the thread."""
        if self._before is not None:
            signal.signal(signal.SIGTSTP, self._before)
        self._wait(self._drained())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _drained(self) -> None:
        self._screen.end_line()
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._screen.drained()
        self._screen.close()

    def _stopped(self, number: int, frame: FrameType | None) -> None:
        """Remove the line before Ctrl-Z gives the terminal to the shell, until it is back."""
        del number, frame
        self.hide()
        os.kill(os.getpid(), signal.SIGSTOP)

    def _do(self, action: Callable[[], T]) -> T:
        async def done() -> T:
            return action()

        return self._wait(done())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
