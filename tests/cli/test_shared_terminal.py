"""Other programs use the same terminal: the reader of a pipe, a pager, the shell."""

from __future__ import annotations

import sys
import termios
from pathlib import Path

import pytest

from tests.cli.command import Daskjob
from tests.cli.terminal import terminal

RUN = f"{sys.executable} -m daskjob run -w 0 --name shared script.py"

#: Some updates of the live line.
UPDATES_SECONDS = 0.6

LINES = """\
import sys, time
print("first", flush=True)
time.sleep(0.5)
print("second " * 12, flush=True)
time.sleep(0.2)  # two programs that write at once share a row
print("error", file=sys.stderr, flush=True)
time.sleep(0.5)
print("last")
"""


@pytest.mark.parametrize("pipe", ["| cat", "| tee log", "2>&1 | cat", "| (sleep 0.3; cat)"])
def test_where_the_reader_of_a_pipe_writes_no_line_is_drawn(daskjob: Daskjob, pipe: str) -> None:
    daskjob.script(LINES)
    with terminal(daskjob, shell=f"{RUN} {pipe}; exit ${{PIPESTATUS[0]}}") as screen:
        assert screen.end() == 0
    own = [row for row in screen.rows() if not row.startswith("daskjob: ")]
    assert sorted(own) == sorted(["first", ("second " * 12).strip(), "error", "last"])
    # Nothing but lines: not one escape sequence.
    assert b"\x1b" not in screen.seen.replace(b"\x1b[32m", b"").replace(b"\x1b[0m", b"")


def test_a_script_before_a_pipe_gets_the_keys_from_the_terminal_itself(daskjob: Daskjob) -> None:
    daskjob.script(
        "import getpass, os\n"
        "assert not os.isatty(1)\n"
        "print('got', input('name? '), flush=True)\n"
        "print('got', getpass.getpass('secret? '))\n"
    )
    with terminal(daskjob, shell=f"{RUN} | cat") as screen:
        before = termios.tcgetattr(screen.descriptor)
        screen.wait_for(b"name? ")
        assert termios.tcgetattr(screen.descriptor) == before
        screen.press(b"Ada\r")
        screen.wait_for(b"secret? ")
        screen.press(b"tops\r")
        assert screen.end() == 0
        assert termios.tcgetattr(screen.descriptor) == before
    assert b"got Ada" in screen.seen
    # Once: it was not echoed.
    assert screen.seen.count(b"tops") == 1


def test_a_pager_keeps_its_keys_and_modes_when_the_run_ends(daskjob: Daskjob) -> None:
    daskjob.script(
        "import pathlib, time\nprint('first', flush=True)\n"
        "while not pathlib.Path('paging').exists(): time.sleep(0.02)\n"
    )
    pager = "read line; stty -icanon -echo min 1 <&3; touch paging; cat > out; "
    pager += "dd bs=1 count=1 <&3 2>&3 | od -c"
    with terminal(daskjob, shell=f"exec 3<&0; {RUN} | ({pager})") as screen:
        screen.wait_for(b"succeeded")
        flags = termios.tcgetattr(screen.descriptor)[3]
        assert not flags & (termios.ICANON | termios.ECHO)
        screen.press(b"q")
        assert screen.end() == 0
    assert b"   q" in screen.seen


@pytest.mark.parametrize("reader", ["tee log", "cat", "tee -i log"])
def test_ctrl_c_that_ends_the_reader_too_is_a_cancellation(daskjob: Daskjob, reader: str) -> None:
    daskjob.script(
        "import time\nprint('ready', flush=True)\n"
        "try: time.sleep(600)\nexcept KeyboardInterrupt: print('saved')\n"
    )
    with terminal(daskjob, shell=f"{RUN} | {reader}; exit ${{PIPESTATUS[0]}}") as screen:
        screen.wait_for(b"ready")
        screen.press(b"\x03")
        assert screen.end() == 123
    assert daskjob.status()["reason"] == "Cancelled"


TICKS = """\
import pathlib, time
print("begun", flush=True)
while not pathlib.Path("go").exists(): time.sleep(0.02)
print("going", flush=True)
while not pathlib.Path("end").exists(): time.sleep(0.02)
"""


@pytest.mark.parametrize("more", ["", "> out", "2>&1"])
def test_in_the_background_no_line_is_drawn_over_what_is_typed(daskjob: Daskjob, more: str) -> None:
    daskjob.script(TICKS)
    shell = f"set -m; {RUN} {more} & read -p '$ ' line; touch go; echo then; fg; echo ended"
    with terminal(daskjob, shell=shell) as screen:
        screen.wait_for(b"is running")
        screen.press(b"typed")
        screen.wait_for_row("typed")
        screen.read_for(UPDATES_SECONDS)
        assert b"Running" not in screen.seen
        screen.press(b"\r")
        screen.wait_for_row("then")
        # In the foreground it is there.
        screen.wait_for_row("shared Running")
        Path(daskjob.work, "end").touch()
        assert screen.end() == 0
    assert screen.rows()[-2].startswith("daskjob: shared succeeded")
    assert screen.rows()[-1] == "ended"
