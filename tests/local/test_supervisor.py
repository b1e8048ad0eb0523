"""Processes of a run: real ones under a real supervisor, with every way to fork and to end.

`Processes` and the supervisor are tested together, since neither is of use alone; a few tests use
the supervisor's socket directly, to send requests that `Processes` never would.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest

from daskjob.backends.local import process_table, supervisor_main
from daskjob.backends.local import supervisor as supervisor_module
from daskjob.backends.local.process_table import Claim, owners
from daskjob.backends.local.processes import (
    Command,
    Exited,
    NotRunning,
    Processes,
    ProcessEvent,
    Started,
    Streams,
    SupervisorLost,
    sweep,
)
from tests.waiting import until

Eventually = Callable[[Callable[[], object]], None]
Alive = Callable[[str], list[int]]

PYTHON = (sys.executable, "-I", "-S", "-c")
#: Seconds for processes that the test stops itself: no test waits that long.
LONG = "60"
PATH = os.environ.get("PATH", os.defpath)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


class Bench:
    """A run that collects its events, and starts a process in one line."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.processes = processes
        self.folder = folder
        self.events: list[ProcessEvent] = []
        self.arrived = asyncio.Condition()

    async def listen(self) -> None:
        async for event in self.processes.events():
            async with self.arrived:
                self.events.append(event)
                self.arrived.notify_all()

    async def start(
        self,
        *argv: str,
        name: str = "a",
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        log: Path | None = None,
        stdin: Literal["null", "inherit"] = "null",
    ) -> Started | NotRunning:
        command = Command(
            id=name,
            argv=argv,
            env={"PATH": PATH} if env is None else env,
            cwd=cwd or self.folder,
            log=log or self.folder / f"{name.replace('/', '-')}.log",
            stdin=stdin,
        )
        return await self.processes.start(command)

    async def python(self, script: str, **how: Any) -> Started | NotRunning:
        return await self.start(*PYTHON, textwrap.dedent(script), **how)

    async def end_of(self, name: str = "a") -> Exited | SupervisorLost:
        found: list[Exited | SupervisorLost] = []

        def ended() -> bool:
            found[:] = [
                e for e in self.events if isinstance(e, Exited | SupervisorLost) and e.id == name
            ]
            return bool(found)

        async with self.arrived:
            await asyncio.wait_for(self.arrived.wait_for(ended), 15)
        return found[-1]

    def output(self, name: str = "a") -> bytes:
        return (self.folder / f"{name}.log").read_bytes()

    async def has_written(self, text: bytes, name: str = "a") -> None:
        log = self.folder / f"{name}.log"
        await until(
            lambda: log.exists() and text in self.output(name), 15, f"{name} wrote {text!r}"
        )


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


# --- how processes end -----------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 3, 127, 255])
async def test_the_exit_code_is_reported(bench: Bench, code: int) -> None:
    started = await bench.start("sh", "-c", f"exit {code}")
    assert isinstance(started, Started)
    end = await bench.end_of()
    assert isinstance(end, Exited)
    assert (end.exit_code, end.signal, end.left) == (code, None, 0)
    assert started.at <= end.at
    assert bench.events == [started, end]


async def test_an_exit_without_cleanup_has_its_code(bench: Bench) -> None:
    await bench.python("import os; os._exit(7)")
    end = await bench.end_of()
    assert isinstance(end, Exited)
    assert (end.exit_code, end.signal) == (7, None)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGINT, signal.SIGPIPE])
async def test_the_signal_that_ended_a_process_is_reported(bench: Bench, number: int) -> None:
    await bench.start("sh", "-c", f"kill -{int(number)} $$")
    end = await bench.end_of()
    assert isinstance(end, Exited)
    assert (end.exit_code, end.signal) == (None, number)


async def test_a_stopped_process_gets_sigterm_and_can_exit_by_itself(bench: Bench) -> None:
    await bench.start("sh", "-c", "trap 'echo bye; exit 5' TERM; echo ready; sleep 60 & wait")
    await bench.has_written(b"ready")
    await bench.processes.stop("a", grace_seconds=30)
    end = await bench.end_of()
    assert isinstance(end, Exited)
    assert end.exit_code == 5
    assert bench.output() == b"ready\nbye\n"


IGNORES_TERM = f"trap '' TERM; echo ready; while :; do sleep {LONG}; done"


COUNTS = (
    "trap 'echo int' INT; trap 'echo term; exit 4' TERM; echo ready; "
    f"while :; do sleep {LONG} & wait; done"
)


async def test_after_a_first_sigint_the_process_has_most_of_the_grace_to_itself(
    bench: Bench,
) -> None:
    await bench.start("sh", "-c", COUNTS)
    await bench.has_written(b"ready")
    before = time.monotonic()
    await bench.processes.stop("a", grace_seconds=2, first="INT")
    await bench.has_written(b"int")
    assert b"term" not in bench.output()
    end = await bench.end_of()
    assert isinstance(end, Exited)
    assert end.exit_code == 4
    assert 1.5 <= time.monotonic() - before < 10
    assert bench.output() == b"ready\nint\nterm\n"


async def test_a_stop_by_sigterm_does_not_wait_for_an_earlier_one_by_sigint(bench: Bench) -> None:
    await bench.start("sh", "-c", COUNTS)
    await bench.has_written(b"ready")
    before = time.monotonic()
    await bench.processes.stop("a", grace_seconds=60, first="INT")
    await bench.has_written(b"int")
    await bench.processes.stop("a", grace_seconds=59)
    end = await bench.end_of()
    assert isinstance(end, Exited)
    assert end.exit_code == 4
    assert time.monotonic() - before < 10


async def test_a_process_that_ignores_sigterm_is_killed_after_the_grace(bench: Bench) -> None:
    await bench.start("sh", "-c", IGNORES_TERM)
    await bench.has_written(b"ready")
    before = time.monotonic()
    await bench.processes.stop("a", grace_seconds=0.4)
    end = await bench.end_of()
    assert isinstance(end, Exited)
    assert end.signal == signal.SIGKILL
    assert 0.4 <= time.monotonic() - before < 3


async def test_a_repeated_stop_can_shorten_the_grace_but_not_lengthen_it(bench: Bench) -> None:
    await bench.start("sh", "-c", IGNORES_TERM)
    await bench.has_written(b"ready")
    before = time.monotonic()
    await bench.processes.stop("a", grace_seconds=60)
    await bench.processes.stop("a", grace_seconds=0.2)
    await bench.processes.stop("a", grace_seconds=60)
    await bench.end_of()
    assert 0.2 <= time.monotonic() - before < 3


async def test_a_stop_without_grace_kills_at_once(bench: Bench) -> None:
    await bench.start("sh", "-c", "trap 'exit 0' TERM; echo ready; sleep 60 & wait")
    await bench.has_written(b"ready")
    await bench.processes.stop("a", grace_seconds=0)
    end = await bench.end_of()
    assert isinstance(end, Exited)
    assert end.signal == signal.SIGKILL


async def test_stopping_an_id_that_is_not_running_has_no_effect(bench: Bench) -> None:
    await bench.processes.stop("never-started")
    await bench.start("true")
    await bench.end_of()
    await bench.processes.stop("a")
    await bench.start("true", name="b")
    await bench.end_of("b")
    assert [type(event) for event in bench.events] == [Started, Exited] * 2


async def test_a_terminals_interrupt_reaches_neither_the_supervisor_nor_its_processes(
    bench: Bench,
) -> None:
    started = await bench.start("sleep", LONG)
    assert isinstance(started, Started)
    supervisor = bench.processes.supervisor_pid
    assert supervisor is not None
    sessions = {os.getsid(0), os.getsid(supervisor), os.getsid(started.pid)}
    assert len(sessions) == 3
    os.kill(supervisor, signal.SIGINT)
    os.kill(supervisor, signal.SIGHUP)
    await bench.start("true", name="b")
    await bench.end_of("b")
    assert list(bench.processes.running) == ["a"]


# --- rejected starts -------------------------------------------------------------------------


async def test_a_rejected_start_names_its_cause(bench: Bench, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    text = tmp_path / "text"
    text.write_text("just text\n")
    text.chmod(0o755)

    async def why(*argv: str, **how: Any) -> str:
        answer = await bench.start(*argv, **how)
        assert isinstance(answer, NotRunning)
        return answer.error

    missing = os.strerror(errno.ENOENT)
    assert await why("/no/such/program") == f"cannot run /no/such/program: {missing}"
    assert "no such program in PATH (/nowhere)" in await why("ls", env={"PATH": "/nowhere"})
    assert f"{plain} is not executable (chmod +x)" in await why(str(plain))
    assert "it is a directory" in await why(str(tmp_path))
    assert "interpreter or loader that it names does not exist" in await why(str(broken))
    assert "neither a program for this machine nor a script" in await why(str(text))
    assert "too long" in await why("true", "x" * 5_000_000)
    nowhere = await why("true", cwd=tmp_path / "gone")
    assert nowhere == f"cannot use the working directory {tmp_path / 'gone'}: {missing}"
    assert "NUL" in await why("true", "a\0b")
    assert "'A=B' cannot be the name of a variable" in await why("true", env={"A=B": "c"})
    assert not bench.processes.running
    assert all(isinstance(event, NotRunning) for event in bench.events)


async def test_a_running_id_is_rejected_and_can_be_reused_after_its_end(bench: Bench) -> None:
    first, second = await asyncio.gather(bench.start("sleep", LONG), bench.start("sleep", LONG))
    assert isinstance(first, Started)
    assert isinstance(second, NotRunning)
    third = await bench.start("sleep", LONG)
    assert isinstance(third, NotRunning)
    assert third.error == "a is still running"
    await bench.processes.stop("a", grace_seconds=0)
    await bench.end_of()
    assert isinstance(await bench.start("true"), Started)


async def test_nothing_starts_after_close(run: str, tmp_path: Path) -> None:
    async with bench_of(run, tmp_path) as made:
        await made.processes.close()
        assert isinstance(await made.start("true"), NotRunning)
        await made.processes.close()


# --- the environment of a process -------------------------------------------------------------


async def test_the_environment_is_the_given_one_plus_the_marker(
    bench: Bench, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_PARENT", "1")
    given = {"PATH": PATH, "GREETING": "grüß $HOME\nzwei", "EMPTY": "", "BYTES": "\udcff\udcfe"}

    assert isinstance(await bench.start("env", "-0", name="pod/main", env=given), Started)
    await bench.end_of("pod/main")
    found = bench.output("pod-main").rstrip(b"\0").split(b"\0")
    wanted = [os.fsencode(f"{name}={value}") for name, value in given.items()]
    assert sorted(found) == sorted([*wanted, f"DASKJOB_PROCESS={run}/pod/main".encode()])


async def test_standard_input_is_at_its_end(bench: Bench) -> None:
    await bench.start("sh", "-c", "cat; echo end")
    await bench.end_of()
    assert bench.output() == b"end\n"


def test_standard_input_is_inherited_on_request(run: str, tmp_path: Path) -> None:
    script = f"""
        import asyncio, pathlib
        from daskjob.backends.local.processes import Command, Exited, Processes

        async def main():
            async with Processes({run!r}) as processes:
                await processes.start(Command(
                    id="a", argv=("/bin/cat",), env={{}}, cwd=pathlib.Path("/"),
                    log=pathlib.Path({str(tmp_path / "log")!r}), stdin="inherit",
                ))
                async for event in processes.events():
                    if isinstance(event, Exited):
                        break

        asyncio.run(main())
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    subprocess.run(command, input=b"piped\xff", check=True, timeout=20, cwd=project())
    assert (tmp_path / "log").read_bytes() == b"piped\xff"


async def test_output_of_any_bytes_is_appended_to_the_log(bench: Bench) -> None:
    for _ in range(2):
        await bench.start("sh", "-c", r"printf '\377\000'; printf '\200\n' >&2")
        await bench.end_of()
        bench.events.clear()
    assert bench.output() == b"\xff\0\x80\n" * 2


async def test_100_mb_of_output_reach_the_log(bench: Bench) -> None:
    await bench.start("sh", "-c", "head -c 100000000 /dev/zero")
    end = await bench.end_of()
    assert isinstance(end, Exited)
    assert end.exit_code == 0
    log = bench.folder / "a.log"
    assert log.stat().st_size == 100_000_000
    log.unlink()


async def test_a_process_runs_even_if_its_log_cannot_be_opened(bench: Bench) -> None:
    nowhere = bench.folder / "gone" / "log"
    started = await bench.start("sh", "-c", "echo lost; exit 4", log=nowhere)
    assert isinstance(started, Started)
    missing = os.strerror(errno.ENOENT)
    assert started.log_error == f"cannot write the log {nowhere}: {missing}"
    end = await bench.end_of()
    assert isinstance(end, Exited)
    assert end.exit_code == 4


async def test_a_named_pipe_without_a_reader_as_log_does_not_block(bench: Bench) -> None:
    pipe = bench.folder / "pipe"
    os.mkfifo(pipe)
    started = await bench.start("true", log=pipe)
    assert isinstance(started, Started)
    assert started.log_error is not None


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
async def test_a_full_disk_fails_only_the_process_that_writes(bench: Bench) -> None:
    await bench.start("sh", "-c", "echo lost || exit 9", log=Path("/dev/full"))
    end = await bench.end_of()
    assert isinstance(end, Exited)
    assert end.exit_code == 9


@linux_only
async def test_a_process_inherits_three_descriptors_and_default_signals(bench: Bench) -> None:
    # The shell's builtins do not fork, so they show the process itself; Python, which changes the
    # signals, then replaces it.
    show = "while read -r line; do echo $line; done < /proc/$$/status; exec "
    show += f"{sys.executable} -I -S -c 'import os; print(os.listdir(\"/proc/self/fd\"))'"
    with socket.socket() as ours, open(os.devnull) as another:
        os.set_inheritable(ours.fileno(), True)
        os.set_inheritable(another.fileno(), True)
        await bench.start("sh", "-c", show)
        await bench.end_of()
    *status, descriptors = bench.output().decode().splitlines()
    assert descriptors == "['0', '1', '2', '3']"  # 3: the folder that is being listed
    masks = dict(line.split(": ") for line in status if line.startswith("Sig"))
    # 32 and 33 are reserved by the C library, which does not let programs set them.
    reachable = ~(0b11 << 31)
    assert int(masks["SigBlk"], 16) & reachable == 0
    assert int(masks["SigIgn"], 16) & reachable == 0


# --- leftovers of a process ------------------------------------------------------------------


def lives(pid: int) -> bool:
    """Return whether a process is running: a zombie that init has not reaped yet is not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


DAEMON = """
import os, sys, time
report = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(report, b"%d\\n" % os.getpid())
        os.closerange(0, 3)
        time.sleep(60)
    os._exit(0)
os.wait()
while not os.path.getsize(sys.argv[1]):
    time.sleep(0.001)
"""

FORKS = {
    "a child in the background": "sleep 60 & echo $! >> $REPORT",
    "a child that ignores hangup and term": (
        "(trap '' HUP TERM; echo ready; exec sleep 60) & echo $! >> $REPORT"
    ),
    "grandchildren": "sh -c 'sleep 60 & sleep 60 & echo $! >> $REPORT; wait' & "
    "while ! [ -s $REPORT ]; do :; done",
    "a child of its own session": (
        f"{sys.executable} -I -S -c 'import os, time; os.setsid(); time.sleep(60)' & "
        "echo $! >> $REPORT"
    ),
    "a daemon": f"{sys.executable} -I -S -c '{DAEMON}' $REPORT",
    "a stopped child": "sleep 60 & kill -STOP $!; echo $! >> $REPORT",
}


@pytest.mark.parametrize("what", FORKS)
async def test_leftovers_of_a_process_are_gone_when_its_end_is_reported(
    bench: Bench, what: str
) -> None:
    report = bench.folder / "report"
    env = {"PATH": PATH, "REPORT": str(report)}
    # A second process, so that nothing is attributed for lack of another owner.
    await bench.start("sleep", LONG, name="other")
    await bench.start("sh", "-c", f"{FORKS[what]}\nexit 6", env=env)
    end = await bench.end_of()
    assert isinstance(end, Exited)
    assert (end.exit_code, end.left) == (6, 0), bench.output()
    pids = [int(line) for line in report.read_text().split()]
    assert pids
    assert not any(map(lives, pids))
    assert list(bench.processes.running) == ["other"]
    assert len(psutil.Process(bench.processes.supervisor_pid).children()) == 1


@linux_only
async def test_a_daemon_that_shed_its_environment_is_gone_when_the_last_process_ends(
    bench: Bench,
) -> None:
    report = bench.folder / "report"
    await bench.start("sleep", LONG, name="other")
    await bench.python(
        f"""
            import os, time
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    os.execve("/bin/sh", ["sh", "-c", "echo $$; exec sleep {LONG}"], {{}})
                os._exit(0)
            os.wait()
            while not os.fstat(1).st_size:
                time.sleep(0.001)
            """,
        log=report,
    )
    await bench.end_of()
    daemon = psutil.Process(int(report.read_text()))
    await bench.processes.stop("other", grace_seconds=0)
    await bench.end_of("other")
    assert not lives(daemon.pid)


@linux_only
async def test_orphans_that_end_by_themselves_leave_no_zombie(
    bench: Bench, eventually: Eventually
) -> None:
    # 200 orphans: their parents end first, so that they become children of the supervisor.
    orphan = "for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.0$i &) ; done"
    await bench.start("sh", "-c", f"for n in $(seq 20); do {orphan}; done; echo ok; sleep 60")
    await bench.has_written(b"ok")
    supervisor = psutil.Process(bench.processes.supervisor_pid)
    await asyncio.to_thread(eventually, lambda: len(supervisor.children(recursive=True)) == 2)
    assert len(supervisor.children()) == 1


@linux_only
async def test_a_run_inside_a_run_ends_with_it(
    bench: Bench, make_run: Callable[[], str], alive: Alive, eventually: Eventually
) -> None:
    inner = make_run()

    await bench.start("sleep", LONG, name="other")
    await bench.start(*(sys.executable, "-c", parent_script(inner, bench.folder)), cwd=project())
    await asyncio.to_thread(eventually, lambda: len(alive(inner)) >= 4)
    await bench.processes.stop("a", grace_seconds=0)
    end = await bench.end_of()
    assert isinstance(end, Exited)
    assert end.left == 0
    assert alive(inner) == []


# --- the end of the parent and of the supervisor ---------------------------------------------


def project() -> Path:
    return Path(__file__).parents[2]


def parent_script(run: str, folder: Path, *, stubborn: bool = False, fork: bool = False) -> str:
    """Return a program that starts several kinds of processes and waits indefinitely."""
    daemon = folder / "daemon.py"
    daemon.write_text(DAEMON + "time.sleep(60)\n")
    return textwrap.dedent(f"""
        import asyncio, os, pathlib, sys, time
        from daskjob.backends.local.processes import Command, Processes, Started

        async def main():
            async with Processes({run!r}) as processes:
                folder = pathlib.Path({str(folder)!r})
                for name, argv in {{
                    "plain": ("/bin/sleep", "60"),
                    "shell": ("/bin/sh", "-c", {"trap '' TERM;" * stubborn + "sleep 60; :"!r}),
                    "daemon": (sys.executable, "-IS", {str(daemon)!r}, str(folder / "report")),
                }}.items():
                    command = Command(
                        id=name, argv=argv, env={{"PATH": os.environ["PATH"]}}, cwd=folder,
                        log=folder / (name + ".log"),
                    )
                    assert isinstance(await processes.start(command), Started)
                if {fork!r} and os.fork() == 0:
                    time.sleep(60)
                print("ready", flush=True)
                await asyncio.sleep(60)

        asyncio.run(main())
    """)


@contextlib.contextmanager
def parent(run: str, folder: Path, **how: bool) -> Iterator[subprocess.Popen[bytes]]:
    """Run a parent until its processes are started; kill it in the end."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", parent_script(run, folder, **how)],
        stdout=subprocess.PIPE,
        cwd=project(),
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_remains_when_the_parent_is_killed(
    run: str, tmp_path: Path, alive: Alive, eventually: Eventually, number: int
) -> None:
    with parent(run, tmp_path, stubborn=True) as process:
        eventually(lambda: (tmp_path / "report").exists() and (tmp_path / "report").stat().st_size)
        assert len(alive(run)) >= 5
        process.send_signal(number)
        eventually(lambda: not alive(run))


def test_nothing_remains_when_the_parent_is_interrupted(
    run: str, tmp_path: Path, alive: Alive
) -> None:
    with parent(run, tmp_path) as process:
        process.send_signal(signal.SIGINT)
        process.wait(15)
        assert alive(run) == []


@linux_only
def test_nothing_remains_when_a_fork_of_the_killed_parent_holds_the_socket(
    run: str, tmp_path: Path, alive: Alive, eventually: Eventually
) -> None:
    with parent(run, tmp_path, fork=True) as process:
        process.kill()
        eventually(lambda: not alive(run))


@linux_only
def test_processes_die_with_a_killed_supervisor_even_without_a_parent(
    run: str, tmp_path: Path, alive: Alive, eventually: Eventually
) -> None:
    with parent(run, tmp_path) as process:
        supervisor = next(child for child in psutil.Process(process.pid).children())
        # An adopted daemon is killed by the sweep instead.
        mains = [child for child in supervisor.children() if os.getsid(child.pid) == child.pid]
        assert len(mains) >= 3
        process.send_signal(signal.SIGSTOP)  # so that it does not sweep
        supervisor.kill()
        eventually(lambda: not any(lives(main.pid) for main in mains))
        process.kill()
        sweep(run)
        assert alive(run) == []


async def test_a_killed_supervisor_is_reported_for_each_process_and_nothing_remains(
    bench: Bench, run: str, alive: Alive, eventually: Eventually
) -> None:
    daemon = bench.folder / "daemon.py"
    daemon.write_text(DAEMON + "time.sleep(60)\n")
    report = bench.folder / "report"
    await bench.start(sys.executable, "-IS", str(daemon), str(report))
    await bench.start("sh", "-c", IGNORES_TERM, name="b")
    await bench.has_written(b"ready", "b")
    await asyncio.to_thread(eventually, lambda: report.exists() and report.stat().st_size)
    assert bench.processes.supervisor_pid is not None
    os.kill(bench.processes.supervisor_pid, signal.SIGKILL)
    for name in ("a", "b"):
        end = await bench.end_of(name)
        assert isinstance(end, SupervisorLost)
        assert end.error == "the process that ran it was killed by SIGKILL"
    assert alive(run) == []
    assert not bench.processes.running
    rejected = await bench.start("true", name="c")
    assert isinstance(rejected, NotRunning)


async def test_a_start_is_rejected_when_the_supervisor_is_killed_meanwhile(bench: Bench) -> None:
    assert bench.processes.supervisor_pid is not None
    os.kill(bench.processes.supervisor_pid, signal.SIGSTOP)
    start = asyncio.create_task(bench.start("sleep", LONG))
    await asyncio.sleep(0)
    os.kill(bench.processes.supervisor_pid, signal.SIGKILL)
    rejected = await asyncio.wait_for(start, 15)
    assert isinstance(rejected, NotRunning)
    assert "SIGKILL" in rejected.error


async def test_a_terminated_supervisor_stops_its_processes_and_reports_their_ends(
    bench: Bench,
) -> None:
    await bench.start("sleep", LONG)
    assert bench.processes.supervisor_pid is not None
    os.kill(bench.processes.supervisor_pid, signal.SIGTERM)
    end = await bench.end_of()
    assert isinstance(end, Exited)
    assert end.signal == signal.SIGTERM


async def test_closing_stops_everything_within_the_grace(
    run: str, tmp_path: Path, alive: Alive
) -> None:
    async with bench_of(run, tmp_path) as made:
        await made.start("sh", "-c", IGNORES_TERM)
        await made.start("sleep", LONG, name="b")
        await made.has_written(b"ready")
        before = time.monotonic()
        await made.processes.close(grace_seconds=0.3)
        assert 0.3 <= time.monotonic() - before < 3
        assert alive(run) == []
        first, second = await made.end_of("a"), await made.end_of("b")
        assert isinstance(first, Exited)
        assert isinstance(second, Exited)
        assert (first.signal, second.signal) == (signal.SIGKILL, signal.SIGTERM)


async def test_closing_again_shortens_the_grace(bench: Bench) -> None:
    await bench.start("sh", "-c", IGNORES_TERM)
    await bench.has_written(b"ready")
    patient = asyncio.create_task(bench.processes.close(grace_seconds=60))
    await asyncio.sleep(0)
    await asyncio.wait_for(bench.processes.close(grace_seconds=0), 10)
    await asyncio.wait_for(patient, 10)


async def test_a_cancelled_close_leaves_nothing(run: str, tmp_path: Path, alive: Alive) -> None:
    async with bench_of(run, tmp_path) as made:
        await made.start("sh", "-c", IGNORES_TERM)
        await made.has_written(b"ready")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(made.processes.close(grace_seconds=60), 0.05)
        await made.end_of()
        assert alive(run) == []


def test_a_loop_that_ends_without_closing_leaves_nothing(
    run: str, tmp_path: Path, alive: Alive
) -> None:
    async def test() -> None:
        processes = Processes(run)
        await processes.open()
        command = Command(
            id="a", argv=("sleep", LONG), env={"PATH": PATH}, cwd=tmp_path, log=tmp_path / "log"
        )
        assert isinstance(await processes.start(command), Started)

    asyncio.run(test())
    assert alive(run) == []


async def test_a_cancelled_start_leaves_nothing(bench: Bench) -> None:
    start = asyncio.create_task(bench.start("sleep", LONG))
    await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    end = await bench.end_of()
    assert isinstance(end, Exited)
    assert end.signal == signal.SIGKILL


# --- many -------------------------------------------------------------------------------------


async def test_concurrent_runs_do_not_affect_each_other(
    make_run: Callable[[], str], tmp_path: Path, alive: Alive
) -> None:
    one, two = make_run(), make_run()

    async with bench_of(one, tmp_path) as first, bench_of(two, tmp_path) as second:
        for made in (first, second):
            assert isinstance(await made.start("sleep", LONG), Started)
        await first.processes.close(grace_seconds=5)
        assert alive(one) == []
        assert len(alive(two)) == 2
        assert sweep(one) == 0
        # A marker that is a prefix of another one is a different one.
        assert sweep(two[:-1]) == 0
        assert list(second.processes.running) == ["a"]
        assert not any(isinstance(event, Exited) for event in second.events)


def test_sweeping_kills_marked_processes_their_sessions_and_descendants(
    make_run: Callable[[], str],
) -> None:
    run, other = make_run(), make_run()
    shed = "env -i sleep 60 & echo $!; wait"
    common: dict[str, Any] = {"stdout": subprocess.PIPE, "start_new_session": True}
    with (
        subprocess.Popen(
            ["sh", "-c", shed], env={"PATH": PATH, "DASKJOB_PROCESS": f"{run}/a"}, **common
        ) as mine,
        subprocess.Popen(
            ["sleep", LONG], env={"PATH": PATH, "DASKJOB_PROCESS": f"{other}/a"}, **common
        ) as foreign,
    ):
        try:
            assert mine.stdout is not None
            child = psutil.Process(int(mine.stdout.readline()))
            assert sweep(run) == 2
            mine.wait(10)
            assert not lives(child.pid)
            assert foreign.poll() is None
            assert sweep(run) == 0
            assert sweep(other) == 1
        finally:
            mine.kill()
            foreign.kill()


def test_sweeping_spares_an_unmarked_session_in_which_a_marked_process_was_started(
    run: str, eventually: Eventually
) -> None:
    # A user's own shell, in which the environment of a job was tried by hand.
    script = f"env DASKJOB_PROCESS={run}/a sleep 60 & sleep 60 & echo $! $$; wait; echo no"
    with subprocess.Popen(
        ["sh", "-c", f"{script}; sleep 60"], stdout=subprocess.PIPE, start_new_session=True
    ) as shell:
        try:
            assert shell.stdout is not None
            pids = [int(pid) for pid in shell.stdout.readline().split()]
            eventually(lambda: sweep(run) == 1)  # as soon as env has set the variable
            assert sweep(run) == 0
            assert all(map(lives, pids))
        finally:
            os.killpg(shell.pid, signal.SIGKILL)


@pytest.mark.parametrize("session", [-1, 0, 1, 700])
def test_a_process_of_ours_in_a_foreign_session_makes_no_other_process_ours(
    monkeypatch: pytest.MonkeyPatch, session: int
) -> None:
    claims = {"a": Claim("a", 501)}
    process = process_table.Process
    table = {
        700: process(700, 1, 700, True),  # a user's shell
        701: process(701, 700, session, True),  # a process in it
        501: process(501, 1, 501, True),  # ours
        502: process(502, 501, session, True),  # its child, in a session that it did not create
    }
    for row in table.values():
        row.marker = b""
    monkeypatch.setattr(process_table, "process_table", lambda: table)
    for _ in range(2):  # the second time, too, no session is learned
        assert owners("r1", claims, keeps_orphans=False) == {501: "a", 502: "a"}


def test_a_leftover_belongs_to_its_id_until_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    # Both leftovers show no environment any more while they end: first the one that has created
    # their session, which is thus not known; then, killed, the other one.
    claims = {"a": Claim("a", 501), "b": Claim("b", 601)}
    claims["a"].status = 0
    supervisor = os.getpid()

    def owners_of(*rows: tuple[int, bytes]) -> dict[int, str]:
        table = {pid: process_table.Process(pid, supervisor, 502, True) for pid, _ in rows}
        for pid, marker in rows:
            table[pid].marker = marker
        monkeypatch.setattr(process_table, "process_table", lambda: table)
        return owners("r1", claims, keeps_orphans=True)

    assert owners_of((502, b""), (503, b"r1/a")) == {502: "", 503: "a"}
    assert owners_of((502, b""), (503, b"")) == {502: "", 503: "a"}
    # Later, another process has its number, which is that of no leftover any more.
    assert owners_of((502, b"")) == {502: ""}
    assert owners_of((502, b""), (503, b"")) == {502: "", 503: ""}


async def test_50_processes_start_run_and_end(bench: Bench, alive: Alive, run: str) -> None:
    names = [f"w{n}" for n in range(50)]
    answers = await asyncio.gather(
        *(bench.start("sh", "-c", f"exit {n}", name=name) for n, name in enumerate(names))
    )
    assert all(isinstance(answer, Started) for answer in answers)
    codes = [await bench.end_of(name) for name in names]
    assert [end.exit_code for end in codes if isinstance(end, Exited)] == list(range(50))
    await asyncio.gather(*(bench.start("sleep", LONG, name=name) for name in names))
    assert len(bench.processes.running) == 50
    assert len(alive(run)) == 51


@linux_only
async def test_the_supervisor_keeps_no_descriptor_of_ended_processes_and_sleeps(
    bench: Bench,
) -> None:
    supervisor = psutil.Process(bench.processes.supervisor_pid)
    await bench.start("sleep", LONG, name="other")
    before = supervisor.num_fds()
    for n in range(20):
        await bench.start("sh", "-c", "sleep 60 &", name=f"p{n}")
        await bench.start("/no/such/program", name=f"r{n}")
        await bench.start("true", name=f"l{n}", log=Path("/no/such/log"))
    for n in range(20):
        await bench.end_of(f"p{n}")
        await bench.end_of(f"l{n}")
    assert supervisor.num_fds() == before
    assert len(supervisor.children()) == 1
    wakes = supervisor.num_ctx_switches().voluntary
    await asyncio.sleep(0.3)  # the measured period: an idle supervisor does not wake
    assert supervisor.num_ctx_switches().voluntary - wakes <= 1


# --- the supervisor itself -------------------------------------------------------------------


class Wire:
    """A supervisor with a raw connection to its socket."""

    def __init__(self, run: str) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", supervisor_main.__file__, str(theirs.fileno()), run],
                pass_fds=[theirs.fileno()],
                stdout=subprocess.DEVNULL,
            )
        self.socket = ours
        self.socket.settimeout(15)
        self.lines = ours.makefile("rb")

    def send(self, request: object) -> None:
        line = request if isinstance(request, bytes) else json.dumps(request).encode()
        self.socket.sendall(line + b"\n")

    def receive(self) -> dict[str, Any]:
        event = json.loads(self.lines.readline())
        assert isinstance(event, dict)
        return event

    def close(self) -> int:
        self.lines.close()
        self.socket.close()
        return self.process.wait(15)


@pytest.fixture
def wire(run: str) -> Iterator[Wire]:
    made = Wire(run)
    yield made
    made.close()


def test_the_protocol_is_as_documented(wire: Wire, tmp_path: Path) -> None:
    start = {"op": "start", "id": "pod/main", "argv": ["/bin/sleep", LONG], "env": {}}
    wire.send({**start, "cwd": "/", "log": str(tmp_path / "log"), "stdin": "null"})
    started = wire.receive()
    pid, at = started.pop("pid"), started.pop("at")
    assert started == {"event": "started", "id": "pod/main"}
    assert psutil.Process(pid).cmdline() == ["/bin/sleep", LONG]
    assert abs(at - time.time()) < 15
    wire.send({**start, "cwd": "/", "log": str(tmp_path / "log")})
    rejected = wire.receive()
    assert rejected == {
        "event": "rejected",
        "id": "pod/main",
        "error": f"pod/main is still running (pid {pid})",
    }
    wire.send({"op": "stop", "id": "pod/main", "graceSeconds": 5})
    exited = wire.receive()
    assert exited.pop("at") >= at
    assert exited == {"event": "exited", "id": "pod/main", "exitCode": None, "signal": 15}
    wire.send({"op": "shutdown", "graceSeconds": 0})
    assert wire.lines.readline() == b""
    assert wire.process.wait(15) == 0


GOOD = {"op": "start", "id": "a", "argv": ["true"], "env": {}, "cwd": "/", "log": "/dev/null"}


@pytest.mark.parametrize(
    "request_",
    [
        b"{",
        b"\xff\xfe\xfa",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        b"9" * 10_000,
        {"op": "dance"},
        {"op": ["start"]},
        {"op": "stop"},
        {"op": "stop", "id": 7},
        {"op": "stop", "id": ""},
        {"op": "stop", "id": "a", "graceSeconds": -1},
        {"op": "stop", "id": "a", "graceSeconds": "soon"},
        {"op": "stop", "id": "a", "graceSeconds": True},
        b'{"op": "shutdown", "graceSeconds": NaN}',
        {"op": "start"},
        {"op": "start", "id": {}},
    ],
)
def test_a_malformed_request_is_answered_and_harmless(wire: Wire, request_: object) -> None:
    wire.send(request_)
    event = wire.receive()
    assert event["event"] == "error"
    assert event["error"].startswith("malformed request: ")
    wire.send(b"")
    wire.send(GOOD)
    assert wire.receive()["event"] == "started"


@pytest.mark.parametrize(
    "change",
    [
        {"argv": []},
        {"argv": "true"},
        {"argv": [1]},
        {"argv": [""]},
        {"argv": ["true", "\ud800"]},
        {"env": None},
        {"env": {"A": 1}},
        {"env": {"": "a"}},
        {"cwd": None},
        {"log": None},
        {"stdin": "tty"},
    ],
)
def test_a_malformed_start_is_rejected(wire: Wire, change: dict[str, object]) -> None:
    wire.send({**GOOD, **change})
    event = wire.receive()
    assert (event["event"], event["id"]) == ("rejected", "a")
    assert event["error"].startswith("malformed request: ")


def test_a_grace_that_overflows_the_clock_is_accepted(wire: Wire) -> None:
    wire.send({**GOOD, "argv": ["/bin/sleep", LONG]})
    assert wire.receive()["event"] == "started"
    wire.send(b'{"op": "stop", "id": "a", "graceSeconds": 1' + b"0" * 400 + b"}")
    assert wire.receive()["signal"] == signal.SIGTERM


def test_a_parent_that_does_not_read_does_not_block_the_supervisor(wire: Wire) -> None:
    for n in range(5000):  # the answers exceed the socket's buffer
        wire.send({**GOOD, "id": f"{n}-" + "x" * 200, "argv": []})
    for n in range(5000):
        assert wire.receive()["id"].startswith(f"{n}-")


def test_an_endless_request_is_dropped_and_the_next_one_accepted(wire: Wire) -> None:
    wire.send(b"x" * (supervisor_module.MAX_REQUEST_BYTES + 5_000_000))
    assert "exceeds" in wire.receive()["error"]
    wire.send(GOOD)
    assert wire.receive()["event"] == "started"


def test_a_supervisor_whose_parent_hangs_up_exits_with_0(run: str, alive: Alive) -> None:
    wire = Wire(run)
    wire.send({**GOOD, "argv": ["/bin/sleep", LONG]})
    assert wire.receive()["event"] == "started"
    assert wire.close() == 0
    assert alive(run) == []


def test_processes_are_found_in_the_output_of_ps_on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    def session(pid: int) -> int:
        if pid == 505:
            raise ProcessLookupError
        return pid

    monkeypatch.setattr(os, "getsid", session)
    output = b"""\
        1     0 Ss   /sbin/launchd
      501     1 S    /usr/bin/python3 -m daemon PATH=/bin DASKJOB_PROCESS=r1/pod/main LANG=C
      502   501 Z    (python3)
      503     1 S    grep DASKJOB
      504   501 R    /bin/ps -axEww
      505   501 S    ended-meanwhile
    """
    table = process_table.table_from_ps(output, 504)
    assert sorted(table) == [1, 501, 502, 503]
    assert table[501].marker == b"r1/pod/main"
    assert (table[502].parent, table[502].alive) == (501, False)
    assert table[503].marker == b""


# --- streams of one's own --------------------------------------------------------------------


async def test_a_process_gets_the_streams_that_were_passed(bench: Bench, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("in", "out", "err")]
    paths[0].write_text("from in\n")
    files = [os.open(path, os.O_RDWR | os.O_CREAT) for path in paths]
    try:
        for name in ("a", "b"):
            command = Command(
                id=name,
                argv=(
                    "sh",
                    "-c",
                    "read line; echo out $line; echo err >&2; ls /proc/self/fd | wc -l",
                ),
                env={"PATH": PATH},
                cwd=tmp_path,
                log=tmp_path / "none.log",
                streams=Streams(files[0], files[1], files[2]),
            )
            assert isinstance(await bench.processes.start(command), Started)
            await bench.end_of(name)
            os.lseek(files[0], 0, os.SEEK_SET)
    finally:
        for file in files:
            os.close(file)
    out = paths[1].read_text()
    assert out.count("out from in\n") == 2
    # Its three streams and the folder that it lists: no descriptor of the supervisor.
    assert out.splitlines()[1] == "4"
    assert paths[2].read_text() == "err\nerr\n"
    assert not (tmp_path / "none.log").exists()


async def test_a_process_controls_the_terminal_that_it_was_passed(
    bench: Bench, tmp_path: Path
) -> None:
    ours, theirs = os.openpty()
    script = (
        "import os; print(os.tcgetpgrp(0) == os.getpgrp(), os.ttyname(0) == os.ttyname(1)); "
        "open('/dev/tty', 'w').write('to tty')"
    )
    command = Command(
        id="a",
        argv=(*PYTHON, script),
        env={"PATH": PATH},
        cwd=tmp_path,
        log=tmp_path / "none.log",
        streams=Streams(theirs, theirs, theirs, controls_terminal=True),
    )
    await bench.processes.start(command)
    end = await bench.end_of()
    assert isinstance(end, Exited)
    assert end.exit_code == 0
    assert os.read(ours, 1000) == b"True True\r\nto tty"
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("streams", ["pipes", "terminal", "other"])
def test_a_start_whose_streams_did_not_arrive_is_rejected(
    wire: Wire, tmp_path: Path, streams: str
) -> None:
    wire.send({**GOOD, "cwd": "/", "log": str(tmp_path / "log"), "streams": streams})
    event = wire.receive()
    assert event["event"] == "rejected"
    assert "streams" in event["error"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_folder_of_a_lost_run_is_removed_by_its_supervisor(
    run: str, tmp_path: Path, number: signal.Signals, alive: Alive
) -> None:
    folder = tmp_path / "scratch"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "file").write_text("text")
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT_WITH_FOLDER, run, str(folder), stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"ready\n"
    assert folder.exists()
    parent.send_signal(number)
    await parent.wait()
    await until(lambda: not folder.exists(), 10, "the folder is removed")
    await until(lambda: not alive(run), 10, "the supervisor has ended")


PARENT_WITH_FOLDER = """\
import asyncio, sys
from pathlib import Path
from daskjob.backends.local.processes import Processes

async def main():
    async with Processes(sys.argv[1]) as processes:
        await processes.remove_when_lost(Path(sys.argv[2]))
        print("ready", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""
