"""On a terminal the log streams above a fixed line, and only daskjob gets a Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cli.command import Daskjob
from tests.waiting import wait_until


class Terminal:
    """A command on a terminal of 100 × 30, and its output."""

    def __init__(self, daskjob: Daskjob, *words: object) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(daskjob.work)
                command = [sys.executable, "-m", "daskjob", *map(str, words)]
                os.execve(sys.executable, command, daskjob.environment)
            finally:
                os._exit(70)
        size = struct.pack("HHHH", 30, 100, 0, 0)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, size)
        self.seen = b""

    def read(self) -> bool:
        """Read available output; return false once the terminal is closed."""
        ready, _, _ = select.select([self.descriptor], [], [], 0.05)
        if not ready:
            return True
        try:
            data = os.read(self.descriptor, 65536)
        except OSError:
            return False
        self.seen += data
        return bool(data)

    def wait_for(self, text: bytes) -> None:
        wait_until(lambda: self.read() and text in self.seen)

    def press(self, keys: bytes) -> None:
        os.write(self.descriptor, keys)

    def end(self) -> int:
        """Read all output and return the exit code."""
        wait_until(lambda: not self.read(), 30, lambda: repr(self.seen), pause=0)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


@contextmanager
def terminal(daskjob: Daskjob, *words: object) -> Iterator[Terminal]:
    screen = Terminal(daskjob, *words)
    try:
        yield screen
    finally:
        os.close(screen.descriptor)


TASKS = """\
import time
from distributed import Client
with Client() as client:
    futures = client.map(lambda n: time.sleep(0.05) or n, range(10))
    print("first")
    print(sum(client.gather(futures)))
    print("no newline at the end", end="")
"""


def test_log_streams_above_the_line_with_workers_and_tasks(daskjob: Daskjob) -> None:
    with terminal(daskjob, "run", "-w", 1, "--name", "shown", daskjob.script(TASKS)) as screen:
        assert screen.end() == 0
    for text in (b"first\r\n", b"45\r\n", b"no newline at the end", b"1/1 workers", b"10 tasks"):
        assert text in screen.seen, screen.seen
    assert b"shown succeeded in" in screen.seen


def test_ctrl_c_cancels_and_the_script_itself_is_not_interrupted(daskjob: Daskjob) -> None:
    script = daskjob.script(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: print('interrupted', flush=True))\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit('got SIGTERM'))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.05)\n"
    )
    with terminal(daskjob, "run", "-w", 0, script) as screen:
        screen.wait_for(b"ready")
        screen.press(b"\x03")
        assert screen.end() == 123
    assert b"cancelling" in screen.seen
    assert b"got SIGTERM" in screen.seen
    assert b"interrupted" not in screen.seen


def test_terminal_that_closes_ends_the_run(daskjob: Daskjob) -> None:
    script = daskjob.script("import time\nprint('ready', flush=True)\ntime.sleep(600)")
    with terminal(daskjob, "run", "-w", 0, script) as screen:
        screen.wait_for(b"ready")
    os.waitpid(screen.pid, 0)
    wait_until(lambda: not daskjob.alive(), seconds=15)
    assert daskjob.status()["reason"] == "Cancelled"


def test_output_into_a_pipe_is_unchanged_while_the_terminal_shows_the_line(
    daskjob: Daskjob,
) -> None:
    script = daskjob.script("import os\nos.write(1, bytes(range(256)))")
    ours, theirs = pty.openpty()
    try:
        done = daskjob.run(script, stderr=theirs)
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.code == 0
    assert done.out == bytes(range(256))


def test_dumb_terminal_gets_lines_and_no_colour(daskjob: Daskjob) -> None:
    daskjob.variables["TERM"] = "dumb"
    with terminal(daskjob, "run", "-w", 0, daskjob.script("print('mine')")) as screen:
        assert screen.end() == 0
    assert b"\x1b" not in screen.seen
    assert b"mine\r\n" in screen.seen


def test_escape_sequences_of_a_script_reach_the_terminal(daskjob: Daskjob) -> None:
    script = daskjob.script("print('\\x1b[31mred\\x1b[0m [bold]not markup[/bold]')")
    with terminal(daskjob, "run", "-w", 0, script) as screen:
        assert screen.end() == 0
    assert b"\x1b[31mred\x1b[0m [bold]not markup[/bold]" in screen.seen


def test_prompt_without_newline_of_a_long_line_loses_nothing(daskjob: Daskjob) -> None:
    script = daskjob.script("print('x' * 500)\nprint('ä' * 3, end='')")
    with terminal(daskjob, "run", "-w", 0, script) as screen:
        assert screen.end() == 0
    assert screen.seen.count(b"x") >= 500
    assert "äää".encode() in screen.seen


def test_script_sees_that_its_output_is_not_a_terminal(daskjob: Daskjob) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; print(sys.stdout.isatty())"],
        capture_output=True,
        check=True,
    )
    script = daskjob.script("import sys\nprint(sys.stdout.isatty())")
    assert daskjob.run(script).out == done.stdout


BAR = """\
import pathlib, sys, time

def until(name):
    while not pathlib.Path(name).exists():
        time.sleep(0.02)

sys.stderr.write("\\r 10% of it")
sys.stderr.flush()
until("two")
sys.stderr.write("\\r\\x1b[32m 20% of it\\x1b[0m")
sys.stderr.flush()
until("three")
sys.stderr.write("\\r 30% of it\\r")
sys.stderr.flush()
until("prompt")
print("\\ngo on? ", end="", flush=True)
until("end")
print("yes")
"""


def test_a_progress_bar_and_a_prompt_show_before_their_line_is_complete(daskjob: Daskjob) -> None:
    with terminal(daskjob, "run", "-w", 0, daskjob.script(BAR)) as screen:
        for text, then in (
            (b" 10% of it", "two"),
            (b" 20% of it", "three"),
            (b" 30% of it", "prompt"),
            (b"go on? ", "end"),
        ):
            screen.wait_for(text)
            (daskjob.work / then).touch()
        assert screen.end() == 0
    assert b"go on? yes\r\n" in screen.seen
