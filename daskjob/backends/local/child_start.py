"""Starts a process for the supervisor: fork, session, streams, exec. It imports little."""

from __future__ import annotations

import errno
import os
import signal

from daskjob.backends.local.start_request import StartRequest, shown

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the import
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    Prctl = Callable[[int, int], int]

#: From <linux/prctl.h>.
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


class NotStarted(Exception):
    """A process could not be started; the text explains it to the user."""


def started(
    command: StartRequest, received: Sequence[int], prctl: Prctl | None, socket: int | None = None
) -> tuple[int, str | None]:
    """Start a process with its streams; return its pid, and why it has no log.

    ``received`` are the descriptors that were sent ahead of the request, ``socket`` is the standard
    input of the fork parent; it is closed here.

    Raises
    ------
    NotStarted
        With what is wrong, for the user.
    """
    if command.streams is not None:
        if len(received) != 3:
            raise NotStarted("cannot start a process: its standard streams did not arrive")
        stdin, stdout, stderr = received
        return spawn(command, (stdin, stdout, stderr), prctl), None
    stdin = socket or 0
    log, log_error = opened_log(command.log)
    try:
        if not stdin and not command.inherits_stdin:
            stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        return spawn(command, (stdin, log, log), prctl), log_error
    except OSError as why:
        raise NotStarted(f"cannot start a process: {why.strerror}") from why
    finally:
        os.close(log)
        if stdin:
            os.close(stdin)


def spawn(command: StartRequest, streams: tuple[int, int, int], prctl: Prctl | None) -> int:
    """Fork and exec; return the pid, or raise NotStarted with the child's error.

    A plain fork is safe: the supervisor has one thread. The pipe closes on exec, so an empty
    answer means that the program runs, in its own session.
    """
    try:
        answers, failures = os.pipe()
    except OSError as why:
        raise NotStarted(f"cannot start a process: {why.strerror}") from why
    # No signal may reach the child while it still has our handlers.
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    supervisor = os.getpid()
    try:
        pid = os.fork()
        if pid == 0:
            become(command, streams, failures, supervisor, prctl)
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
    command: StartRequest,
    streams: tuple[int, int, int],
    failures: int,
    supervisor: int,
    prctl: Prctl | None,
) -> NoReturn:
    """Become the program, in the forked child, or report the error to the parent."""
    stage, failure = "setup", errno.EINVAL
    try:
        os.setsid()
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != supervisor:  # it died before prctl took effect
                os._exit(1)
        if command.streams == "terminal":
            control_terminal(streams[0])
        for number, stream in enumerate(streams):
            if stream != number:
                os.dup2(stream, number)
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
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


def linux_prctl() -> Prctl | None:
    """Return prctl(2) with one argument, or None where the system has none."""
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None
    prctl.restype = ctypes.c_int
    prctl.argtypes = [ctypes.c_int, ctypes.c_ulong]
    return lambda option, argument: int(prctl(option, argument))
