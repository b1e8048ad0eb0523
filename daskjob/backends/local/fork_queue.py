"""Starts that the fork parent (`fork_parent.py`) is asked for, and its answers."""

from __future__ import annotations

import _socket
import json
import os
import sys

from daskjob.backends.local.child_start import NotStarted, opened_log
from daskjob.backends.local.process_table import MARKER
from daskjob.backends.local.start_request import StartRequest


class Forking:
    """A start that the fork parent has not answered."""

    __slots__ = ("command", "log_error", "stop")

    def __init__(self, command: StartRequest, log_error: str | None) -> None:
        self.command = command
        self.log_error = log_error
        #: Grace and first signal of a stop that came meanwhile.
        self.stop: tuple[float, int] | None = None


class ForkQueue:
    """The supervisor's side of the fork parent."""

    def __init__(self) -> None:
        #: The starts without an answer, by id.
        self.pending: dict[str, Forking] = {}
        self._socket: _socket.socket | None = None
        self._received = bytearray()

    def open(self) -> tuple[int, int]:
        """Make a new socket; return both ends: the one to listen to, the fork parent's."""
        ours, theirs = _socket.socketpair()
        ours.setblocking(False)
        self._socket = ours
        return ours.fileno(), theirs.detach()

    def ask(self, command: StartRequest) -> bool:
        """Ask for a process; return whether there will be an answer."""
        if self._socket is None:
            return False
        opened: list[int] = []
        try:
            opened.append(_request_file(command))
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            log, log_error = opened_log(command.log)
            opened.append(log)
            rights = b"".join(n.to_bytes(4, sys.byteorder) for n in (*opened, log))
            self._socket.sendmsg([b"."], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        except (OSError, NotStarted):
            return False  # executing the program reports what is wrong
        finally:
            for number in opened:
                os.close(number)
        self.pending[command.id] = Forking(command, log_error)
        return True

    def answers(self) -> list[tuple[Forking, int]] | None:
        """Return what was answered, with pids, 0 for none; ``None``: the fork parent has ended."""
        if self._socket is None:
            return []
        try:
            data = self._socket.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        self._received += data
        found = []
        while (end := self._received.find(b"\n")) >= 0:
            line = bytes(self._received[:end])
            del self._received[: end + 1]
            name, pid = line.decode("utf-8", "surrogateescape").rsplit(" ", 1)
            found.append((self.pending.pop(name), int(pid)))
        return found

    def close(self) -> tuple[int | None, list[Forking]]:
        """Forget the fork parent; return its descriptor, if any, and what it did not answer."""
        if self._socket is None:
            return None, []
        number = self._socket.fileno()
        self._socket.close()
        self._socket = None
        self._received.clear()
        unanswered, self.pending = list(self.pending.values()), {}
        return number, unanswered


def _request_file(command: StartRequest) -> int:
    """Return the descriptor of a file in memory with a request to the fork parent."""
    request = {
        "id": command.id,
        "cwd": command.cwd.decode("utf-8", "surrogateescape"),
        "env": {
            name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
            for name, value in command.env.items()
        },
        "marker": MARKER,
        "fork": command.fork,
    }
    file = os.memfd_create("request", os.MFD_CLOEXEC)
    try:
        left = memoryview(json.dumps(request).encode())
        while left:
            left = left[os.write(file, left) :]
    except OSError:
        os.close(file)
        raise
    return file
