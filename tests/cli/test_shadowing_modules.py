"""Modules of the working directory hide none that a run needs; the script's folder is found."""

from __future__ import annotations

import json

import pytest

from tests.cli.command import Daskjob

SCRIPT = """\
import json, os, sys
import beside
from distributed import Client

def look():
    import beside
    return [os.getcwd() in sys.path, beside.WHAT, "DASKJOB_WITHOUT_CWD" in os.environ]

if __name__ == "__main__":
    with Client() as client:
        found = [*client.run(look).values(), client.run_on_scheduler(look)]
        found.append(client.submit(look).result())
        print(json.dumps(found))
"""
HIDING = ("logging", "random", "click", "yaml", "tornado", "queue", "calendar", "rich", "psutil")


def with_script(daskjob: Daskjob) -> None:
    """Make a script in a folder of its own, and modules that hide others where it is started."""
    folder = daskjob.work / "sub"
    folder.mkdir()
    (folder / "s.py").write_text(SCRIPT)
    (folder / "beside.py").write_text("WHAT = 'beside the script'\n")
    for name in HIDING:
        (daskjob.work / f"{name}.py").write_text(f"raise RuntimeError('{name} of the user')\n")


@pytest.mark.parametrize("forked", [True, False])
def test_modules_of_the_working_directory_hide_none(daskjob: Daskjob, *, forked: bool) -> None:
    with_script(daskjob)
    # With a variable of its own for workers, their environment differs from the scheduler's.
    options = () if forked else ("-e", "MALLOC_ARENA_MAX=2")
    done = daskjob("run", "-q", "-w", 1, *options, "sub/s.py")
    assert done.code == 0, done.err
    assert json.loads(done.out) == [[False, "beside the script", False]] * 3


def test_a_safe_path_stays_safe(daskjob: Daskjob) -> None:
    with_script(daskjob)
    env = {"PYTHONSAFEPATH": "1", "PYTHONPATH": f"{daskjob.environment['PYTHONPATH']}:sub"}
    done = daskjob("run", "-q", "-w", 1, "sub/s.py", env=env)
    assert done.code == 0, done.err
    assert json.loads(done.out) == [[False, "beside the script", False]] * 3


def test_a_module_finds_others_of_the_working_directory(daskjob: Daskjob) -> None:
    daskjob.script(SCRIPT, "s.py")
    daskjob.script("WHAT = 'here'\n", "beside.py")
    done = daskjob("run", "-q", "-w", 1, "-m", "s")
    assert done.code == 0, done.err
    assert json.loads(done.out) == [[True, "here", False]] * 3
