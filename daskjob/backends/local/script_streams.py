"""The standard streams of a script: a pseudo-terminal where ours are terminals, else pipes.

Each stream by itself, as ``python script.py`` would have it: with ``2>/dev/null`` standard output
is still a terminal, and with ``| cat`` standard error is. What is a terminal is one and the same,
so that its output has one order; it does not translate newlines, which the real one will do.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import sys
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from daskjob.backends.local.processes import Streams

#: The most that is read of a stream at a time.
READ_BYTES = 64 * 1024
#: The capacity of a pipe, where the system can change it: a script that prints a lot waits less.
PIPE_BYTES = 1024 * 1024


class Stream(StrEnum):
    """Where output comes from."""

    OUT = "out"
    ERR = "err"
    TERMINAL = "terminal"


@dataclass(frozen=True, slots=True)
class Shape:
    """Which standard streams of a script are a terminal."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    #: Standard output and error are one file, not a terminal: with one pipe, their order is exact.
    joined: bool = False
    #: Standard input is a terminal whose keys another program reads too: the script has it itself.
    shares_stdin: bool = False

    @property
    def any(self) -> bool:
        """Whether there is a terminal at all."""
        return self.stdin or self.stdout or self.stderr


class ScriptStreams:
    """The streams of one attempt: the ends for its process, and ours."""

    def __init__(self, shape: Shape, *, inherits_stdin: bool) -> None:
        """Raise OSError if the machine has no pipe or terminal left."""
        self._for_process: list[int] = []
        #: Our ends: those that can be read, and the terminal's, which also takes keys.
        self.readers: dict[int, Stream] = {}
        self.master: int | None = None
        slave = self._open_terminal() if shape.any else -1
        stdout = slave if shape.stdout else self._pipe(Stream.OUT)
        joined = stdout if shape.joined else -1
        self.streams = Streams(
            stdin=slave if shape.stdin else self._input(inherits_stdin or shape.shares_stdin),
            stdout=stdout,
            stderr=slave if shape.stderr else joined if shape.joined else self._pipe(Stream.ERR),
            controls_terminal=shape.stdin,
        )

    def _open_terminal(self) -> int:
        self.master, slave = os.openpty()
        self._for_process.append(slave)
        self._read_from(self.master, Stream.TERMINAL)
        attributes = termios.tcgetattr(slave)
        attributes[1] &= ~termios.OPOST
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        return slave

    def _input(self, inherits: bool) -> int:
        if inherits:
            with contextlib.suppress(OSError):
                os.fstat(0)
                return 0
        null = os.open(os.devnull, os.O_RDONLY)
        self._for_process.append(null)
        return null

    def _pipe(self, stream: Stream) -> int:
        ours, theirs = os.pipe()
        self._for_process.append(theirs)
        self._read_from(ours, stream)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return theirs

    def _read_from(self, descriptor: int, stream: Stream) -> None:
        os.set_blocking(descriptor, False)
        self.readers[descriptor] = stream

    def close_for_process(self) -> None:
        """Close the ends that the process has: only then does their end show."""
        for descriptor in self._for_process:
            os.close(descriptor)
        self._for_process.clear()

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the terminal; the kernel signals SIGWINCH to its foreground group."""
        if self.master is not None:
            size = struct.pack("HHHH", rows, columns, 0, 0)
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def handles_signal_keys(self) -> bool:
        """Return whether Ctrl-C at the terminal is a signal, not a key as in an editor."""
        if self.master is None:
            return False
        try:
            return bool(termios.tcgetattr(self.master)[3] & termios.ISIG)
        except termios.error:
            return True

    def read(self, descriptor: int) -> tuple[bytes, bool]:
        """Return what a descriptor has now, and whether its end was reached."""
        pieces: list[bytes] = []
        size = 0
        while size < READ_BYTES:
            try:
                piece = os.read(descriptor, READ_BYTES)
            except BlockingIOError:
                return b"".join(pieces), False
            except OSError:
                piece = b""  # EIO: no process has the terminal open any more
            if not piece:
                return b"".join(pieces), True
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces), False

    def rest(self) -> Iterator[tuple[Stream, bytes]]:
        """Yield what a process that has ended left to be read."""
        for descriptor, stream in self.readers.items():
            ended = False
            while not ended:
                data, ended = self.read(descriptor)
                if not data:
                    break
                yield stream, data

    def close(self) -> None:
        """Close everything."""
        self.close_for_process()
        for descriptor in self.readers:
            os.close(descriptor)
        self.readers.clear()
        self.master = None
