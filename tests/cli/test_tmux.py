"""In a real terminal that breaks long rows anew when its width changes, as most do."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.cli.command import Daskjob
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")

#: A script, and what it leaves on the screen: complete rows, a bar that is drawn again and again.
SCRIPTS = {
    "rows": (
        "import time\nfor n in range(20): print('row', n, '日本語', flush=True); time.sleep(0.1)\n",
        [f"row {n} 日本語" for n in range(20)],
    ),
    "bar": (
        "import time\nfor n in range(21):\n"
        "    print('\\r' + '#' * n + '.' * (20 - n), end='', flush=True); time.sleep(0.1)\n",
        ["#" * 20],
    ),
}
WIDTHS = (90, 60, 45, 50, 70, 100)

Tmux = Callable[..., str]


@pytest.fixture
def tmux(daskjob: Daskjob) -> Iterator[Tmux]:
    def run(*words: object) -> str:
        command = ["tmux", "-S", "tmux", "-f", "/dev/null", *map(str, words)]
        done = subprocess.run(
            command,
            env={**daskjob.environment, "LC_ALL": "C.UTF-8"},
            cwd=daskjob.work,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout

    yield run
    run("kill-server")
    wait_until(lambda: not run("list-sessions"))


@pytest.mark.parametrize("kind", SCRIPTS)
def test_many_changes_of_the_width_leave_nothing_of_the_line(
    daskjob: Daskjob, tmux: Tmux, kind: str
) -> None:
    text, rows = SCRIPTS[kind]
    daskjob.script(text)
    command = f"{sys.executable} -m daskjob run -w 0 --name {'name-' * 6}x script.py; read line"
    tmux("new-session", "-d", "-x", 100, "-y", 12, command)

    def shown() -> list[str]:
        found = tmux("capture-pane", "-p", "-S", "-99").splitlines()
        return [row for row in found if row.strip()]

    wait_until(lambda: any(rows[0][:3] in row for row in shown()), 30)

    def has_ended() -> bool:
        for width in WIDTHS:
            tmux("resize-window", "-x", width, "-y", 12)
            time.sleep(0.05)
        # The message may be broken after any of its words.
        return any("succeeded" in row for row in shown())

    wait_until(has_ended, 60)
    messages = [row for row in shown() if row.startswith(("daskjob: ", "  "))]
    assert [row for row in shown() if row not in messages] == rows
