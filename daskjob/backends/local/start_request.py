"""Requests to the supervisor, checked. It imports little, and so does this module."""

from __future__ import annotations

import os
import signal

from daskjob.backends.local.process_table import MARKER

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the import
if TYPE_CHECKING:
    from typing import Any

#: Default grace of a stop: Kubernetes' terminationGracePeriodSeconds.
GRACE_SECONDS = 30.0


class Malformed(Exception):
    """A request is malformed; the text says why."""


class StartRequest:
    """A validated start request. Text is bytes here, because the kernel takes bytes."""

    __slots__ = ("argv", "cwd", "env", "fork", "forks", "id", "inherits_stdin", "log", "streams")

    def __init__(self, request: dict[str, Any], run: str) -> None:
        self.id = identity(request)
        argv, env, stdin = request.get("argv"), request.get("env"), request.get("stdin", "null")
        if not isinstance(argv, list) or not argv:
            raise Malformed("argv must be a list of at least one string")
        if not isinstance(env, dict):
            raise Malformed("env must be an object of strings")
        if stdin not in ("null", "inherit"):
            raise Malformed(f'stdin must be "null" or "inherit", not {stdin!r}')
        self.argv = [encoded(word, "argv") for word in argv]
        if not self.argv[0]:
            raise Malformed("argv[0], the program, is empty")
        self.env = {encoded(name, "env"): encoded(value, "env") for name, value in env.items()}
        wrong = next((name for name in self.env if not name or b"=" in name), None)
        if wrong is not None:
            raise Malformed(f"{shown(wrong)!r} cannot be the name of a variable")
        self.env[MARKER.encode()] = encoded(f"{run}/{self.id}", "id")
        self.cwd = encoded(request.get("cwd"), "cwd")
        self.log = encoded(request.get("log"), "log")
        self.inherits_stdin = stdin == "inherit"
        #: None: the log is standard output and error; "terminal": one that it is to control.
        self.streams = request.get("streams")
        if self.streams not in (None, "pipes", "terminal"):
            raise Malformed(f'streams must be "pipes" or "terminal", not {self.streams!r}')
        #: Whether it is the fork parent, and what that one has to fork in place of the program.
        self.forks = request.get("forks") is True
        self.fork = request.get("fork") or []
        if not isinstance(self.fork, list):
            raise Malformed("fork must be a list of strings")
        for word in self.fork:
            encoded(word, "fork")

    def programs(self) -> list[bytes]:
        """Return the possible paths of the program, in the order of PATH (of *its* environment)."""
        program = self.argv[0]
        if b"/" in program:
            return [program]
        path = self.env.get(b"PATH", os.defpath.encode())
        return [os.path.join(folder or b".", program) for folder in path.split(b":")]


def identity(request: dict[str, Any]) -> str:
    """Return the id in a request."""
    name = request.get("id")
    if not isinstance(name, str) or not name:
        raise Malformed("id must be a non-empty string")
    encoded(name, "id")
    return name


def grace(request: dict[str, Any]) -> float:
    """Return the grace in a request, in seconds."""
    seconds = request.get("graceSeconds", GRACE_SECONDS)
    # Written so that NaN is rejected too.
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds >= 0:
        raise Malformed("graceSeconds must be a non-negative number")
    return float(min(seconds, 1e9))  # larger values overflow the clock


def first_signal(request: dict[str, Any]) -> int:
    """Return the first signal of a stop."""
    first = request.get("first", "TERM")
    known = {"TERM": int(signal.SIGTERM), "INT": int(signal.SIGINT)}
    if not isinstance(first, str) or first not in known:
        raise Malformed(f'first must be "TERM" or "INT", not {first!r}')
    return known[first]


def encoded(text: object, field: str) -> bytes:
    """Return a string of a request as bytes for the kernel."""
    if not isinstance(text, str):
        raise Malformed(f"{field}: expected a string")
    if "\0" in text:
        raise Malformed(f"{field} contains a NUL character")
    return text.encode("utf-8", "surrogateescape")


def shown(text: bytes) -> str:
    """Return bytes as text for a message to the user."""
    return text.decode("utf-8", "backslashreplace")
