"""Processes that are forked from one that has imported what they need, under a real supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from daskjob.backends.local.forks import Forks
from daskjob.backends.local.processes import (
    Command,
    Exited,
    NotRunning,
    Processes,
    ProcessEvent,
    Started,
)
from daskjob.backends.local.translate import LAUNCHER, SCHEDULER_LAUNCHER, ContainerProcess
from tests.waiting import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")

#: A fork parent that runs any text of Python, so that no test waits for an import of Dask.
PARENT = """
import os, socket, sys
from daskjob.backends.local import fork_parent

fork_parent.set_environment = lambda environment: os.environ.update(environment)
control, supervisor = socket.socket(fileno=os.dup(0)), os.getppid()
request = fork_parent.requested(control, supervisor)
if request is not None:
    fork_parent.become(request)
    exec(request.content["fork"][1])
"""
#: What never answers, and what ends without an answer.
SILENT = "import time; time.sleep(60)"
GONE = "pass"


class Bench:
    """A run with a fork parent, and what its supervisor reports."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.processes = processes
        self.folder = folder
        self.events: list[ProcessEvent] = []

    async def listen(self) -> None:
        async for event in self.processes.events():
            self.events.append(event)

    def command(self, name: str, program: str, **more: object) -> Command:
        command = Command(
            id=name,
            argv=(sys.executable, "-c", textwrap.dedent(program)),
            env={**os.environ, "PLACE": name},
            cwd=self.folder,
            log=self.folder / f"{name}.log",
        )
        return replace(command, **more)  # type: ignore[arg-type]

    async def start_parent(self, program: str) -> Started:
        # With space for the markers of what it forks.
        parent = self.command("parent".ljust(80, "."), program, forks=True, log=Path(os.devnull))
        started = await self.processes.start(parent)
        assert isinstance(started, Started)
        return started

    def fork(self, name: str, program: str, executed: str = "print('executed')") -> Command:
        return self.command(name, executed, fork=("python", textwrap.dedent(program)))

    async def end_of(self, name: str) -> Exited:
        def ended() -> list[Exited]:
            return [e for e in self.events if isinstance(e, Exited) and e.id == name]

        found: list[Exited] = await until(ended, 15, lambda: self.events)
        return found[0]

    def output(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()


@contextlib.asynccontextmanager
async def bench_of(run: str, folder: Path) -> AsyncIterator[Bench]:
    async with Processes(run) as processes:
        made = Bench(processes, folder)
        listening = asyncio.create_task(made.listen())
        try:
            yield made
        finally:
            await processes.close(grace_seconds=0)
            await listening


@pytest.fixture
def bench(run: str, tmp_path: Path) -> contextlib.AbstractAsyncContextManager[Bench]:
    """A bench for an async test."""
    return bench_of(run, tmp_path)


async def test_a_forked_process_is_as_if_executed(bench: Bench) -> None:
    parent = await bench.start_parent(PARENT)
    program = """
        import os, psutil, sys
        shown = psutil.Process()
        print(os.getppid(), os.getsid(0) == os.getpid(), os.getcwd(), os.environ["PLACE"])
        print(os.environ["DASKJOB_PROCESS"], shown.environ()["DASKJOB_PROCESS"])
        # Beside the standard streams, the one that lists them.
        print(*shown.cmdline()[:2], len(os.listdir("/proc/self/fd")) == 4)
        print(repr(sys.stdin.read()))
        sys.exit(7)
    """
    started = [await bench.processes.start(bench.fork(name, program)) for name in ("a", "b")]
    assert len({parent.pid, *(s.pid for s in started if isinstance(s, Started))}) == 3
    run, supervisor = bench.processes.run, bench.processes.supervisor_pid
    for name in ("a", "b"):
        end = await bench.end_of(name)
        assert (end.exit_code, end.signal, end.left) == (7, None, 0)
        assert bench.output(name).splitlines() == [
            f"{supervisor} True {bench.folder} {name}",
            f"{run}/{name} {run}/{name}",
            "dask python True",
            "''",
        ]


@pytest.mark.parametrize(
    ("program", "code", "number"),
    [
        ("raise SystemExit(3)", 3, None),
        ("import os; os.kill(os.getpid(), 9)", None, signal.SIGKILL),
        ("1 / 0", 1, None),
    ],
)
async def test_the_end_of_a_forked_process_is_reported(
    bench: Bench, program: str, code: int | None, number: int | None
) -> None:
    await bench.start_parent(PARENT)
    assert isinstance(await bench.processes.start(bench.fork("a", program)), Started)
    end = await bench.end_of("a")
    assert (end.exit_code, end.signal) == (code, number)
    assert "executed" not in bench.output("a")


async def test_a_process_that_ends_before_the_answer_is_reported(bench: Bench) -> None:
    # The supervisor reaps it before it knows whose it is.
    early = """
        import os, socket, time
        control = socket.socket(fileno=os.dup(0))
        control.recv(1)
        reader, writer = os.pipe()
        if os.fork() == 0:
            pid = os.fork()
            if pid:
                os.write(writer, str(pid).encode())
            os._exit(0 if pid else 3)
        os.wait()
        pid = int(os.read(reader, 32))
        while os.path.exists(f"/proc/{pid}"):
            time.sleep(0.01)
        control.sendall(f"a {pid}\\n".encode())
        time.sleep(60)
    """
    await bench.start_parent(early)
    assert isinstance(await bench.processes.start(bench.fork("a", "pass")), Started)
    assert (await bench.end_of("a")).exit_code == 3


async def test_leftovers_of_a_forked_process_end_with_it(bench: Bench) -> None:
    await bench.start_parent(PARENT)
    # It leaves the session and its parent, and has no environment of its own: the marker is in
    # what the system shows.
    program = """
        import os, time
        if os.fork():
            while not os.path.exists("left"):
                time.sleep(0.01)
            os._exit(0)
        os.setsid()
        if os.fork():
            os._exit(0)
        open("new", "w").write(str(os.getpid()))
        os.rename("new", "left")
        time.sleep(60)
    """
    await bench.processes.start(bench.fork("a", program))
    assert (await bench.end_of("a")).exit_code == 0
    assert not psutil.pid_exists(int((bench.folder / "left").read_text()))


async def test_a_forked_process_is_stopped_like_any_other(bench: Bench) -> None:
    await bench.start_parent(PARENT)
    program = """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
        print("ready", flush=True)
        time.sleep(60)
    """
    await bench.processes.start(bench.fork("a", program))
    await until(lambda: "ready" in bench.output("a"))
    await bench.processes.stop("a")
    assert (await bench.end_of("a")).exit_code == 5


@pytest.mark.parametrize("parent", [GONE, "raise ImportError('no dask')", "import os; os.abort()"])
async def test_without_a_fork_parent_the_program_is_executed(bench: Bench, parent: str) -> None:
    await bench.start_parent(parent)
    starts = [bench.processes.start(bench.fork(name, "pass")) for name in ("a", "b")]
    assert all(isinstance(start, Started) for start in await asyncio.gather(*starts))
    for name in ("a", "b"):
        assert (await bench.end_of(name)).exit_code == 0
        assert bench.output(name) == "executed\n"
    # Those after its end, too.
    assert isinstance(await bench.processes.start(bench.fork("c", "pass")), Started)
    assert (await bench.end_of("c")).exit_code == 0


@pytest.mark.parametrize("grace_seconds", [0.0, 0.25, 30.0])
async def test_a_stop_does_not_wait_for_the_fork_parent(bench: Bench, grace_seconds: float) -> None:
    await bench.start_parent(SILENT)
    starts = [
        asyncio.create_task(bench.processes.start(bench.fork(name, "pass"))) for name in ("a", "b")
    ]
    await asyncio.sleep(0)
    await bench.processes.stop("a", grace_seconds=grace_seconds)
    stopped, other = await asyncio.wait_for(asyncio.gather(*starts), 15)
    assert isinstance(stopped, NotRunning)
    assert "stopped before it ran" in stopped.error
    # The other one is executed.
    assert isinstance(other, Started)
    assert (await bench.end_of("b")).exit_code == 0


async def test_the_end_of_a_run_does_not_wait_for_the_fork_parent(bench: Bench) -> None:
    await bench.start_parent(SILENT)
    start = asyncio.create_task(bench.processes.start(bench.fork("a", "pass")))
    await asyncio.sleep(0)
    await asyncio.wait_for(bench.processes.close(grace_seconds=30), 15)
    assert isinstance(await start, NotRunning)


async def test_a_fork_parent_that_dies_leaves_what_it_forked(bench: Bench) -> None:
    parent = await bench.start_parent(PARENT)
    await bench.processes.start(
        bench.fork("a", "import time; print(1, flush=True); time.sleep(60)")
    )
    await until(lambda: "1" in bench.output("a"))
    os.kill(parent.pid, signal.SIGKILL)
    await bench.end_of(parent.id)
    await bench.processes.start(bench.fork("b", "pass"))
    assert (await bench.end_of("b")).exit_code == 0
    await bench.processes.stop("a")
    assert (await bench.end_of("a")).signal == signal.SIGTERM


SCHEDULER = ContainerProcess(
    name="scheduler",
    argv=("py", str(SCHEDULER_LAUNCHER), "--port", "1"),
    env={"PATH": "/bin", "DASKJOB_AGENT_TOKEN": "a", "TMPDIR": "/tmp/a"},
    cwd=Path("/work"),
    memory_limit_bytes=0,
    programs={},
)
WORKER = replace(
    SCHEDULER,
    argv=("py", str(LAUNCHER), "deaths", "--nthreads", "1"),
    env={"PATH": "/bin", "PYTHONHASHSEED": "6640", "DASK_WORKER_NAME": "w"},
)


def test_scheduler_and_workers_are_forked_from_one_parent() -> None:
    forks = Forks("py", enabled=True)
    parent = forks.parent_for(SCHEDULER)
    assert parent is not None
    assert parent.forks
    assert parent.env["PYTHONHASHSEED"] == "6640"
    assert "DASKJOB_AGENT_TOKEN" not in parent.env
    assert forks.arguments(SCHEDULER) == ("scheduler", "--port", "1")
    assert forks.parent_for(WORKER) is None
    assert forks.arguments(WORKER) == ("worker", "deaths", "--nthreads", "1")


@pytest.mark.parametrize(
    "other",
    [
        replace(WORKER, argv=("dask-cuda", "worker")),
        replace(WORKER, argv=("py", "-m", "distributed.cli.dask_worker", "--no-nanny")),
        replace(WORKER, argv=("python3.9", *WORKER.argv[1:])),
        replace(WORKER, cwd=Path("/elsewhere")),
        replace(WORKER, env={**WORKER.env, "OMP_NUM_THREADS": "4"}),
        replace(WORKER, env={**WORKER.env, "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "debug"}),
        replace(WORKER, env={**WORKER.env, "PYTHONHASHSEED": "1"}),
        replace(WORKER, env={"DASK_WORKER_NAME": "w"}),
    ],
)
def test_what_would_differ_from_a_new_python_is_executed(other: ContainerProcess) -> None:
    forks = Forks("py", enabled=True)
    assert forks.parent_for(SCHEDULER) is not None
    assert forks.arguments(other) == ()


def test_nothing_is_forked_where_orphans_are_not_the_supervisors() -> None:
    forks = Forks("py", enabled=False)
    assert forks.parent_for(SCHEDULER) is None
    assert forks.arguments(SCHEDULER) == ()
