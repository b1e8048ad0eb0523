"""The supervisor: the parent of all processes of one run, and the last of them to exit.

It is to a local run what a kubelet is to a pod: it starts processes, reports how they ended, and
leaves none of them behind. It runs by `python -I -S supervisor_main.py FD RUN`, in its own session.
It and the modules that it imports of this package import little of the standard library and nothing
else, because every run waits for it (hence plain classes: importing `dataclasses` alone costs as
much as all of this module).

FD is an inherited AF_UNIX stream socket that carries JSON, one object per line, both ways. RUN is
the run's marker. Requests:

    {"op": "start", "id", "argv": [..], "env": {..}, "cwd", "log", "stdin": "null" | "inherit",
     "streams"?: "pipes" | "terminal", "forks"?: true, "fork"?: [..]}
    {"op": "stop", "id", "graceSeconds", "first"?: "TERM" | "INT"}
                                                TERM to the process group, KILL after the grace;
                                                with another first signal, TERM shortly before KILL
    {"op": "onLoss", "remove"?, "restore"?}     if the parent is lost: a folder to remove at the
                                                end, attributes of the terminal to restore at once
    {"op": "shutdown", "graceSeconds"}          stop everything, then end

Events:

    {"event": "started", "id", "pid", "at", "logError"?}
    {"event": "rejected", "id", "error"}        a start that failed
    {"event": "exited", "id", "exitCode", "signal", "at", "left"?}
    {"event": "ending", "error"}                it ends without a shutdown request: by SIGTERM
    {"event": "error", "error"}                 a malformed request

A start with `streams` has its three standard streams sent ahead of it over FD (SCM_RIGHTS, with an
empty line) and no log of its own; with "terminal", the first is made its controlling terminal.

A start with `forks` is that of the fork parent (`fork_parent.py`). A start with `fork` is then a
fork of that one, of this kind and with these arguments; without a fork parent, or if it ends before
it answers, `argv` is executed.

Every start is answered by exactly one `started` or `rejected`, every `started` is followed by one
`exited`. `at` is in seconds since the epoch. Text is UTF-8 with surrogate escapes.

`exited` is sent when no process of the id is alive: descendants of the main process (forked,
double-forked, in another session) are killed first, as the end of PID 1 ends a container. `left`
counts those that could not be killed within `SWEEP_SECONDS` (another user's, or stuck in the
kernel). A process belongs to an id, in this order, by its session, by its ancestors, or by the
variable `DASKJOB_PROCESS=<run>/<id>` that is added to the environment of each process:

- On Linux the supervisor is the child subreaper, so no descendant can leave its tree. A process
  that has shed its session, its parents and its environment cannot be attributed while other ids
  run; it is killed with the last of them. Direct children die with the supervisor (PDEATHSIG),
  however it dies; their descendants are found by their variable (`processes.sweep`).
- On macOS there is neither a subreaper nor PDEATHSIG nor /proc. Orphans are found in the output
  of `ps`, by session and, where the system shows it (not for its own binaries), by variable.

The supervisor exits after a shutdown request, at the end of FD, when its parent is gone (however it
died), and on SIGTERM. It never waits without a limit, and never wakes without a cause.
"""

from __future__ import annotations

import _socket
import json
import os
import selectors
import signal
import sys
import time

from daskjob.backends.local.child_start import (
    PR_SET_CHILD_SUBREAPER,
    NotStarted,
    linux_prctl,
    started,
)
from daskjob.backends.local.fork_queue import Forking, ForkQueue
from daskjob.backends.local.process_table import UNCLAIMED, Claim, owners
from daskjob.backends.local.start_request import (
    Malformed,
    StartRequest,
    first_signal,
    grace,
    identity,
)

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the import
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

#: The variable that marks the supervisor itself: `<run>`. A separate one, because the supervisor of
#: a run inside a run must keep the marker by which the outer supervisor finds it.
SUPERVISOR_MARKER = "DASKJOB_SUPERVISOR"
#: Grace when the parent is gone, or the supervisor itself was asked to exit.
ORPHANED_GRACE_SECONDS = 3.0
#: When SIGTERM follows another first signal, as a share of the grace.
TERM_SHARE = 0.8
#: How long killing the leftovers of an id may take. SIGKILL works at once, except on processes of
#: other users and those stuck in the kernel, which may never end.
SWEEP_SECONDS = 5.0
#: How soon to check processes again after SIGKILL, if no SIGCHLD arrives.
SWEEP_PAUSE_SECONDS = 0.02
#: The longest sleep: epoll accepts at most 24 days. Waking up once a day costs nothing.
LONGEST_SLEEP_SECONDS = 86400.0
#: How long to wait for a parent that does not read, when everything else is done.
LAST_REPORT_SECONDS = 2.0
#: The longest request: an environment and arguments fill at most 6 MiB on Linux (ARG_MAX).
MAX_REQUEST_BYTES = 32 * 1024 * 1024

#: The supervisor's own exit codes. 0 guarantees that no process of the run is left.
ALL_GONE, SOME_LEFT, BROKEN = 0, 3, 70


class Child(Claim):
    """A process that was started for an id, until no process of that id is left."""

    __slots__ = ("ended_at", "forks", "kill_at", "killed", "sweep_until", "term_at")

    def __init__(self, name: str, pid: int, *, forks: bool = False) -> None:
        super().__init__(name, pid)
        #: Whether it is the fork parent.
        self.forks = forks
        #: When to send SIGKILL (monotonic); None: no stop was requested.
        self.kill_at: float | None = None
        #: When to send SIGTERM after another first signal (monotonic); None: not, or already sent.
        self.term_at: float | None = None
        #: SIGKILL was sent; from then on `kill_at` is when to give up on it.
        self.killed = False
        self.ended_at = 0.0
        #: When to stop waiting for its leftovers (monotonic).
        self.sweep_until = 0.0


class Supervisor:
    """The state of a run's processes, and the loop that keeps it current."""

    def __init__(self, control: int, run: str) -> None:
        self.run = run
        self.control = control
        self.children: dict[str, Child] = {}
        self.asked_to_end = False
        self.ending = False
        self.last_sweep_until: float | None = None
        self.farewell_until: float | None = None
        self.input = bytearray()
        self.skipping = False
        self.output = bytearray()
        self.connected = True
        self.socket = _socket.socket(fileno=control)
        #: Descriptors that arrived for the next start.
        self.received: list[int] = []
        #: The parent ended without a shutdown, or during one.
        self.lost = False
        self.folder_to_remove = ""
        self.terminal_to_restore: list[Any] | None = None
        self.forks = ForkQueue()
        #: How children ended that the fork parent may not have named yet: pid, status and time.
        self.strays: dict[int, tuple[int, float]] = {}
        self.selector = selectors.DefaultSelector()
        self.prctl = linux_prctl()
        self.keeps_orphans = self.prctl is not None and self.prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
        os.set_blocking(control, False)
        self.selector.register(control, selectors.EVENT_READ, self.converse)
        self.watch_signals()
        self.watch_parent()

    # --- waking up -----------------------------------------------------------------------------

    def watch_signals(self) -> None:
        """Let SIGCHLD and SIGTERM wake the loop; ignore the signals of a terminal."""
        awake, wake = os.pipe()
        os.set_blocking(awake, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self.selector.register(awake, selectors.EVENT_READ, lambda _: drain(awake))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self.on_sigterm)
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(ignored, signal.SIG_IGN)

    def on_sigterm(self, *_: object) -> None:
        """Record a SIGTERM; the loop acts on it."""
        self.asked_to_end = True

    def watch_parent(self) -> None:
        """Wake up when the parent ends, even if the other end of the socket outlives it.

        A child that the parent forked without exec (multiprocessing) holds a copy of that end.
        PDEATHSIG is unsuitable: it fires when the parent's *thread* ends. Best effort: the end of
        the socket is authoritative, and it is watched everywhere.
        """
        parent = os.getppid()
        try:
            if sys.platform == "linux":
                self.selector.register(
                    os.pidfd_open(parent), selectors.EVENT_READ, self.lost_parent
                )
            elif sys.platform == "darwin":
                import select

                queue = select.kqueue()
                exits = select.kevent(
                    parent,
                    filter=select.KQ_FILTER_PROC,
                    flags=select.KQ_EV_ADD | select.KQ_EV_ONESHOT,
                    fflags=select.KQ_NOTE_EXIT,
                )
                queue.control([exits], 0)
                # The object must live as long as its descriptor is watched.
                self.parent_queue = queue
                self.selector.register(queue.fileno(), selectors.EVENT_READ, self.lost_parent)
        except (OSError, AttributeError):
            return

    def lost_parent(self, watched: int) -> None:
        """Record, once, that the parent is gone."""
        self.selector.unregister(watched)
        self.asked_to_end = True
        self.lose()

    def lose(self) -> None:
        """Restore the terminal that the lost parent had changed, once."""
        self.lost = True
        if self.terminal_to_restore is not None:
            restore_terminal(self.terminal_to_restore)
            self.terminal_to_restore = None

    def serve(self) -> int:
        """Work until asked to end and no process is left; return the exit code."""
        while True:
            for key, _ in self.selector.select(self.patience()):
                key.data(key.fd)
            if self.asked_to_end:
                self.asked_to_end = False
                if not self.ending:
                    # Before the ends of the processes, which are not their own.
                    self.send(event="ending", error="it received SIGTERM")
                self.shut_down(ORPHANED_GRACE_SECONDS)
            self.reap()
            self.kill_overdue()
            self.sweep()
            self.flush()
            if self.farewell_until is not None and self.said_farewell():
                if self.lost and self.folder_to_remove:
                    remove_folder(self.folder_to_remove)
                return (
                    SOME_LEFT
                    if owners(self.run, self.children, keeps_orphans=self.keeps_orphans)
                    else ALL_GONE
                )

    def patience(self) -> float | None:
        """Return the seconds until something is due; None: nothing is."""
        if self.asked_to_end:
            return 0.0
        children = self.children.values()
        due = [at for c in children for at in (c.kill_at, c.term_at) if at is not None]
        now = time.monotonic()
        sweeping = any(child.status is not None for child in self.children.values())
        if sweeping or (self.ending and not self.children):
            due.append(now + SWEEP_PAUSE_SECONDS)
        return min(max(0.0, min(due) - now), LONGEST_SLEEP_SECONDS) if due else None

    def said_farewell(self) -> bool:
        """Return whether all events are sent, or the parent has had time enough to read them."""
        late = self.farewell_until is not None and time.monotonic() > self.farewell_until
        return late or not self.output

    # --- requests and events -------------------------------------------------------------------

    def converse(self, _: int) -> None:
        """Read and carry out requests; the end of the stream ends the run."""
        try:
            received = self.receive()
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self.disconnect()
            return
        self.input += received
        while (end := self.input.find(b"\n")) >= 0:
            line = bytes(self.input[:end])
            del self.input[: end + 1]
            if self.skipping:
                self.skipping = False
            elif line.strip():
                self.obey(line)
        if self.skipping or len(self.input) > MAX_REQUEST_BYTES:
            if not self.skipping:
                self.send(event="error", error=f"a request exceeds {MAX_REQUEST_BYTES} bytes")
            self.skipping = True
            self.input.clear()

    def receive(self) -> bytes:
        """Read bytes, and keep the descriptors that come with them."""
        integer_bytes = 4
        space = _socket.CMSG_SPACE(3 * integer_bytes)
        data, extra, _, _ = self.socket.recvmsg(1 << 20, space)
        for level, kind, numbers in extra:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                for at in range(0, len(numbers) - integer_bytes + 1, integer_bytes):
                    number = int.from_bytes(numbers[at : at + integer_bytes], sys.byteorder)
                    os.set_inheritable(number, False)
                    self.received.append(number)
        return bytes(data)

    def drop_received(self) -> None:
        """Close descriptors that no start took."""
        for number in self.received:
            os.close(number)
        self.received.clear()

    def disconnect(self) -> None:
        """Treat the end of the connection as the end of the run."""
        if not self.connected:
            return
        self.connected = False
        self.output.clear()
        self.selector.unregister(self.control)
        self.asked_to_end = True
        self.lose()

    def obey(self, line: bytes) -> None:
        """Carry out one request, or report what is wrong with it."""
        request: Any = None
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise Malformed("a request is a JSON object")
            operation = request.get("op")
            if operation == "start":
                try:
                    self.start(StartRequest(request, self.run))
                finally:
                    self.drop_received()
            elif operation == "stop":
                self.stop(identity(request), grace(request), first_signal(request))
            elif operation == "onLoss":
                self.folder_to_remove = str(request.get("remove", self.folder_to_remove))
                self.terminal_to_restore = request.get("restore", self.terminal_to_restore)
            elif operation == "shutdown":
                self.shut_down(grace(request))
            else:
                raise Malformed(f"unknown op {operation!r}: it is start, stop, onLoss or shutdown")
        except NotStarted as why:
            self.send(event="rejected", id=request["id"], error=str(why))
        except (Malformed, ValueError, RecursionError) as why:
            # ValueError: not JSON, or not UTF-8. Every start is answered, even a malformed one.
            start = isinstance(request, dict) and request.get("op") == "start"
            if start and isinstance(request.get("id"), str):
                self.send(event="rejected", id=request["id"], error=f"malformed request: {why}")
            else:
                self.send(event="error", error=f"malformed request: {why}")

    def send(self, **event: object) -> None:
        """Queue one event. A slow or absent parent does not block the supervisor."""
        if self.connected:
            self.output += json.dumps(event).encode() + b"\n"

    def flush(self) -> None:
        """Send as much as the socket accepts, and have the loop wake up for the rest."""
        try:
            while self.output:
                del self.output[: os.write(self.control, self.output[: 1 << 16])]
        except BlockingIOError:
            pass
        except OSError:
            self.disconnect()
        if self.connected:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.output else 0)
            if self.selector.get_key(self.control).events != wanted:
                self.selector.modify(self.control, wanted, self.converse)

    # --- starting ------------------------------------------------------------------------------

    def start(self, command: StartRequest) -> None:
        """Start a process and report it, or raise NotStarted."""
        if self.ending:
            raise NotStarted("the run is being shut down")
        if command.id in self.children:
            raise NotStarted(f"{command.id} is still running (pid {self.children[command.id].pid})")
        if command.id in self.forks.pending:
            raise NotStarted(f"{command.id} is being started")
        if command.fork and self.keeps_orphans and self.forks.ask(command):
            return
        socket = self.new_fork_parent() if command.forks else None
        self.record(command, *started(command, self.received, self.prctl, socket))

    def record(self, command: StartRequest, pid: int, log_error: str | None) -> None:
        """Record and report a process that runs."""
        self.children[command.id] = Child(command.id, pid, forks=command.forks)
        more = {} if log_error is None else {"logError": log_error}
        self.send(event="started", id=command.id, pid=pid, at=time.time(), **more)

    # --- forking -------------------------------------------------------------------------------

    def new_fork_parent(self) -> int:
        """Return the end of a new socket for the fork parent."""
        self.lose_fork_parent()
        try:
            ours, theirs = self.forks.open()
        except OSError as why:
            raise NotStarted(f"cannot start a process: {why.strerror}") from why
        self.selector.register(ours, selectors.EVENT_READ, self.hear_fork_parent)
        return theirs

    def hear_fork_parent(self, _: int) -> None:
        """Record the processes that the fork parent has forked; notice its end."""
        answers = self.forks.answers()
        if answers is None:
            self.lose_fork_parent()
            return
        for forking, pid in answers:
            self.forked(forking, pid)

    def forked(self, forking: Forking, pid: int) -> None:
        """Record a forked process; it may already have ended, or be asked to end."""
        name = forking.command.id
        if pid:
            self.record(forking.command, pid, forking.log_error)
            if pid in self.strays:
                self.ended(self.children[name], *self.strays.pop(pid))
            elif forking.stop is not None:
                self.stop(name, *forking.stop)
        else:
            self.start_after_all(forking)
        if not self.forks.pending:
            self.strays.clear()

    def lose_fork_parent(self) -> None:
        """Execute what the fork parent, which has ended, did not fork."""
        number, unanswered = self.forks.close()
        if number is None:
            return
        self.selector.unregister(number)
        self.strays.clear()
        for forking in unanswered:
            self.start_after_all(forking)

    def start_after_all(self, forking: Forking) -> None:
        """Execute a program that could not be forked, unless it was stopped meanwhile."""
        command = forking.command
        try:
            if self.ending or forking.stop is not None:
                raise NotStarted("it was stopped before it ran")
            self.record(command, *started(command, (), self.prctl))
        except NotStarted as why:
            self.send(event="rejected", id=command.id, error=str(why))

    def stop_forking(self, forking: Forking, grace_seconds: float, first: int) -> None:
        """Stop a process that may not exist yet: without its parent it never will."""
        forking.stop = (grace_seconds, first)
        for child in self.children.values():
            if child.forks and child.status is None:
                signal_group(child, signal.SIGKILL)

    # --- stopping ------------------------------------------------------------------------------

    def stop(self, name: str, grace_seconds: float, first: int = signal.SIGTERM) -> None:
        """Send a first signal now, KILL after the grace. A repeated stop can only shorten it.

        After another first signal than TERM, the process has most of the grace to itself: TERM ends
        Python without `finally` and `atexit`.
        """
        if name in self.forks.pending:
            self.stop_forking(self.forks.pending[name], grace_seconds, first)
        child = self.children.get(name)
        if child is None or child.status is not None or child.killed:
            return
        kill_at = time.monotonic() + grace_seconds
        if grace_seconds > 0:
            now = time.monotonic()
            if child.kill_at is None and first != signal.SIGTERM:
                child.term_at = now + TERM_SHARE * grace_seconds
                signal_group(child, first)
            elif first == signal.SIGTERM and (child.kill_at is None or child.term_at is not None):
                child.term_at = None
                signal_group(child, signal.SIGTERM)
        child.kill_at = kill_at if child.kill_at is None else min(child.kill_at, kill_at)

    def shut_down(self, grace_seconds: float) -> None:
        """Stop everything and start nothing more; the loop ends when no process is left."""
        self.ending = True
        for name in self.children:
            self.stop(name, grace_seconds)

    def kill_overdue(self) -> None:
        """Send SIGKILL where the grace is over; a run that ends skips unkillable processes."""
        now = time.monotonic()
        for child in self.children.values():
            if child.term_at is not None and child.term_at <= now:
                child.term_at = None
                if child.status is None and not child.killed:
                    signal_group(child, signal.SIGTERM)
        for child in list(self.children.values()):
            if child.status is not None or child.kill_at is None or child.kill_at > now:
                continue
            if not child.killed:
                child.killed = True
                child.kill_at = now + SWEEP_SECONDS
                signal_group(child, signal.SIGKILL)
            elif self.ending:
                del self.children[child.id]
            else:
                child.kill_at = None

    def reap(self) -> None:
        """Reap everything that ended, orphans included: no zombie outlives one iteration."""
        mains = {child.pid: child for child in self.children.values() if child.status is None}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if (child := mains.get(pid)) is not None:
                self.ended(child, status, time.time())
            elif self.forks.pending:
                self.strays[pid] = (status, time.time())

    def ended(self, child: Child, status: int, at: float) -> None:
        """Record that a main process has ended."""
        child.status = status
        child.ended_at = at
        child.kill_at = child.term_at = None
        child.sweep_until = time.monotonic() + SWEEP_SECONDS

    # --- sweeping ------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Kill the leftovers of ended ids; report the ids without any."""
        ended = [child for child in self.children.values() if child.status is not None]
        if ended:
            found = owners(self.run, self.children, keeps_orphans=self.keeps_orphans)
            last = len(ended) == len(self.children)
            for child in ended:
                left = {pid for pid, owner in found.items() if owner == child.id}
                if last:
                    left |= {pid for pid, owner in found.items() if owner == UNCLAIMED}
                kill(left)
                if not left or time.monotonic() > child.sweep_until:
                    del self.children[child.id]
                    self.report(child, len(left))
        if self.ending and not self.children:
            self.sweep_all()

    def sweep_all(self) -> None:
        """Kill everything below the supervisor, as its last step before it exits."""
        now = time.monotonic()
        if self.last_sweep_until is None:
            self.last_sweep_until = now + SWEEP_SECONDS
        left = owners(self.run, self.children, keeps_orphans=self.keeps_orphans).keys()
        kill(left)
        if self.farewell_until is None and (not left or now > self.last_sweep_until):
            self.farewell_until = now + LAST_REPORT_SECONDS

    def report(self, child: Child, left: int) -> None:
        """Report how a process ended."""
        status = child.status or 0
        killed = os.WIFSIGNALED(status)
        more = {"left": left} if left else {}
        self.send(
            event="exited",
            id=child.id,
            exitCode=None if killed else os.WEXITSTATUS(status),
            signal=os.WTERMSIG(status) if killed else None,
            at=child.ended_at,
            **more,
        )


# --- after the parent ------------------------------------------------------------------------


def restore_terminal(attributes: list[Any]) -> None:
    """Restore the modes of standard input: the parent died while keys went to the script."""
    import termios

    try:
        *modes, keys = attributes
        keys = [bytes([key]) if isinstance(key, int) and key < 256 else key for key in keys]
        termios.tcsetattr(0, termios.TCSANOW, [*modes, keys])
    except (termios.error, OSError, TypeError, ValueError):
        return


def remove_folder(folder: str) -> None:
    """Remove the temporary files of a run whose parent did not live to do it."""
    import shutil  # slow to import, and rarely needed

    shutil.rmtree(folder, ignore_errors=True)


# --- signals ---------------------------------------------------------------------------------


def signal_group(child: Child, number: int) -> None:
    """Signal the group of a main process. It is not reaped yet, so the pid is still its own."""
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        # macOS: a group of zombies. Elsewhere: a setuid program, which cannot be signalled.
        pass


def kill(pids: Iterable[int]) -> None:
    """Send SIGKILL to processes that were just seen.

    A pid below the supervisor can only be reused after its parent reaped it and all other pids were
    used, which takes longer than this call.
    """
    for pid in pids:
        try:
            if pid > 1:
                os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def drain(descriptor: int) -> None:
    """Empty the wake-up pipe; its content does not matter."""
    try:
        while len(os.read(descriptor, 4096)) == 4096:
            pass
    except BlockingIOError:
        pass


# --- the program -----------------------------------------------------------------------------


def keep_descriptors_to_ourselves() -> None:
    """Let children inherit only descriptors 0, 1 and 2, and make sure that these exist.

    Otherwise a descriptor opened later could become 0, 1 or 2, which a child replaces.
    """
    for wanted in range(3):
        try:
            os.fstat(wanted)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
            os.set_inheritable(wanted, True)
    for name in os.listdir("/dev/fd"):
        try:
            if int(name) > 2:
                os.set_inheritable(int(name), False)
        except OSError:
            continue  # the descriptor that listed the directory


def main() -> int:
    """Supervise a run; return the exit code."""
    control, run = int(sys.argv[1]), sys.argv[2]
    keep_descriptors_to_ourselves()
    supervisor = Supervisor(control, run)
    try:
        return supervisor.serve()
    except BaseException as why:
        # A bug. Report it, and kill everything: no process would supervise it any more.
        for child in supervisor.children.values():
            if child.status is None:
                signal_group(child, signal.SIGKILL)
        supervisor.send(event="error", error=f"the supervisor failed: {type(why).__name__}: {why}")
        supervisor.flush()
        return BROKEN
