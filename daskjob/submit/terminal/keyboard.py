"""The keys of the terminal, passed on to the script's own terminal while it runs.

As in ssh, the real terminal then neither echoes nor edits, and makes no signals: the script's
terminal does, so that `input()`, `getpass`, a debugger and an editor in it work. Only Ctrl-C and
Ctrl-Z are looked at, and only where the script's terminal would make signals of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
from collections.abc import Callable
from typing import Any, Protocol

from daskjob.submit.terminal.outlet import is_in_foreground

INTERRUPT, SUSPEND = b"\x03", b"\x1a"
_INPUT, _LOCAL, _KEYS = 0, 3, 6


class Script(Protocol):
    """What takes the keys."""

    @property
    def is_open(self) -> bool:
        """Whether a script runs."""

    @property
    def handles_signal_keys(self) -> bool:
        """Whether its terminal makes signals of keys."""

    def press(self, keys: bytes) -> None:
        """Take keys."""


class Keyboard:
    """Standard input, if it is a terminal."""

    def __init__(
        self,
        script: Script,
        *,
        on_interrupt: Callable[[], None],
        on_suspend: Callable[[], None],
        on_closed: Callable[[], None],
        on_modes: Callable[[list[Any] | None], None],
    ) -> None:
        """``on_modes`` gets the modes to restore should this process die, or ``None``."""
        self._script = script
        self._on_interrupt = on_interrupt
        self._on_suspend = on_suspend
        self._on_closed = on_closed
        self._on_modes = on_modes
        self._saved: list[Any] | None = None
        self._closed = False

    def follow(self) -> None:
        """Read keys while a script runs and this process is in the foreground, else do not."""
        wanted = self._script.is_open and not self._closed and is_in_foreground(0)
        if wanted and self._saved is None:
            self._begin()
        elif not wanted and self._saved is not None:
            self.release()

    def _begin(self) -> None:
        try:
            saved = termios.tcgetattr(0)
            raw = termios.tcgetattr(0)
            raw[_INPUT] &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON)
            raw[_LOCAL] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
            raw[_KEYS][termios.VMIN], raw[_KEYS][termios.VTIME] = 1, 0
            # Before the change: this process may be killed at any moment.
            self._on_modes(saved)
            termios.tcsetattr(0, termios.TCSADRAIN, raw)
        except (termios.error, OSError):
            return
        self._saved = saved
        asyncio.get_running_loop().add_reader(0, self._read)

    def release(self) -> None:
        """Give the terminal back as it was."""
        if self._saved is None:
            return
        saved, self._saved = self._saved, None
        asyncio.get_running_loop().remove_reader(0)
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(0, termios.TCSADRAIN, saved)
        self._on_modes(None)

    def _read(self) -> None:
        try:
            keys = os.read(0, 4096)
        except OSError:
            keys = b""
        if not keys:
            self._closed = True
            asyncio.get_running_loop().remove_reader(0)
            self._on_closed()
            return
        self._pass_on(keys)

    def _pass_on(self, keys: bytes) -> None:
        while keys:
            if self._script.is_open and not self._script.handles_signal_keys:
                self._script.press(keys)
                return
            at = min((keys.find(key) for key in (INTERRUPT, SUSPEND) if key in keys), default=-1)
            if at < 0:
                self._script.press(keys)
                return
            self._script.press(keys[:at])
            key, keys = keys[at : at + 1], keys[at + 1 :]
            # The script gets SIGINT when it is recorded that this was asked: it may end at once,
            # with any exit code.
            (self._on_suspend if key == SUSPEND else self._on_interrupt)()
