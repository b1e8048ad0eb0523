"""Rare ends of a script, each compared with what ``python`` makes of it: exit code and output."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.command import Daskjob, finish

IMPORTS = (
    "import atexit, ctypes, multiprocessing, os, resource, shutil, signal, subprocess, sys\n"
    "import threading, time\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
)
CHILD = "multiprocessing.get_context('fork').Process"
ENDS = {
    # Without Python's exit
    "os._exit": "print('a'); os._exit(3)",
    "abort": "print('a'); os.abort()",
    "a crash": "print('a'); ctypes.string_at(0)",
    "SIGKILL": "print('a'); os.kill(os.getpid(), signal.SIGKILL)",
    "SIGTERM to its group": "print('a'); os.kill(0, signal.SIGTERM)",
    "stopped and continued": (
        "wake = f'import os, time; time.sleep(0.3); os.kill({os.getpid()}, 18)'\n"
        "subprocess.Popen([sys.executable, '-c', wake])\n"
        "print('a'); os.kill(os.getpid(), signal.SIGSTOP); print('b')"
    ),
    # As another program
    "a shell": "print('a'); os.execv('/bin/sh', ['sh', '-c', 'echo b; exit 9'])",
    "another Python": (
        "print('a'); os.execv(sys.executable, ['python', '-c', 'raise ValueError(5)'])"
    ),
    # With processes and threads that stay
    "a daemon that holds the output": (
        "subprocess.Popen(['sleep', '1'], start_new_session=True); print('a')"
    ),
    "a thread": "threading.Timer(0.2, print, ['late']).start(); print('a')",
    "a thread after an exception": (
        "threading.Timer(0.2, print, ['late']).start(); raise ValueError('x')"
    ),
    "a child of multiprocessing": (
        f"{CHILD}(target=lambda: (time.sleep(0.2), print('b'))).start(); print('a')"
    ),
    "a daemon of multiprocessing": (
        f"{CHILD}(target=time.sleep, args=[300], daemon=True).start(); print('a')"
    ),
    # By SystemExit
    "None": "sys.exit(None)",
    "True": "sys.exit(True)",
    "256": "sys.exit(256)",
    "-1": "sys.exit(-1)",
    "an object": "sys.exit((1, 'two'))",
    "a subclass": "class End(SystemExit): pass\nraise End(7)",
    "in a thread": (
        "t = threading.Thread(target=sys.exit, args=[4]); t.start(); t.join(); print('a')"
    ),
    "in atexit": "atexit.register(sys.exit, 5); print('a')",
    # By KeyboardInterrupt
    "raised": "print('a'); raise KeyboardInterrupt",
    "raised as a subclass": "class End(KeyboardInterrupt): pass\nraise End('stop')",
    "SIGINT": "print('a'); os.kill(os.getpid(), signal.SIGINT); time.sleep(300)",
    # By hooks
    "os._exit in atexit": "atexit.register(os._exit, 5); raise ValueError('x')",
    "a hook that fails": "sys.excepthook = lambda *_: 1 / 0\nraise ValueError('x')",
    "a hook that exits": "sys.excepthook = lambda *_: os._exit(9)\nraise ValueError('x')",
    # With streams and files that are gone
    "stdout is closed": "os.close(1); print('b')",
    "stderr is closed": "os.close(2); print('a'); raise ValueError('x')",
    "no sys.stderr": "sys.stderr = None; print('a'); raise ValueError('x')",
    "the script is deleted": "os.unlink(__file__); print('a'); raise ValueError('x')",
    "the folder is deleted": "shutil.rmtree(os.getcwd()); print('a'); sys.exit(6)",
    # With odd output
    "one long line": "sys.stdout.write('x' * 20_000_000)",
    "bytes": "os.write(1, bytes(range(256)) * 9); os.write(2, b'\\0\\xff\\r\\n\\x1b[0m\\n')",
    "no newline": "sys.stdout.write('a')",
}


@dataclass(frozen=True)
class End:
    """How a script ended: its exit code as a shell has it, and its output."""

    code: int
    out: bytes
    err: str


def end(code: int, out: bytes, err: str) -> End:
    """Return an end without what differs between any two processes."""
    err = re.sub(r"(?m)^daskjob: .*\n", "", err)
    err = re.sub(r"0x[0-9a-f]+|/\S*/(?=script\.py)", "_", err)
    return End(code if code >= 0 else 128 - code, out, err)


def with_python(script: Path) -> End:
    # As in a run: output of a script that is killed is not lost in a buffer.
    done = subprocess.run(
        [sys.executable, "-u", script],
        cwd=script.parent,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        check=False,
    )
    return end(done.returncode, done.stdout, done.stderr.decode(errors="replace"))


def with_daskjob(daskjob: Daskjob, script: Path) -> End:
    done = finish(daskjob.start("run", "-w", 0, script, cwd=script.parent))
    return end(done.code, done.out, done.err)


@pytest.mark.parametrize("case", ENDS)
def test_an_end_is_that_of_python(case: str, daskjob: Daskjob, tmp_path: Path) -> None:
    ends = []
    for number in range(2):
        script = tmp_path / str(number) / "script.py"
        script.parent.mkdir()
        script.write_text(f"{IMPORTS}{ENDS[case]}\n")
        ends.append(with_daskjob(daskjob, script) if number else with_python(script))
    assert ends[1] == ends[0]
