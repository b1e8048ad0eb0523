"""On a terminal the script has one too, below whose output one live line is drawn."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
from datetime import timedelta

import pytest

from daskjob.core.status import job_status_from
from tests.cli.command import Daskjob
from tests.cli.terminal import terminal
from tests.waiting import wait_until

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
    rows = screen.rows()
    for text in ("first", "45", "no newline at the end"):
        assert text in rows
    assert b"1/1 workers" in screen.seen
    assert rows[-1].startswith("daskjob: shown succeeded in")


INTERRUPTED = """\
import atexit, signal, sys, time
count = []
{ignore}
atexit.register(lambda: print("at exit"))
print("ready", flush=True)
try:
    time.sleep(600)
except KeyboardInterrupt:
    print("saved")
finally:
    print("finally")
sys.exit({code})
"""


@pytest.mark.parametrize("code", [0, 7])
def test_ctrl_c_is_sigint_to_the_script_once_and_the_run_ends_with_123(
    daskjob: Daskjob, code: int
) -> None:
    script = daskjob.script(INTERRUPTED.format(code=code, ignore=""))
    with terminal(daskjob, "run", "-w", 0, script) as screen:
        screen.wait_for(b"ready")
        screen.press(b"\x03")
        assert screen.end() == 123
    rows = [row for row in screen.rows() if row in ("saved", "finally", "at exit")]
    assert rows == ["saved", "finally", "at exit"]
    assert "killing" not in "".join(screen.rows())
    assert daskjob.status()["reason"] == "Cancelled"


GRACE = """\
import signal, time
asked = []
signal.signal(signal.SIGINT, lambda *_: asked.append(1))
print("ready", flush=True)
while not asked:
    time.sleep(0.01)
for _ in range(25):
    time.sleep(0.1)
print("saved", flush=True)
"""


def test_a_cancelled_script_has_its_grace_period_in_the_line_and_in_the_time(
    daskjob: Daskjob,
) -> None:
    with terminal(daskjob, "run", "-w", 0, daskjob.script(GRACE)) as screen:
        screen.wait_for(b"ready")
        screen.press(b"\x03")
        screen.wait_for(b"Cancelling ")
        assert screen.end() == 123
    assert b"Cancelled " not in screen.seen
    took = job_status_from(daskjob.status()).took
    assert took is not None
    assert took >= timedelta(seconds=2)


def test_a_terminal_of_unknown_size_has_80_columns(daskjob: Daskjob) -> None:
    with terminal(daskjob, "run", "-w", 0, daskjob.script("1 / 0"), columns=0) as screen:
        assert screen.end() == 1
    assert b"ZeroDivisionError: division by zero." in screen.seen


def test_a_script_that_ignores_sigint_and_sigterm_is_killed_by_a_second_ctrl_c(
    daskjob: Daskjob,
) -> None:
    script = daskjob.script(
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGINT, lambda *_: print('interrupted', flush=True))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.05)\n"
    )
    with terminal(daskjob, "run", "-w", 0, script) as screen:
        screen.wait_for(b"ready")
        screen.press(b"\x03")
        screen.wait_for_row("interrupted")
        screen.press(b"\x03")
        # Its grace is 10 s.
        assert screen.end(seconds=8) == 123
    assert screen.rows()[-1].startswith("daskjob: for details")


CLOSED = {
    "quiet": "import time\nprint('ready', flush=True)\ntime.sleep(600)\n",
    "printing": "import time\nprint('ready', flush=True)\nwhile True:\n"
    "    print('more', flush=True)\n    time.sleep(0.01)\n",
    "reading": "print('ready', flush=True)\ntry:\n    input()\nexcept EOFError:\n"
    "    import time\n    time.sleep(600)\n",
}


@pytest.mark.parametrize("kind", CLOSED)
def test_terminal_that_closes_ends_the_run_with_123(daskjob: Daskjob, kind: str) -> None:
    with terminal(daskjob, "run", "-w", 0, daskjob.script(CLOSED[kind])) as screen:
        screen.wait_for(b"ready")
    _, status = os.waitpid(screen.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 123
    assert not daskjob.alive()
    assert daskjob.status()["reason"] == "Cancelled"


def test_nohup_keeps_the_run_when_its_terminal_closes(daskjob: Daskjob) -> None:
    text = "import pathlib, time\nprint('ready', flush=True)\n"
    text += "while not pathlib.Path('go').exists(): time.sleep(0.02)\nprint('done')\n"
    daskjob.script(text)
    (daskjob.work / "out").touch()
    shell = f"trap '' HUP; exec {sys.executable} -m daskjob run -w 0 script.py > out"
    with terminal(daskjob, shell=shell) as screen:
        wait_until(lambda: screen.read() and "ready" in (daskjob.work / "out").read_text())
    (daskjob.work / "go").touch()
    _, status = os.waitpid(screen.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert (daskjob.work / "out").read_text() == "ready\ndone\n"


def test_killed_with_sigkill_it_leaves_a_terminal_as_it_was_and_no_file(daskjob: Daskjob) -> None:
    script = daskjob.script("import time\nprint('ready', flush=True)\ntime.sleep(600)\n")
    with terminal(daskjob, "run", "-w", 0, script) as screen:
        before = termios.tcgetattr(screen.descriptor)[3]
        screen.wait_for(b"ready")
        wait_until(lambda: termios.tcgetattr(screen.descriptor)[3] != before)
        os.kill(screen.pid, signal.SIGKILL)
        os.waitpid(screen.pid, 0)
        wait_until(lambda: termios.tcgetattr(screen.descriptor)[3] == before, 10)
        wait_until(lambda: not daskjob.left_over(), 10, lambda: str(daskjob.left_over()))


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
    assert "go on? yes" in screen.rows()


KEYS = """\
import getpass, sys
name = input("name? ")
print("hello", name)
word = getpass.getpass("word? ")
print("a word of", len(word))
breakpoint()
print("after")
"""


def test_input_getpass_and_breakpoint_get_the_keys(daskjob: Daskjob) -> None:
    with terminal(daskjob, "run", "-w", 0, daskjob.script(KEYS)) as screen:
        screen.wait_for_row("name?")
        screen.press("Zoë\r".encode())
        screen.wait_for_row("word?")
        screen.press(b"secret\r")
        screen.wait_for_row("(Pdb)")
        screen.press(b"p name * 2\r")
        screen.wait_for_row("'ZoëZoë'")
        screen.press(b"c\r")
        assert screen.end() == 0
    rows = screen.rows()
    assert "name? Zoë" in rows
    assert "hello Zoë" in rows
    assert "a word of 6" in rows
    assert b"secret" not in screen.seen
    assert "after" in rows


ISATTY = "import os\nopen('seen', 'w').write(str([os.isatty(n) for n in range(3)]))\n"


@pytest.mark.parametrize(
    ("redirected", "expected"),
    [
        ("", [True, True, True]),
        ("2>/dev/null", [True, True, False]),
        ("| cat", [True, False, True]),
        ("</dev/null", [False, True, True]),
        (">out 2>&1", [True, False, False]),
    ],
)
def test_each_stream_of_the_script_is_a_terminal_if_ours_is(
    daskjob: Daskjob, redirected: str, expected: list[bool]
) -> None:
    daskjob.script(ISATTY)
    shell = f"{sys.executable} -m daskjob run -w 0 script.py {redirected}"
    with terminal(daskjob, shell=shell) as screen:
        assert screen.end() == 0
    assert (daskjob.work / "seen").read_text() == str(expected)


SIZES = """\
import os, signal, time
def show(*_):
    print("size", os.get_terminal_size().columns, flush=True)
signal.signal(signal.SIGWINCH, show)
show()
while True: time.sleep(0.05)
"""


def test_script_has_the_size_of_the_window_and_follows_it(daskjob: Daskjob) -> None:
    with terminal(daskjob, "run", "-w", 0, daskjob.script(SIZES), columns=77) as screen:
        screen.wait_for_row("size 77")
        screen.resize(52)
        screen.wait_for_row("size 52")
        screen.press(b"\x03")
        assert screen.end() == 123


BUSY = """\
import pathlib, time
from distributed import Client
def stage_one_with_a_long_name(n):
    while not pathlib.Path("go").exists():
        time.sleep(0.05)
client = Client()
futures = client.map(stage_one_with_a_long_name, range(5))
print("begun", flush=True)
client.gather(futures)
"""


@pytest.mark.parametrize(
    ("name", "columns"),
    [("a", 40), ("a-name-of-a-job-that-is-longer-than-40-columns", 40), ("b", 200)],
)
def test_the_line_takes_one_row_and_shows_the_stage_at_every_width(
    daskjob: Daskjob, name: str, columns: int
) -> None:
    script = daskjob.script(BUSY)
    with terminal(
        daskjob, "run", "-w", 1, "-t", 1, "--name", name, script, columns=columns
    ) as screen:
        row = screen.wait_for_row(" stage")
        assert "Running" in row
        assert "0/5" in row
        assert [r for r in screen.rows() if "/5" in r] == [row]
        if columns == 200:
            assert "stage_one_with_a_long_name" in row
            assert "1/1 workers" in row
            assert "MiB" in row
        (daskjob.work / "go").touch()
        assert screen.end() == 0
    assert b"[bold]" not in screen.seen
    assert "0/5" not in "".join(screen.rows())


BARS = """\
import sys, time
from distributed import Client
client = Client()
for n in range(4):
    if n == 1: client.submit(print, "from a task").result()
    sys.stdout.write(f"\\r{n * 25}% of bar one"); sys.stdout.flush()
    sys.stdout.write(f"\\n\\r{n * 25}% of bar two\\x1b[A"); sys.stdout.flush()
    time.sleep(0.3)
print("\\n\\nend")
"""


def test_two_bars_of_a_script_are_not_garbled(daskjob: Daskjob) -> None:
    with terminal(daskjob, "run", "-w", 1, daskjob.script(BARS)) as screen:
        screen.wait_for_row("75% of bar one")
        wait_until(lambda: screen.read() and daskjob.status().get("schedulerIdentity"), 30)
        # The next update of the screen would show that it is running.
        screen.read_for(0.5)
        (daskjob.work / "go").touch()
        assert screen.end() == 0
    rows = screen.rows()
    assert "is starting 1 worker" in rows[0]
    assert rows[1:4] == ["75% of bar one", "75% of bar two", "end"]
    # It came while the bars were drawn, and waited.
    assert rows[4].endswith("from a task")


@pytest.mark.parametrize(
    "text",
    [
        "progress 1\rprogress 2\rprogress 3\n",
        "a\bb\a\x1b[32mgreen\x1b[0m\tend\n",
        "\x1b[1mbold \u65e5\u672c\u8a9e wide\n",
    ],
)
def test_bytes_of_the_script_are_unchanged(daskjob: Daskjob, text: str) -> None:
    script = daskjob.script(f"print({text!r}, end='')")
    with terminal(daskjob, "run", "-w", 0, script) as screen:
        assert screen.end() == 0
    assert text.replace("\n", "\r\n").encode() in screen.seen
    assert (
        text.encode()
        in daskjob.log(next(iter(daskjob.jobs()))["metadata"]["name"] + "-runner").read_bytes()
    )


STOPS = "import time\nfor n in range(10000):\n    print(n, flush=True)\n    time.sleep(0.02)\n"


def test_ctrl_z_stops_the_script_and_fg_continues_it(daskjob: Daskjob) -> None:
    script = daskjob.script(STOPS)
    shell = f"set -m; {sys.executable} -m daskjob run -w 0 {script}; echo stopped; sleep 0.5; fg"
    with terminal(daskjob, shell=shell) as screen:
        wait_until(lambda: screen.read() and "5" in screen.all_rows(), 30)
        screen.press(b"\x1a")
        screen.wait_for(b"stopped\r\n")
        last = max(int(row) for row in screen.all_rows() if row.isdigit())

        def continued() -> list[int]:
            screen.read()
            rows = screen.all_rows()
            return [int(row) for row in rows[rows.index("stopped") :] if row.isdigit()]

        wait_until(lambda: continued(), 20, lambda: repr(screen.seen))
        # What the script printed before it stopped may still have been under way.
        assert continued()[0] <= last + 2
        screen.press(b"\x03")
        assert screen.end() == 123
