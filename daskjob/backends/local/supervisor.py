"""The supervisor: the parent of all processes of one run, and the last of them to exit.

It is to a local run what a kubelet is to a pod: it starts processes, reports how they ended, and
leaves none of them behind. It runs as a script, `python -I -S supervisor.py FD RUN`, in its own
session, and imports little of the standard library and nothing else, because every run waits for
it (hence plain classes: importing `dataclasses` alone costs as much as all of this module).

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
import errno
import json
import os
import selectors
import signal
import sys
import time

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

#: The environment variable that marks the processes of a run: `<run>/<id>`.
MARKER = "DASKJOB_PROCESS"
#: The variable that marks the supervisor itself: `<run>`. A separate one, because the supervisor of
#: a run inside a run must keep the marker by which the outer supervisor finds it.
SUPERVISOR_MARKER = "DASKJOB_SUPERVISOR"
#: Default grace of a stop: Kubernetes' terminationGracePeriodSeconds.
GRACE_SECONDS = 30.0
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

#: From <linux/prctl.h>.
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

#: The owner of a process below the supervisor that belongs to no known id; no id is empty.
UNCLAIMED = ""


class Malformed(Exception):
    """A request is malformed; the text says why."""


class NotStarted(Exception):
    """A process could not be started; the text explains it to the user."""


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


class Child:
    """A process that was started for an id, until no process of that id is left."""

    __slots__ = (
        *("ended_at", "forks", "id", "kill_at", "killed", "pid", "sessions", "status"),
        *("sweep_until", "term_at"),
    )

    def __init__(self, name: str, pid: int, *, forks: bool = False) -> None:
        self.id = name
        self.pid = pid
        #: Whether it is the fork parent.
        self.forks = forks
        #: All sessions known to belong to this id; the main process's session has its pid.
        self.sessions = {pid}
        #: When to send SIGKILL (monotonic); None: no stop was requested.
        self.kill_at: float | None = None
        #: When to send SIGTERM after another first signal (monotonic); None: not, or already sent.
        self.term_at: float | None = None
        #: SIGKILL was sent; from then on `kill_at` is when to give up on it.
        self.killed = False
        #: The wait status of the main process, once it has ended.
        self.status: int | None = None
        self.ended_at = 0.0
        #: When to stop waiting for its leftovers (monotonic).
        self.sweep_until = 0.0


class Forking:
    """A start that the fork parent has not answered."""

    __slots__ = ("command", "log_error", "stop")

    def __init__(self, command: StartRequest, log_error: str | None) -> None:
        self.command = command
        self.log_error = log_error
        #: Grace and first signal of a stop that came meanwhile.
        self.stop: tuple[float, int] | None = None


class Process:
    """One line of the system's process table."""

    __slots__ = ("alive", "marker", "parent", "pid", "session")

    def __init__(self, pid: int, parent: int, session: int, alive: bool) -> None:
        self.pid = pid
        self.parent = parent
        self.session = session
        self.alive = alive
        #: The value of its marker, where the process table already contains it (macOS).
        self.marker: bytes | None = None


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
        #: The socket of the fork parent, what it has answered, and what it has not yet answered.
        self.fork_parent: _socket.socket | None = None
        self.fork_answers = bytearray()
        self.forking: dict[str, Forking] = {}
        #: How children ended that it may not have named yet: pid, status and time.
        self.strays: dict[int, tuple[int, float]] = {}
        self.selector = selectors.DefaultSelector()
        self.prctl = linux_prctl()
        self.keeps_orphans = self.prctl is not None and self.prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
        self.signals = {int(number) for number in signal.valid_signals()}
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
                self.shut_down(ORPHANED_GRACE_SECONDS)
            self.reap()
            self.kill_overdue()
            self.sweep()
            self.flush()
            if self.farewell_until is not None and self.said_farewell():
                if self.lost and self.folder_to_remove:
                    remove_folder(self.folder_to_remove)
                return SOME_LEFT if self.owners() else ALL_GONE

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
        if command.id in self.forking:
            raise NotStarted(f"{command.id} is being started")
        if command.fork and self.asked_fork_parent(command):
            return
        self.started(command, *self.spawned(command))

    def started(self, command: StartRequest, pid: int, log_error: str | None) -> None:
        """Record and report a process that runs."""
        self.children[command.id] = Child(command.id, pid, forks=command.forks)
        more = {} if log_error is None else {"logError": log_error}
        self.send(event="started", id=command.id, pid=pid, at=time.time(), **more)

    def spawned(self, command: StartRequest) -> tuple[int, str | None]:
        """Start a process with its streams; return its pid, and why it has no log."""
        if command.streams is not None:
            if len(self.received) != 3:
                raise NotStarted("cannot start a process: its standard streams did not arrive")
            return self.spawn(command, *self.received), None
        log, log_error = opened_log(command.log)
        stdin = 0
        try:
            if command.forks:
                stdin = self.new_fork_parent()
            elif not command.inherits_stdin:
                stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            return self.spawn(command, stdin, log, log), log_error
        except OSError as why:
            raise NotStarted(f"cannot start a process: {why.strerror}") from why
        finally:
            os.close(log)
            if stdin:
                os.close(stdin)

    def spawn(self, command: StartRequest, stdin: int, stdout: int, stderr: int) -> int:
        """Fork and exec; return the pid, or raise NotStarted with the child's error.

        A plain fork is safe: the supervisor has one thread. The pipe closes on exec, so an empty
        answer means that the program runs, in its own session.
        """
        try:
            answers, failures = os.pipe()
        except OSError as why:
            raise NotStarted(f"cannot start a process: {why.strerror}") from why
        # No signal may reach the child while it still has our handlers.
        mask = signal.pthread_sigmask(signal.SIG_SETMASK, self.signals)
        supervisor = os.getpid()
        try:
            pid = os.fork()
            if pid == 0:
                self.become(command, (stdin, stdout, stderr), failures, supervisor)
        except OSError as why:
            os.close(answers)
            raise NotStarted(
                f"cannot start a process: {why.strerror}; too many processes (ulimit -u) or too "
                "little memory"
            ) from why
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(failures)
        answer = b""
        while part := os.read(answers, 4096):
            answer += part
        os.close(answers)
        if not answer:
            return pid
        os.waitpid(pid, 0)
        stage, number = answer.decode().split()
        raise NotStarted(why_not(command, stage, int(number)))

    def become(
        self, command: StartRequest, streams: tuple[int, int, int], failures: int, supervisor: int
    ) -> NoReturn:
        """Become the program, in the forked child, or report the error to the parent."""
        stage, failure = "setup", errno.EINVAL
        try:
            os.setsid()
            if self.prctl is not None:
                self.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != supervisor:  # it died before prctl took effect
                    os._exit(1)
            if command.streams == "terminal":
                control_terminal(streams[0])
            for number, stream in enumerate(streams):
                if stream != number:
                    os.dup2(stream, number)
            signal.set_wakeup_fd(-1)
            for number in self.signals - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            stage = "cwd"
            os.chdir(command.cwd)
            stage = "exec"
            failure = execute(command)
        except OSError as why:
            failure = why.errno or errno.EINVAL
        finally:
            os.write(failures, f"{stage} {failure}".encode())
            os._exit(127)

    # --- forking -------------------------------------------------------------------------------

    def new_fork_parent(self) -> int:
        """Return the end of a new socket for the fork parent."""
        self.lose_fork_parent()
        ours, theirs = _socket.socketpair()
        ours.setblocking(False)
        self.fork_parent = ours
        self.selector.register(ours.fileno(), selectors.EVENT_READ, self.hear_fork_parent)
        return theirs.detach()

    def asked_fork_parent(self, command: StartRequest) -> bool:
        """Ask the fork parent for a process; return whether it will answer."""
        if self.fork_parent is None or not self.keeps_orphans:
            return False
        opened: list[int] = []
        try:
            opened.append(request_file(command))
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            log, log_error = opened_log(command.log)
            opened.append(log)
            rights = b"".join(n.to_bytes(4, sys.byteorder) for n in (*opened, log))
            self.fork_parent.sendmsg([b"."], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        except (OSError, NotStarted):
            return False  # executing the program reports what is wrong
        finally:
            for number in opened:
                os.close(number)
        self.forking[command.id] = Forking(command, log_error)
        return True

    def hear_fork_parent(self, _: int) -> None:
        """Record the processes that the fork parent has forked; notice its end."""
        if self.fork_parent is None:
            return
        try:
            data = self.fork_parent.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.lose_fork_parent()
            return
        self.fork_answers += data
        while (end := self.fork_answers.find(b"\n")) >= 0:
            line = bytes(self.fork_answers[:end])
            del self.fork_answers[: end + 1]
            name, answer = line.decode("utf-8", "surrogateescape").rsplit(" ", 1)
            self.forked(name, int(answer))

    def forked(self, name: str, pid: int) -> None:
        """Record a forked process; it may already have ended, or be asked to end."""
        forking = self.forking.pop(name)
        if pid:
            self.started(forking.command, pid, forking.log_error)
            if pid in self.strays:
                self.ended(self.children[name], *self.strays.pop(pid))
            elif forking.stop is not None:
                self.stop(name, *forking.stop)
        else:
            self.start_after_all(forking)
        if not self.forking:
            self.strays.clear()

    def lose_fork_parent(self) -> None:
        """Execute what the fork parent, which has ended, did not fork."""
        if self.fork_parent is None:
            return
        self.selector.unregister(self.fork_parent.fileno())
        self.fork_parent.close()
        self.fork_parent = None
        self.fork_answers.clear()
        unanswered, self.forking = list(self.forking.values()), {}
        self.strays.clear()
        for forking in unanswered:
            self.start_after_all(forking)

    def start_after_all(self, forking: Forking) -> None:
        """Execute a program that could not be forked, unless it was stopped meanwhile."""
        command = forking.command
        try:
            if self.ending or forking.stop is not None:
                raise NotStarted("it was stopped before it ran")
            self.started(command, *self.spawned(command))
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
        if name in self.forking:
            self.stop_forking(self.forking[name], grace_seconds, first)
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
            elif self.forking:
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
            owners = self.owners()
            last = len(ended) == len(self.children)
            for child in ended:
                left = {pid for pid, owner in owners.items() if owner == child.id}
                if last:
                    left |= {pid for pid, owner in owners.items() if owner == UNCLAIMED}
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
        left = self.owners().keys()
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

    def owners(self) -> dict[int, str]:
        """Return the id of every process of this run; UNCLAIMED if only the run is known.

        Callers kill by this result. So where the supervisor is the subreaper, a process that is
        not below it is never ours, whatever its session or marker.
        """
        table = process_table()
        running = {c.pid: c.id for c in self.children.values() if c.status is None}
        sessions = {s: child.id for child in self.children.values() for s in child.sessions}
        # None: not of this run. Everything below the supervisor is.
        owner: dict[int, str | None] = {os.getpid(): UNCLAIMED}
        for start in table:
            chain: list[int] = []
            pid = start
            while pid in table and pid not in owner:
                owner[pid] = None
                chain.append(pid)
                pid = table[pid].parent
            inherited = owner.get(pid)
            for pid in reversed(chain):
                if inherited is not None or not self.keeps_orphans:
                    process = table[pid]
                    found = running.get(pid) or sessions.get(process.session) or inherited
                    inherited = owner[pid] = found or self.marked(process) or found
        self.learn_sessions(table, owner)
        del owner[os.getpid()]
        # A zombie below us counts until we have reaped it: after a reported end no trace is left.
        # Elsewhere init reaps it.
        return {
            pid: found
            for pid, found in owner.items()
            if found is not None and (self.keeps_orphans or table[pid].alive)
        }

    def learn_sessions(self, table: dict[int, Process], owner: dict[int, str | None]) -> None:
        """Record the sessions that an id's processes created, to recognize their later forks.

        A session is theirs if its leader is, or if the leader is gone. No other session may be
        learned: a process of ours in a foreign session must not make that session's processes
        ours. Sessions 0 and 1 are the system's: kernel threads, and processes that init or a
        container runtime started without a new session.
        """
        for pid, found in owner.items():
            session = table[pid].session if pid in table else 0
            if found and session > 1 and owner.get(session, found) == found:
                child = self.children.get(found)
                if child is not None:
                    child.sessions.add(session)

    def marked(self, process: Process) -> str | None:
        """Return the id in a process's marker, if the marker names this run."""
        marker = process.marker if process.marker is not None else marker_in_proc(process.pid)
        run, _, name = (marker or b"").decode("utf-8", "surrogateescape").partition("/")
        return (name or None) if run == self.run else None


# --- reading requests ------------------------------------------------------------------------


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


# --- starting --------------------------------------------------------------------------------


def opened_log(path: bytes) -> tuple[int, str | None]:
    """Return a descriptor for the log; if it cannot be opened, output goes to /dev/null."""
    try:
        # O_NONBLOCK: a named pipe without a reader must not block the supervisor.
        log = os.open(
            path,
            os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK,
            0o666,
        )
        os.set_blocking(log, True)
        return log, None
    except OSError as why:
        try:
            log = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as worse:
            raise NotStarted(f"cannot open {os.devnull}: {worse.strerror}") from worse
        return log, f"cannot write the log {shown(path)}: {why.strerror}"


def request_file(command: StartRequest) -> int:
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


def execute(command: StartRequest) -> int:
    """Replace this process by the program; return an errno only if that failed."""
    failure = errno.ENOENT
    for path in command.programs():
        try:
            os.execve(path, command.argv, command.env)
        except OSError as why:
            if why.errno == errno.EACCES:
                failure = errno.EACCES  # keep searching, as a shell does, but remember it
            elif why.errno not in (errno.ENOENT, errno.ENOTDIR):
                return why.errno or errno.EINVAL
    return failure


def why_not(command: StartRequest, stage: str, number: int) -> str:
    """Return why a start failed, as a sentence that names the path and the remedy."""
    reason = os.strerror(number)
    if stage == "cwd":
        return f"cannot use the working directory {shown(command.cwd)}: {reason}"
    if stage == "setup":
        return f"cannot set up a process: {reason}"
    program = shown(command.argv[0])
    places = [os.path.join(command.cwd, path) for path in command.programs()]
    found = next((path for path in places if os.path.exists(path)), None)
    if number == errno.ENOENT and found is not None:
        return f"cannot run {program}: the interpreter or loader that it names does not exist"
    if number == errno.ENOENT and b"/" not in command.argv[0]:
        path = shown(command.env.get(b"PATH", os.defpath.encode()))
        return f"cannot run {program}: there is no such program in PATH ({path})"
    if number == errno.EACCES and found is not None and os.path.isdir(found):
        return f"cannot run {program}: it is a directory"
    if number == errno.EACCES and found is not None and not os.access(found, os.X_OK):
        return f"cannot run {program}: {shown(found)} is not executable (chmod +x)"
    if number == errno.ENOEXEC:
        return (
            f"cannot run {program}: it is neither a program for this machine nor a script whose "
            "first line names its interpreter (#!...)"
        )
    if number == errno.E2BIG:
        size = sum(map(len, [*command.argv, *command.env, *command.env.values()]))
        return f"cannot run {program}: arguments and environment are too long ({size} bytes)"
    return f"cannot run {program}: {reason}"


def control_terminal(terminal: int) -> None:
    """Make a terminal the controlling one of this new session, and its group the foreground's."""
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


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


def linux_prctl() -> Callable[[int, int], int] | None:
    """Return prctl(2) with one argument, or None where the system has none."""
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None
    prctl.restype = ctypes.c_int
    prctl.argtypes = [ctypes.c_int, ctypes.c_ulong]
    return lambda option, argument: int(prctl(option, argument))


# --- the process table -----------------------------------------------------------------------


def process_table() -> dict[int, Process]:
    """Return all visible processes."""
    return table_from_proc() if os.path.isdir("/proc/self") else table_from_ps(*ps())


def table_from_proc() -> dict[int, Process]:
    """Read Linux' process table; processes that end meanwhile may be missing."""
    table = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                stat = file.read()
        except OSError:
            continue  # it has ended
        # The name, in parentheses, may itself contain anything.
        fields = stat[stat.rindex(b")") + 2 :].split()
        # A zombie with threads is a process whose main thread has ended: it is alive.
        alive = fields[0] not in b"ZXx" or int(fields[17]) > 1
        table[int(name)] = Process(int(name), int(fields[1]), int(fields[3]), alive)
    return table


def marker_in_proc(pid: int) -> bytes | None:
    """Return the marker in a process's initial environment; None: none, or unreadable."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = file.read()
    except OSError:
        return None
    name = MARKER.encode() + b"="
    for variable in environment.split(b"\0"):
        if variable.startswith(name):
            return variable[len(name) :]
    return None


def ps() -> tuple[bytes, int]:
    """Return the process table with environments from macOS' ps, and the pid of that ps."""
    import subprocess  # only where there is no /proc: it is a slow import

    try:
        with subprocess.Popen(
            ["/bin/ps", "-axEww", "-o", "pid=,ppid=,stat=,command="],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"LC_ALL": "C"},
        ) as process:
            return process.communicate()[0], process.pid
    except OSError:
        return b"", 0


def table_from_ps(output: bytes, ps_pid: int) -> dict[int, Process]:
    """Parse `pid ppid stat command and environment`, one process per line, except ps itself.

    A marker in the arguments looks like one in the environment, but runs have random names.
    """
    table = {}
    for line in output.splitlines():
        fields = line.split(None, 3)
        if len(fields) < 3 or not (fields[0].isdigit() and fields[1].isdigit()):
            continue
        pid = int(fields[0])
        if pid == ps_pid:
            continue
        try:
            session = os.getsid(pid)
        except OSError:
            continue  # it has ended; without a session it must not seem to share one
        process = Process(pid, int(fields[1]), session, not fields[2].startswith(b"Z"))
        _, marked, rest = (fields[3] if len(fields) > 3 else b"").partition(
            b" " + MARKER.encode() + b"="
        )
        process.marker = rest.split(None, 1)[0] if marked and rest.strip() else b""
        table[pid] = process
    return table


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


if __name__ == "__main__":
    sys.exit(main())
