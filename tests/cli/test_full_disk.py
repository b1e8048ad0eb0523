"""A full disk under the state folder fails neither the script nor what is reported about it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Daskjob

NO_SPACE = "no space is left in the state folder"
#: Fills the state folder to the last byte while the run uses it.
FILL = """\
import os, pathlib
def fill():
    with open(pathlib.Path(os.environ["DASKJOB_STATE_DIR"], "filler"), "wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            try:
                while True: file.write(b"x" * size)
            except OSError:
                continue
"""
#: Tasks that print and log, on a worker whose log has no space.
TASKS = """\
from distributed import Client
import logging, sys
client = Client()
def noisy(n):
    print("n" * 1000, flush=True)
    logging.getLogger("distributed.worker").warning("w" * 1000)
    print("e" * 1000, file=sys.stderr, flush=True)
    return n
fill()
assert sum(client.gather(client.map(noisy, range(300)))) == 44850
"""


@pytest.fixture
def small_disk(daskjob: Daskjob) -> Iterator[Path]:
    """A state folder on a disk of 300 KiB."""
    daskjob.state.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(daskjob.state)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a file system")
    yield daskjob.state
    subprocess.run(["umount", "-l", str(daskjob.state)], check=True)


def test_tasks_that_print_and_log_do_not_fail(daskjob: Daskjob, small_disk: Path) -> None:
    script = daskjob.script(FILL + TASKS + "print('the end')\n")
    done = daskjob("run", "-w", 1, "--name", "full", script)
    assert (done.code, done.text) == (0, "the end\n")
    assert done.err.count(NO_SPACE) == 1
    assert daskjob("why", "full").text.startswith("full succeeded")
    (small_disk / "filler").unlink()
    assert "could not be written]" in daskjob("logs", "full", "--pod", "worker").text


@pytest.mark.parametrize(
    ("end", "code", "reason"),
    [
        ("raise ValueError('no data for 2024')", 1, "ValueError: no data for 2024"),
        ("raise SystemExit(7)", 7, "exited with code 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137, "SIGKILL"),
    ],
)
def test_why_is_true_after_a_script_that_filled_the_disk_and_failed(
    daskjob: Daskjob, small_disk: Path, end: str, code: int, reason: str
) -> None:
    del small_disk
    lines = "for n in range(2000): print(n, 'x' * 1000)\n"
    script = daskjob.script(f"{FILL}fill()\n{lines}{end}\n")
    # In one stream, the exception is the last line.
    done = daskjob.run("--name", "full", script, stderr=subprocess.STDOUT)
    assert done.code == code
    assert done.text.count("x" * 1000) == 2000
    assert done.text.count(NO_SPACE) == 1
    why = daskjob("why", "full").text
    assert reason in why
    assert "was killed;" not in why
    assert daskjob("logs", "full", "--tail", 1).text != ""


def test_run_on_a_disk_that_is_already_full_keeps_its_records_elsewhere(
    daskjob: Daskjob, small_disk: Path
) -> None:
    (small_disk / "filler").write_bytes(b"x" * 290 * 1024)
    done = daskjob.run("--name", "full", daskjob.script("print('the end')"))
    assert (done.code, done.text) == (0, "the end\n")
    assert "No space left on device" in done.err
    assert "later commands will not find the job" in done.err
    assert list(small_disk.iterdir()) == [small_disk / "filler"]
    for path in daskjob.temporary.iterdir():
        subprocess.run(["rm", "-r", str(path)], check=True)
