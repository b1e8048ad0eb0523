"""``daskjob --help`` and completion are cheap: their imports and their CPU time."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from tests.cli.command import Daskjob

#: The only imports from outside the standard library.
ALLOWED = {"click", "daskjob"}
#: Parts of the standard library that are slow to import and not needed to print a help text.
SLOW = {"asyncio", "concurrent", "http", "multiprocessing", "ssl", "xml"}
HELP_CPU_SECONDS = 0.3

PRINTS_IMPORTS = """\
import sys
before = set(sys.modules)
from daskjob.submit.cli import main
try:
    main()
finally:
    print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["run", "--help"],
        ["logs", "--help"],
        ["submit", "--help"],
        ["scale", "--help"],
        ["cluster", "create", "--help"],
        ["dashboard", "--help"],
        ["validate", "--help"],
        ["completion", "bash"],
        ["--version"],
    ],
)
def test_help_and_completion_import_only_click(user: Daskjob, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRINTS_IMPORTS, *words],
        env=user.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(done.stderr.split())
    if words[0] == "completion":
        # click's bash completion uses asyncio to get bash's version.
        imported.discard("asyncio")
    outside = imported - sys.stdlib_module_names
    assert outside == ALLOWED
    assert not imported & (SLOW - {"concurrent", "ssl"} if words[0] == "completion" else SLOW)


def test_help_takes_less_than_0_3_s_of_cpu(user: Daskjob) -> None:
    assert min(cpu_seconds(user, "--help") for _ in range(3)) < HELP_CPU_SECONDS


def cpu_seconds(user: Daskjob, *words: str) -> float:
    """The CPU time of a command, from its rusage."""
    process = user.start(*words)
    assert process.stdout is not None
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.communicate()
    assert process.returncode == 0
    return total(usage)


def total(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime
