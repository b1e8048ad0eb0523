"""The streams of a script: two of them, whole, in order, and what tasks print beside them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cli.command import Daskjob
from tests.printed import QUIET
from tests.waiting import wait_until

WARNS = """\
import logging, sys, warnings
print("data,1")
warnings.warn("old")
logging.warning("logged")
print("to err", file=sys.stderr)
sys.stdout.buffer.write(bytes(range(256)))
print("data,2")
"""


def without_messages(err: bytes) -> bytes:
    return b"".join(
        line for line in err.splitlines(keepends=True) if not line.startswith(b"daskjob: ")
    )


def test_both_streams_are_what_python_gives(daskjob: Daskjob) -> None:
    script = daskjob.script(WARNS)
    python = subprocess.run([sys.executable, script], capture_output=True, check=True)
    done = daskjob.run(script)
    assert done.out == python.stdout
    assert without_messages(done.err.encode()) == python.stderr
    log = daskjob.log(daskjob.job()["metadata"]["name"] + "-runner").read_bytes()
    # Two pipes do not show the order of writes that follow each other immediately.
    assert sorted(log) == sorted(python.stdout + python.stderr)


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_two_streams_into_one_file_keep_their_order(daskjob: Daskjob, kind: str) -> None:
    script = daskjob.script(
        "import sys\nfor n in range(500):\n"
        "    print('out', n, flush=True)\n    print('err', n, file=sys.stderr, flush=True)\n"
    )
    expected = "".join(f"out {n}\nerr {n}\n" for n in range(500)).encode()
    if kind == "pipe":
        done = daskjob("run", "-q", "-w", 0, script, stderr=subprocess.STDOUT)
        out = done.out
    else:
        with open(daskjob.work / "both", "wb") as both:
            daskjob("run", "-q", "-w", 0, script, stdout=both, stderr=both)
        out = (daskjob.work / "both").read_bytes()
    assert out == expected
    assert daskjob.log(daskjob.job()["metadata"]["name"] + "-runner").read_bytes() == expected


def test_200000_lines_come_whole(daskjob: Daskjob) -> None:
    script = daskjob.script("for n in range(200_000): print('line', n)\n")
    done = daskjob.run("-q", script)
    assert done.out == "".join(f"line {n}\n" for n in range(200_000)).encode()


def test_a_slow_reader_delays_the_script_but_not_its_cancellation(daskjob: Daskjob) -> None:
    script = daskjob.script(
        "import sys\nprint('ready', flush=True)\n"
        "while True: sys.stdout.write('x' * 100_000); sys.stdout.flush()\n"
    )
    ours, theirs = os.pipe()
    process = daskjob.start("run", "-w", 0, "--name", "flood", script, stdout=theirs)
    os.close(theirs)
    wait_until(lambda: daskjob.state.exists() and daskjob.jobs())
    log = daskjob.log("flood-runner")
    wait_until(lambda: log.exists() and log.stat().st_size > 1_000_000)
    size = -1
    while log.stat().st_size != size:
        size = log.stat().st_size
        assert daskjob("list").code == 0
    assert size < 20_000_000
    process.terminate()
    wait_until(lambda: daskjob.status().get("reason") == "Cancelled")
    process.terminate()
    assert process.wait(10) == 123
    os.close(ours)
    assert process.stderr is not None
    process.stderr.close()


PRINTS = f"""\
{QUIET}
import logging, sys, warnings
from distributed import Client

def work(n):
    print("printed", n)
    logging.warning("logged %s", n)
    print("partial", n, end="", file=sys.stderr)
    return n

client = Client()
print(sum(client.gather(client.map(work, range(3)))))
"""


@pytest.mark.parametrize(
    ("option", "shown"), [((), True), (("--no-worker-output",), False), (("--quiet",), False)]
)
def test_what_tasks_print_and_log_is_shown_after_the_name_of_their_worker(
    daskjob: Daskjob, option: tuple[str, ...], shown: bool
) -> None:
    done = daskjob("run", "-w", 1, "--name", "p", *option, daskjob.script(PRINTS))
    assert (done.code, done.text) == (0, "3\n")
    for text in ("printed 2", "logged 0", "partial 1"):
        assert (text in done.err) is shown
    lines = [line for line in done.err.splitlines() if not line.startswith("daskjob: ")]
    assert all(line.startswith("[worker-") for line in lines)
    assert "distributed.worker - INFO" not in done.err
    logs = daskjob("logs", "--workers").text
    assert logs == daskjob("logs", "--pod", "worker").text
    assert "printed 2" in logs
    assert "distributed.worker - INFO" in logs
    assert all(line.startswith("[worker-") for line in logs.splitlines())
