"""A script under ``daskjob run`` compared with the same script using ``LocalCluster``.

Both run alternately, pair by pair, with the same workers and threads; the output is medians and
ratios of one run on one machine. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRIVIAL = "print(client.submit(sum, range(100)).result())"
#: Work that keeps every worker busy for a known time, in tasks of 50 ms of CPU.
BUSY = """
import time

def spin(number):
    end = time.process_time() + 0.05
    while time.process_time() < end:
        number += 1
    return number

print(len(client.gather(client.map(spin, range({tasks})))))
"""
WITH_CLUSTER = """
from distributed import Client, LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers={workers}, threads_per_worker=1) as cluster:
      with Client(cluster) as client:
{body}
"""
WITH_CLIENT = """
from distributed import Client

if __name__ == "__main__":
    with Client() as client:
{body}
"""


def main() -> None:
    """Compare a trivial script and one of about 30 s, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="pairs of the trivial script")
    parser.add_argument("--long-rounds", type=int, default=2, help="pairs of the long script")
    parser.add_argument("--seconds", type=float, default=30, help="how long the long script is")
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 4))
    options = parser.parse_args()
    tasks = int(options.seconds / 0.05 * options.workers)
    with tempfile.TemporaryDirectory() as folder:
        compare("trivial", TRIVIAL, options.workers, options.rounds, Path(folder))
        body = BUSY.format(tasks=tasks)
        name = f"{options.seconds:.0f} s"
        compare(name, body, options.workers, options.long_rounds, Path(folder))
        print_exit_time(Path(folder))
    print_help()


def compare(name: str, body: str, workers: int, rounds: int, folder: Path) -> None:
    """Run both forms of a script alternately; print the medians and their ratio."""
    indented = "\n".join("        " + line for line in body.strip().splitlines())
    ours, theirs = folder / "ours.py", folder / "theirs.py"
    ours.write_text(WITH_CLIENT.format(body=indented))
    theirs.write_text(WITH_CLUSTER.format(body=indented, workers=workers))
    command = [*daskjob(), "run", "--quiet", "--workers", str(workers), "--threads", "1", str(ours)]
    pairs = [
        (timed(command, folder), timed([sys.executable, str(theirs)], folder))
        for _ in range(rounds + 1)
    ][1:]
    walls = [statistics.median(pair[side][0] for pair in pairs) for side in (0, 1)]
    cpus = [statistics.median(pair[side][1] for pair in pairs) for side in (0, 1)]
    ratio, cpu_ratio = (
        statistics.median(a[figure] / b[figure] for a, b in pairs) for figure in (0, 1)
    )
    print(
        f"{name:>8}: daskjob run {walls[0]:6.2f} s wall {cpus[0]:6.2f} s CPU | "
        f"LocalCluster {walls[1]:6.2f} s wall {cpus[1]:6.2f} s CPU | wall ratio {ratio:.3f}, "
        f"CPU ratio {cpu_ratio:.3f} ({rounds} pairs)",
        flush=True,
    )


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Return wall and CPU seconds of a command with all its children."""
    environment = {**os.environ, "DASKJOB_STATE_DIR": str(folder / "state")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(f"{command} failed:\n{done.stderr.decode(errors='replace')}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def print_exit_time(folder: Path) -> None:
    """Print how long the command takes to end after the script has ended."""
    script = folder / "last.py"
    script.write_text(
        "import time\nfrom distributed import Client\n"
        "Client().submit(sum, [1]).result()\nprint(time.time(), flush=True)\n"
        "import os\nos._exit(0)\n"
    )
    command = [*daskjob(), "run", "--quiet", "--workers", "2", str(script)]
    environment = {**os.environ, "DASKJOB_STATE_DIR": str(folder / "state")}
    lags = []
    for _ in range(5):
        done = subprocess.run(command, capture_output=True, env=environment, check=True)
        lags.append(time.time() - float(done.stdout))
    print(f"script's exit to command's exit: median {statistics.median(lags):.2f} s of 5")


def print_help() -> None:
    """Print CPU time and imported modules of ``daskjob --help``."""
    cpus = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*daskjob(), "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    show = "import sys, daskjob.submit.cli; print(len(sys.modules))"
    count = subprocess.run([sys.executable, "-c", show], capture_output=True, check=True, text=True)
    bare = "import sys; print(len(sys.modules))"
    base = subprocess.run([sys.executable, "-c", bare], capture_output=True, check=True, text=True)
    modules = int(count.stdout) - int(base.stdout)
    print(f"daskjob --help: median {statistics.median(cpus):.3f} s CPU of 5; {modules} modules")


def daskjob() -> list[str]:
    """Return the command line of daskjob in this environment."""
    return [sys.executable, "-m", "daskjob"]


if __name__ == "__main__":
    main()
