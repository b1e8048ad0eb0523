"""Measures the cost of the scheduler agent in a scheduler that runs 100,000 trivial tasks.

Rounds alternate between a scheduler without and one with the agent, each a new process with one new
worker; with the agent, every task must have been counted. The result is CPU time of the scheduler's
process: wall time depends on the worker, which is slower.

The ratio of two noisy numbers cannot show 3 %: two equal runs differ by more. So the agent's work
per transition is also measured amplified: a scheduler that does it 21 times against one that does
not, and the difference divided by 21, including distributed's overhead of the call. Last, the
agent's function is timed alone.

    python benchmarks/agent_overhead.py --tasks 100000 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from distributed import Client

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from daskjob.agent import TaskCounter  # noqa: E402 - the checkout, not what is installed
from daskjob.core.desired.agent import agent_environment  # noqa: E402

TOKEN = "benchmark"
START_SECONDS = 30.0


def trivial(*_: Any) -> None:
    return None


def graph(tasks: int) -> dict[Any, Any]:
    """A graph of this many tasks; the last one depends on all others."""
    keys: list[Any] = [("trivial-x", i) for i in range(tasks - 1)]
    return {**dict.fromkeys(keys, (trivial, 1)), "last-x": (trivial, keys)}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def started(
    arguments: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("DASK")}
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments], env=clean | environment, stdout=log, stderr=log
        )


def information(path: Path) -> dict[str, Any]:
    """Wait for the scheduler file, and return its content."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            found: dict[str, Any] = json.loads(path.read_text())
            return found
        except (OSError, ValueError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def agent_source(copies: int) -> str:
    """The agent, with its work per transition repeated by this number of copies."""
    source = (ROOT / "daskjob" / "agent.py").read_text()
    plugged_in = "    scheduler.add_plugin(agent, name=Agent.name)\n"
    assert plugged_in in source
    more = f"""    for number in range({copies}):
        copy = SchedulerPlugin()
        copy.transition = TaskCounts(scheduler.tasks).transition
        scheduler.add_plugin(copy, name=f"copy-{{number}}")
"""
    return source.replace(plugged_in, plugged_in + more)


def run(tasks: int, *, with_agent: bool, copies: int = 0) -> tuple[float, float]:
    """(CPU seconds of the scheduler, wall seconds) of one run."""
    environment = agent_environment(agent_source(copies), token=TOKEN) if with_agent else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "scheduler.json"
        scheduler = started(
            [
                "distributed.cli.dask_scheduler",
                "--host=127.0.0.1",
                "--port=0",
                "--dashboard-address=127.0.0.1:0",
                f"--scheduler-file={file}",
            ],
            folder,
            environment,
        )
        address = information(file)["address"]
        worker = started(
            [
                "distributed.cli.dask_worker",
                address,
                "--host=127.0.0.1",
                "--no-nanny",
                "--nthreads=30",
                "--no-dashboard",
                f"--local-directory={folder}",
            ],
            folder,
            {},
        )
        try:
            with Client(address, timeout=START_SECONDS) as client:
                client.wait_for_workers(1)
                work = graph(tasks)
                cpu, wall = cpu_seconds(scheduler.pid), time.perf_counter()
                client.get(work, "last-x")
                wall = time.perf_counter() - wall
                cpu = cpu_seconds(scheduler.pid) - cpu
                if with_agent:
                    check(information(file)["services"]["dashboard"], tasks)
        finally:
            for process in (worker, scheduler):
                process.kill()
                process.wait()
    return cpu, wall


def check(port: int, tasks: int) -> None:
    """Fail unless the agent counted exactly the tasks that ran."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/daskjob/v1/state", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=START_SECONDS) as response:
        counted = json.loads(response.read())["tasks"]
    assert counted["done"] == counted["total"] == tasks, counted


def microseconds_a_task() -> float:
    """CPU time of the agent's function alone, for the transitions of one task."""
    counts = TaskCounter({"key": SimpleNamespace(run_spec=1, state="waiting")})
    transition = counts.transition
    finished = {"nbytes": 1, "type": b"", "typename": "", "worker": "", "startstops": []}
    more = {"thread": 1, "metadata": {}, "run_id": 1}

    def one_task() -> None:
        transition("key", "released", "waiting", stimulus_id="x")
        transition("key", "waiting", "waiting", stimulus_id="x")
        transition("key", "waiting", "queued", stimulus_id="x")
        transition("key", "queued", "processing", stimulus_id="x")
        transition("key", "processing", "memory", stimulus_id="x", **finished, **more)
        transition("key", "memory", "released", stimulus_id="x")
        transition("key", "released", "forgotten", stimulus_id="x")

    return min(timeit.repeat(one_task, number=20_000, repeat=5)) / 20_000 * 1e6


def amplified(tasks: int) -> float:
    """Scheduler CPU of the agent per task in microseconds, measured with 21 times the work."""
    copies = 20
    without, _ = run(tasks, with_agent=False)
    with_copies, _ = run(tasks, with_agent=True, copies=copies)
    return (with_copies - without) / (copies + 1) / tasks * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for number in range(options.rounds):
        # The order alternates, so that a machine that slows down favours neither.
        for with_agent in (False, True) if number % 2 == 0 else (True, False):
            cpu, wall = run(options.tasks, with_agent=with_agent)
            found[with_agent].append((cpu, wall))
            label = "with agent   " if with_agent else "without agent"
            print(f"{label}  scheduler CPU {cpu:6.2f} s  wall {wall:6.2f} s", flush=True)
    medians = {
        key: [statistics.median(values) for values in zip(*runs, strict=True)]
        for key, runs in found.items()
    }
    for index, what in enumerate(("scheduler CPU", "wall")):
        ratio = medians[True][index] / medians[False][index]
        print(f"ratio of medians, {what}: {ratio:.3f}")
    total = medians[False][0] / options.tasks * 1e6
    more = statistics.median(amplified(options.tasks // 5) for _ in range(options.rounds))
    print(f"amplified 21 times: {more:.1f} us of {total:.0f} us per task ({more / total:.1%})")
    own = microseconds_a_task()
    print(f"the agent's function: {own:.2f} us of {total:.0f} us per task ({own / total:.1%})")


if __name__ == "__main__":
    main()
