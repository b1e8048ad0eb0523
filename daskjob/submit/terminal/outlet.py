"""Writes bytes to a terminal, a pipe or a file, and never waits for a slow reader."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import stat
from collections.abc import Callable

#: The script waits while more than this has not been written yet.
FULL_BYTES = 1024 * 1024
#: The largest piece that a pipe or a terminal is given at a time.
PIECE_BYTES = 64 * 1024


class Outlet:
    """One file descriptor of this process, shared with others: its modes are left alone."""

    def __init__(self, descriptor: int, on_error: Callable[[OSError], None]) -> None:
        self.descriptor = descriptor
        self.is_terminal = os.isatty(descriptor)
        #: Why nothing more can be written.
        self.error: OSError | None = None
        #: Called when what was pending has been written.
        self.on_empty: Callable[[], None] = lambda: None
        self._on_error = on_error
        self._pending = bytearray()
        self._waiting = False
        self._own = self._reopened() if self.is_terminal else None
        self._can_wait = self.is_terminal or not _is_file(descriptor)

    def _reopened(self) -> int | None:
        """Return a descriptor of the terminal that does not block, whose modes are our own."""
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with contextlib.suppress(OSError):
            return os.open(os.ttyname(self.descriptor), flags)
        return None

    @property
    def is_pipe(self) -> bool:
        """Whether a reader takes what is written, which may write to the terminal itself."""
        return not self.is_terminal and self._can_wait

    @property
    def is_in_foreground(self) -> bool:
        """Whether this process's group has the terminal now; a shell gives it to one at a time."""
        return is_in_foreground(self.descriptor)

    @property
    def is_full(self) -> bool:
        """Whether the writer should wait."""
        return len(self._pending) > FULL_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether everything has been written."""
        return not self._pending

    def write(self, data: bytes) -> None:
        """Write now what the reader takes, and the rest as soon as it does."""
        if self.error is not None or not data:
            return
        self._pending += data
        if not self._waiting:
            self._flush()

    async def drained(self) -> None:
        """Wait until everything has been written."""
        while self._pending and self.error is None:
            await asyncio.sleep(0.01)

    def close(self) -> None:
        """Give up what is pending."""
        self._stop_waiting()
        self._pending.clear()
        if self._own is not None:
            os.close(self._own)
            self._own = None
            self.error = self.error or OSError("closed")

    def _flush(self) -> None:
        had = bool(self._pending)
        target = self.descriptor if self._own is None else self._own
        try:
            while self._pending:
                written = self._written(target)
                if not written:
                    self._wait(target)
                    return
                del self._pending[:written]
        except OSError as error:
            self._stop_waiting()
            self._pending.clear()
            self.error = error
            self._on_error(error)
            return
        self._stop_waiting()
        if had:
            self.on_empty()

    def _written(self, target: int) -> int:
        """Write a piece; return its size, 0 if the reader takes nothing now."""
        if self._own is not None:
            try:
                return os.write(target, self._pending[:PIECE_BYTES])
            except BlockingIOError:
                return 0
        if not self._can_wait:
            return os.write(target, self._pending)
        # A pipe that polls as writable takes this much without blocking.
        poll = select.poll()
        poll.register(target, select.POLLOUT)
        return os.write(target, self._pending[: select.PIPE_BUF]) if poll.poll(0) else 0

    def _wait(self, target: int) -> None:
        if not self._waiting:
            self._waiting = True
            asyncio.get_running_loop().add_writer(target, self._flush)

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting = False
            target = self.descriptor if self._own is None else self._own
            asyncio.get_running_loop().remove_writer(target)


def _is_file(descriptor: int) -> bool:
    """Return whether writing never waits for a reader: a file, or a device such as /dev/null."""
    mode = os.fstat(descriptor).st_mode
    return not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))


def are_one_file(first: int, second: int) -> bool:
    """Return whether two descriptors lead to the same file, as after ``2>&1``."""
    try:
        one, other = os.fstat(first), os.fstat(second)
    except OSError:
        return False
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def are_one_terminal(first: int, second: int) -> bool:
    """Return whether two descriptors are the same terminal, which has two names: ``/dev/tty``."""
    return are_one_file(first, second) or (_controls_us(first) and _controls_us(second))


def _controls_us(descriptor: int) -> bool:
    try:
        os.tcgetpgrp(descriptor)
    except OSError:
        return False
    return True


def is_in_foreground(descriptor: int) -> bool:
    """Return whether a terminal's keys and screen are for this process's group."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError as error:
        # A terminal that controls another session, or none, knows no foreground of ours.
        return error.errno == errno.ENOTTY
