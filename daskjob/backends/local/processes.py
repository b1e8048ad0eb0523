"""Processes of one run: start them, stop them, report how they ended, leave none behind.

The asyncio client of the supervisor (`supervisor.py`), which does the work. Invariant: however it
ends, by `close`, by cancellation or because the supervisor died, no process of the run remains. If
this process itself dies, the supervisor ensures that; if both are killed at once, the remaining
processes carry the run's marker, by which `sweep` finds them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

import psutil

from daskjob.backends.local.process_table import MARKER
from daskjob.backends.local.start_request import GRACE_SECONDS
from daskjob.backends.local.supervisor import (
    ALL_GONE,
    LAST_REPORT_SECONDS,
    ORPHANED_GRACE_SECONDS,
    SUPERVISOR_MARKER,
    SWEEP_SECONDS,
)

logger = logging.getLogger(__name__)

#: The longest line the supervisor may send: a rejection can quote a whole PATH.
MAX_EVENT_BYTES = 16 * 1024 * 1024
#: How long the supervisor may take to exit after it closed its socket: all its work is done.
SUPERVISOR_EXIT_SECONDS = 5.0
#: What the supervisor may need beyond the grace: killing main processes, then their orphans, then a
#: last sweep, and sending its last events. After that it is considered stuck.
MARGIN_SECONDS = 3 * SWEEP_SECONDS + LAST_REPORT_SECONDS


#: The first signal of a stop.
FirstSignal = Literal["TERM", "INT"]


@dataclass(frozen=True, slots=True)
class Streams:
    """The descriptors of a process's standard streams."""

    stdin: int
    stdout: int
    stderr: int
    #: Whether `stdin` is a terminal that the process is to control.
    controls_terminal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A process to start. `env` is complete: only the marker is added to it."""

    #: Unique among the running processes of the run; by convention `pod/container`.
    id: str
    #: The program is looked up in the PATH of `env`, or relative to `cwd` if it has a slash.
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    #: Standard output and error are appended to it. Its folder must exist.
    log: Path
    #: `null`: end of file at once; `inherit`: the standard input of this process.
    stdin: Literal["null", "inherit"] = "null"
    #: The standard streams, instead of `stdin` and `log`; the caller closes them after the start.
    streams: Streams | None = None
    #: It is the fork parent; and what the fork parent runs in place of `argv`, if there is one.
    forks: bool = False
    fork: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The program is running."""

    id: str
    pid: int
    at: datetime
    #: Why there is no log, as a sentence: the process runs without one.
    log_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRunning:
    """The program was not started; `error` is a sentence for the user."""

    id: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """The main process has ended, and all its leftovers are gone."""

    id: str
    #: None if a signal ended it; exactly one of the two is set.
    exit_code: int | None
    signal: int | None
    at: datetime
    #: Processes that could not be killed within 5 s: another user's, or stuck in the kernel.
    left: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorLost:
    """The supervisor died and the process with it; its exit status is unknown."""

    id: str
    error: str
    at: datetime


ProcessEvent = Started | NotRunning | Exited | SupervisorLost


class Processes:
    """All processes of one run, as an async context manager.

    Leaving it stops them with a grace of 3 s; `close` with another grace may be called before.
    Events arrive in order; every `Started` is followed by exactly one `Exited` or
    `SupervisorLost`.
    """

    def __init__(self, run: str) -> None:
        """`run` is the run's marker: unique on this machine, forever, and without a slash."""
        self._run = checked(run)
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._socket: socket.socket | None = None
        self._listener: asyncio.Task[None] | None = None
        self._answers: dict[str, asyncio.Future[Started | NotRunning]] = {}
        self._running: dict[str, Started] = {}
        self._events: asyncio.Queue[ProcessEvent | None] = asyncio.Queue()
        self._closing = False
        self._trouble = ""
        #: How the supervisor ended, once it has.
        self._how_lost = ""
        self._lost = asyncio.Event()
        #: Whether the supervisor ends without having been asked to.
        self.is_ending = False

    @property
    def run(self) -> str:
        """The run's marker."""
        return self._run

    @property
    def running(self) -> Mapping[str, Started]:
        """The running processes by id; each stays until its `Exited` or `SupervisorLost`."""
        return dict(self._running)

    @property
    def supervisor_pid(self) -> int | None:
        """The pid of the supervisor; None before `open`."""
        return None if self._supervisor is None else self._supervisor.pid

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close(grace_seconds=ORPHANED_GRACE_SECONDS)

    async def open(self) -> None:
        """Start the supervisor. Returns before it is ready: the socket buffers requests.

        Raises OSError if it cannot be started.
        """
        if self._supervisor is not None:
            raise RuntimeError("a Processes object can be opened only once")
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._supervisor = start_supervisor(self._run, theirs)
            self._socket = ours
            reader, self._writer = await asyncio.open_unix_connection(
                sock=ours, limit=MAX_EVENT_BYTES
            )
        except BaseException:
            ours.close()  # the supervisor exits when its socket is closed
            if self._supervisor is not None:
                self._supervisor.wait()
            raise
        self._listener = asyncio.create_task(
            self._listen(reader, self._supervisor), name=f"supervisor of run {self._run}"
        )

    async def start(self, command: Command) -> Started | NotRunning:
        """Start a process; the answer is also among the events.

        If this call is cancelled, the process is killed if it was started.
        """
        name = command.id
        if self._listener is None or self._lost.is_set() or self._closing:
            return self._reject(name, "the run is closed, or its supervisor is gone")
        if name in self._running or name in self._answers:
            return self._reject(name, f"{name} is still running")
        answer = asyncio.get_running_loop().create_future()
        self._answers[name] = answer
        if command.streams is not None:
            await self._send_streams(command.streams)
        await self._send(start_request(command))
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            self._write({"op": "stop", "id": name, "graceSeconds": 0})
            raise

    async def stop(
        self, name: str, *, grace_seconds: float = GRACE_SECONDS, first: FirstSignal = "TERM"
    ) -> None:
        """Ask the process of an id to end: SIGTERM to its group, SIGKILL after the grace.

        With another first signal, SIGTERM follows after most of the grace.

        A grace of 0 is SIGKILL at once. Does not wait: `Exited` follows. A repeated call with a
        shorter grace shortens it. An id that is not running is not an error: it has ended already.
        """
        await self._send({"op": "stop", "id": name, "graceSeconds": grace_seconds, "first": first})

    async def remove_when_lost(self, folder: Path) -> None:
        """Have the supervisor remove a folder, should this process die before it does."""
        await self._send({"op": "onLoss", "remove": str(folder)})

    def restore_when_lost(self, attributes: list[Any] | None) -> None:
        """Have the supervisor restore the terminal's attributes, should this process die."""
        if attributes is not None:
            *modes, keys = attributes
            numbers = [key[0] if isinstance(key, bytes) else key for key in keys]
            attributes = [*modes, numbers]
        self._write({"op": "onLoss", "restore": attributes})

    async def events(self) -> AsyncIterator[ProcessEvent]:
        """Yield all events until the supervisor has ended. For one reader."""
        while (event := await self._events.get()) is not None:
            yield event
        self._events.put_nowait(None)  # a later call ends at once

    async def loss(self) -> str:
        """Wait until the supervisor has ended; return how, as the end of a sentence.

        No process of the run is left then, and none can be started.
        """
        await self._lost.wait()
        return self._how_lost

    async def close(self, *, grace_seconds: float = GRACE_SECONDS) -> None:
        """Stop everything and return when no process of the run is left.

        May be called again, also while it waits, to shorten the grace.
        """
        self._closing = True
        if self._listener is None or self._supervisor is None:
            return
        await self._send({"op": "shutdown", "graceSeconds": grace_seconds})
        try:
            await asyncio.wait({self._listener}, timeout=grace_seconds + MARGIN_SECONDS)
        finally:
            # Stuck, or we are cancelled: once the supervisor is dead, the listener sweeps.
            if not self._listener.done():
                self._supervisor.kill()
        await asyncio.wait({self._listener})
        self._listener.result()

    # --- the connection to the supervisor ------------------------------------------------------

    async def _send(self, request: Mapping[str, Any]) -> None:
        self._write(request)
        if self._writer is not None:
            # The listener notices that the supervisor is gone, and reports it.
            with contextlib.suppress(ConnectionError):
                await self._writer.drain()

    async def _send_streams(self, streams: Streams) -> None:
        """Send descriptors ahead of a request, with an empty line: no request may be under way."""
        if self._writer is None or self._socket is None:
            return
        while self._writer.transport.get_write_buffer_size() and not self._writer.is_closing():
            await asyncio.sleep(0.001)
        with contextlib.suppress(OSError):  # the listener reports a supervisor that is gone
            socket.send_fds(self._socket, [b"\n"], [streams.stdin, streams.stdout, streams.stderr])

    def _write(self, request: Mapping[str, Any]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(request).encode() + b"\n")

    async def _listen(
        self, reader: asyncio.StreamReader, supervisor: subprocess.Popen[bytes]
    ) -> None:
        """Forward the supervisor's events; when it has ended, kill the remaining processes."""
        try:
            # A killed supervisor may leave half a line, or reset the connection.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    self._receive(json.loads(await reader.readuntil(b"\n")))
            await asyncio.to_thread(self._end_supervisor, supervisor)
        except BaseException:
            # Cancelled (the loop is closing) or a bug: do not wait for a thread.
            supervisor.kill()
            self._end_supervisor(supervisor)
            raise
        finally:
            self._report_lost(supervisor)
            if self._writer is not None:
                self._writer.close()
                with contextlib.suppress(ConnectionError):
                    await self._writer.wait_closed()

    def _receive(self, event: dict[str, Any]) -> None:
        match event:
            case {"event": "started", "id": id, "pid": pid, "at": at}:
                started = Started(id=id, pid=pid, at=moment(at), log_error=event.get("logError"))
                self._running[id] = started
                self._answer(started)
            case {"event": "rejected", "id": id, "error": error}:
                self._answer(NotRunning(id=id, error=error))
            case {"event": "exited", "id": id, "exitCode": code, "signal": number, "at": at}:
                self._running.pop(id, None)
                left = event.get("left", 0)
                self._events.put_nowait(
                    Exited(id=id, exit_code=code, signal=number, at=moment(at), left=left)
                )
            case {"event": "ending", "error": error}:
                self._trouble = error
                self.is_ending = not self._closing
            case _:
                self._trouble = str(event.get("error", event))
                logger.warning("supervisor of run %s: %s", self._run, self._trouble)

    def _answer(self, answer: Started | NotRunning) -> None:
        self._events.put_nowait(answer)
        waiting = self._answers.pop(answer.id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def _reject(self, name: str, why: str) -> NotRunning:
        rejected = NotRunning(id=name, error=why)
        if not self._lost.is_set():  # else no reader waits for events any more
            self._events.put_nowait(rejected)
        return rejected

    def _end_supervisor(self, supervisor: subprocess.Popen[bytes]) -> None:
        """Wait for the supervisor, and sweep unless it guarantees that none is left. Blocks."""
        try:
            supervisor.wait(SUPERVISOR_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            supervisor.kill()
            supervisor.wait()
        # Without a subreaper, the supervisor itself cannot be sure.
        if supervisor.returncode != ALL_GONE or sys.platform != "linux":
            kill_all(self._run, {started.pid for started in self._running.values()})

    def _report_lost(self, supervisor: subprocess.Popen[bytes]) -> None:
        """Complete all pending starts and processes: no more events will arrive."""
        how = how_it_ended(supervisor.returncode)
        if self._trouble:
            how += f" ({self._trouble})"
        error = f"the process that ran it {how}"
        self.is_ending = not self._closing
        for name in list(self._answers):
            self._answer(NotRunning(id=name, error=error))
        now = datetime.now(UTC)
        for name in self._running:
            self._events.put_nowait(SupervisorLost(id=name, error=error, at=now))
        self._running.clear()
        self._events.put_nowait(None)
        self._how_lost = how
        self._lost.set()


def start_supervisor(run: str, control: socket.socket) -> subprocess.Popen[bytes]:
    """Start the supervisor in its own session, so that Ctrl-C in a terminal reaches only us.

    It gets our environment, because the interpreter may need it (LD_LIBRARY_PATH), but does not
    pass it on. Its output is discarded: it reports over the socket, and would keep open a pipe
    that another program reads to its end.
    """
    return subprocess.Popen(
        [
            *(sys.executable, "-I", "-S", str(Path(__file__).with_name("supervisor_main.py"))),
            *(str(control.fileno()), run),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={**os.environ, SUPERVISOR_MARKER: run},
        pass_fds=[control.fileno()],
        start_new_session=True,
    )


def start_request(command: Command) -> dict[str, Any]:
    """Return the supervisor's `start` request for a command."""
    streams = command.streams
    request: dict[str, Any] = {
        "op": "start",
        "id": command.id,
        "argv": [plain(word) for word in command.argv],
        "env": {plain(name): plain(value) for name, value in command.env.items()},
        "cwd": plain(command.cwd.absolute()),
        "log": plain(command.log.absolute()),
        "stdin": command.stdin,
    }
    if streams is not None:
        request["streams"] = "terminal" if streams.controls_terminal else "pipes"
    if command.forks:
        request["forks"] = True
    if command.fork:
        request["fork"] = [plain(word) for word in command.fork]
    return request


def plain(text: str | Path) -> str:
    """Return text whose UTF-8 (with surrogate escapes) equals its encoding in our locale."""
    return os.fsencode(text).decode("utf-8", "surrogateescape")


def moment(seconds: float) -> datetime:
    """Return a timestamp of the supervisor, in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def how_it_ended(returncode: int | None) -> str:
    """Return how a process ended, as part of a sentence."""
    if returncode is None or returncode >= 0:
        return f"ended with exit code {returncode}"
    return f"was killed by {signal.Signals(-returncode).name}"


def checked(run: str) -> str:
    """Return a run's marker if it can be parsed out of the variable, else raise ValueError."""
    if not run or "/" in run or not run.isprintable():
        raise ValueError(f"a run's marker is printable text without a slash, not {run!r}")
    return run


# --- sweeping --------------------------------------------------------------------------------


def sweep(run: str) -> int:
    """Kill every process of a run, its supervisor included; return the number killed.

    For a run whose `daskjob run` is dead: a live supervisor would report the deaths as failures.
    Never touches processes of another run, the caller or its ancestors. Blocks; takes up to 5 s if
    a process cannot be killed.
    """
    return kill_all(checked(run), ())


def kill_all(run: str, sessions: Iterable[int]) -> int:
    """Sweep a run that is known to have had these sessions."""
    killed: set[psutil.Process] = set()
    known = set(sessions)
    give_up = time.monotonic() + SWEEP_SECONDS
    while (found := members(run, known)) and time.monotonic() < give_up:
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
                killed.add(process)
        time.sleep(0.005)  # processes take time to die, and later forks are found next time
    return len(killed)


def members(run: str, sessions: set[int]) -> list[psutil.Process]:
    """Return the living processes of a run; add their sessions to `sessions`.

    They carry its marker, or (since a process can overwrite its environment: setproctitle does)
    descend from one that does, or are in a session that one of the run created. All of them get
    killed, so a session counts only if its leader belongs to the run, or is gone: a marked process
    may have been started by hand from a user's own shell. Sessions 0 and 1 are the system's.
    """
    spared = {0, 1, os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    candidates: dict[int, tuple[psutil.Process, int, int]] = {}
    mine: set[int] = set()
    living: set[int] = set()
    for process in psutil.process_iter(["ppid", "status", "environ"]):
        living.add(process.pid)
        if process.pid in spared or process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        owner = run_of(process.info["environ"] or {})
        if owner not in (None, run):
            continue
        try:
            session = os.getsid(process.pid)
        except OSError:
            continue
        candidates[process.pid] = (process, process.info["ppid"], session)
        if owner == run:
            mine.add(process.pid)
    found: set[int] = set()
    while found != mine:
        found = set(mine)
        made = {candidates[pid][2] for pid in mine}
        sessions |= {session for session in made if session in mine or session not in living}
        sessions -= spared | {os.getsid(0)}
        mine |= {
            pid
            for pid, (_, parent, session) in candidates.items()
            if parent in mine or session in sessions
        }
    return [candidates[pid][0] for pid in mine]


def run_of(environ: Mapping[str, str]) -> str | None:
    """Return the run that a process belongs to by its environment.

    A supervisor belongs to its own run, not to the run in which it was started.
    """
    supervisor, marker = environ.get(SUPERVISOR_MARKER), environ.get(MARKER)
    if supervisor is not None:
        return supervisor
    return None if marker is None else marker.partition("/")[0]
