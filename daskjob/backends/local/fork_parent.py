"""A Python that has imported Dask; the scheduler and the workers of a run are forked from it.

Importing Dask takes half a second of a processor, and a run with two workers would do it in four
processes. Run by path, with the Python of the job, which may lack daskjob. It imports the standard
library and distributed only, and works from Python 3.9 on. Linux only.

The supervisor starts it, with a socket as its standard input, and sends for each process a byte
with four descriptors: a file with the request, and the standard streams. A request is a JSON
object: ``id``, ``cwd``, ``env``, ``marker`` (the name of the variable by which the supervisor finds
its processes) and ``fork``, the kind of the process and its arguments. The answer is a line with
the id and the pid; 0 if there is no process.

A process is forked twice, so that the supervisor, a subreaper, becomes its parent. It has a session
of its own when its pid is sent, and it runs only after that: no process runs that the supervisor
does not know.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import sys

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the import
if TYPE_CHECKING:
    from typing import Any

#: From <linux/prctl.h>.
PR_SET_PDEATHSIG = 1
#: The descriptors of a request, and what lets a forked process run.
DESCRIPTORS = 4
GO = b"g"


class Request:
    """A request, what came with it, and the supervisor."""

    def __init__(self, content: dict[str, Any], descriptors: list[int], supervisor: int) -> None:
        self.content = content
        self.descriptors = descriptors
        self.supervisor = supervisor


class Forked(Exception):
    """Raised in the forked process."""

    def __init__(self, request: Request) -> None:
        self.request = request


def main() -> None:
    """Import Dask, then fork what is asked for until the socket is closed."""
    here = os.path.dirname(os.path.abspath(__file__))
    control = socket.socket(fileno=os.dup(0))
    workers = imported(os.path.join(here, "worker_launcher.py"))
    scheduler = imported(os.path.join(here, "scheduler_launcher.py"))
    workers.set_path(os.environ)
    if not import_dask(workers):
        return
    supervisor = os.getppid()
    request = requested(control, supervisor)
    if request is not None:
        become(request)
        words = [text(word) for word in request.content["fork"]]
        del request
        kind, *arguments = words
        if kind == "worker":
            workers.launch(arguments[0], arguments[1:])
        else:
            scheduler.launch(arguments)


def requested(control: socket.socket, supervisor: int) -> Request | None:
    """Fork until the socket is closed; in a forked process, return its request.

    It returns from the exception, which would be the context of all that the process raises.
    """
    try:
        while serve(control, supervisor):
            continue
    except Forked as forked:
        return forked.request
    return None


def imported(path: str) -> Any:
    """Return a module by the path of its file."""
    from importlib.util import module_from_spec, spec_from_file_location

    name = os.path.splitext(os.path.basename(path))[0]
    spec = spec_from_file_location(f"_daskjob_{name}", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def import_dask(launcher: Any) -> bool:
    """Import what schedulers and workers import; return whether the process can be forked."""
    import threading
    from importlib import import_module

    launcher.set_environment()
    for name in ("distributed.cli.dask_scheduler", "distributed.cli.dask_worker"):
        import_module(name)
    for name in launcher.MODULES:
        try:
            import_module(name)
        except ImportError:
            continue
    gc.collect()
    # Otherwise a collection in a forked process copies the pages of all these objects.
    gc.freeze()
    return threading.active_count() == 1


def serve(control: socket.socket, supervisor: int) -> bool:
    """Fork one process for the supervisor; return whether there was a request."""
    numbers = array.array("i")
    data, extra, _, _ = control.recvmsg(1, socket.CMSG_SPACE(DESCRIPTORS * numbers.itemsize))
    if not data:
        return False
    for level, kind, found in extra:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(found[: len(found) - len(found) % numbers.itemsize])
    request = json.loads(os.pread(numbers[0], os.fstat(numbers[0]).st_size, 0))
    fork(control, request, list(numbers), supervisor)
    for number in numbers:
        os.close(number)
    return True


def fork(
    control: socket.socket, request: dict[str, Any], descriptors: list[int], supervisor: int
) -> None:
    """Fork a new child of the supervisor, send its pid, and let it run.

    Raises
    ------
    Forked
        In that child.
    """
    (known, knows), (ready, tells), (gate, opens) = os.pipe(), os.pipe(), os.pipe()
    between = os.fork()
    if between == 0:
        pid = os.fork()
        if pid:
            os.write(knows, str(pid).encode())
            os._exit(0)
        os.setsid()
        for number in (known, knows, ready, opens):
            os.close(number)
        os.write(tells, GO)
        os.close(tells)
        if os.read(gate, 1) != GO:
            os._exit(1)
        os.close(gate)
        raise Forked(Request(request, [*descriptors, control.detach()], supervisor))
    for number in (knows, tells, gate):
        os.close(number)
    pid = int(os.read(known, 32) or 0)
    pid = pid if os.read(ready, 1) == GO else 0
    os.waitpid(between, 0)
    control.sendall(f"{request['id']} {pid}\n".encode("utf-8", "surrogateescape"))
    try:
        os.write(opens, GO)
    except BrokenPipeError:
        pass  # it was killed
    for number in (known, ready, opens):
        os.close(number)


def become(request: Request) -> None:
    """Set up the forked process: its life, its streams, its folder, its environment."""
    content = request.content
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != request.supervisor:  # it died before prctl took effect
        os._exit(1)
    for number, stream in enumerate(request.descriptors[1:DESCRIPTORS]):
        os.dup2(stream, number)
    for number in request.descriptors:
        os.close(number)
    os.chdir(encoded(content["cwd"]))
    set_environment(content["env"])
    # Without it, the process works as well.
    with contextlib.suppress(OSError, ValueError):
        show_variable(content["marker"], encoded(content["env"][content["marker"]]))
        show_title(["dask", *content["fork"]])


def set_environment(environment: dict[str, str]) -> None:
    """Replace the environment, and what was read of it: Dask's configuration, a folder."""
    import tempfile

    import dask

    os.environ.clear()
    for name, value in environment.items():
        os.environb[encoded(name)] = encoded(value)
    tempfile.tempdir = None
    dask.config.refresh()
    if "numpy.random" in sys.modules:
        # Otherwise all workers would draw the same numbers.
        sys.modules["numpy.random"].seed()


def show_variable(name: str, value: bytes) -> None:
    """Write a variable into the initial environment, which the system shows to other processes.

    By the marker there, the supervisor finds what has left its session and its ancestors.
    """
    with open("/proc/self/environ", "rb") as file:
        shown = b"\0" + file.read()
    head = f"\0{name}=".encode()
    at = shown.find(head)
    if at < 0:
        return
    at += len(head)
    room = shown.index(b"\0", at) - at
    if len(value) <= room:
        write_memory(field(47) + at - 1, value.ljust(room, b"\0"))


def show_title(words: list[str]) -> None:
    """Replace the command line that the system shows: otherwise all forks would look the same.

    As setproctitle does it: where the last byte is no NUL, the text ends at the first one.
    """
    start, end = field(45), field(46)
    title = encoded(" ".join(words))[: end - start - 2]
    write_memory(start, title.ljust(end - start - 1, b"\0") + b".")


def field(number: int) -> int:
    """Return a number of this process's line in the process table, after the program's name."""
    with open("/proc/self/stat", "rb") as file:
        stat = file.read()
    # The name may itself contain anything.
    return int(stat[stat.rindex(b")") + 2 :].split()[number])


def write_memory(address: int, data: bytes) -> None:
    """Write into this process's own memory."""
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(address)
        memory.write(data)


def encoded(word: str) -> bytes:
    """Return text of a request as bytes for the kernel."""
    return word.encode("utf-8", "surrogateescape")


def text(word: str) -> str:
    """Return text of a request as Python reads arguments."""
    return os.fsdecode(encoded(word))


if __name__ == "__main__":
    main()
