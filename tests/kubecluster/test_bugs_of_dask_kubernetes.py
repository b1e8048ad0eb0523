"""Each mistake that `docs/howto/fixed-bugs.md` names is in dask-kubernetes, and was seen there.

One process runs dask-kubernetes in the environment that other tests have as well. With
DASKJOB_WRITE_BUGS, which `make bugs` sets, what was seen is written into the page.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.cluster.environments import DASK_KUBERNETES, environment
from tests.docs.documents import ROOT
from tests.docs.fixed_bugs import BUGS, PAGE, rows

#: If it is set, the column is written into the document.
WRITE_VARIABLE = "DASKJOB_WRITE_BUGS"
#: The one that shows at the end of a program.
AT_EXIT = 24


@dataclass(frozen=True)
class Shown:
    """What the program found, by number, and what it printed."""

    words: dict[int, str]
    failed: dict[int, str]
    printed: str


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """Run dask-kubernetes, which knows nothing of this machine but its programs."""
    home = tmp_path_factory.mktemp("home")
    file = home / "shown.json"
    python = str(environment(DASK_KUBERNETES) / "python")
    command = [python, "-m", "tests.kubecluster.upstream.show", str(file)]
    variables = {"HOME": str(home), "PATH": os.environ["PATH"], "LOGNAME": "jane"}
    done = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    found = {int(number): one for number, one in json.loads(file.read_text()).items()}
    words = {number: one["words"] for number, one in found.items() if "words" in one}
    failed = {number: one["failed"] for number, one in found.items() if "failed" in one}
    _, _, at_exit = done.stderr.partition("failed start: ")
    if "Traceback" in at_exit and "reap_clusters" in at_exit:
        words[AT_EXIT] = "After the error of a start, the exit printed a traceback."
    return Shown(words, failed, done.stderr)


@pytest.mark.parametrize("number", range(1, BUGS + 1))
def test_dask_kubernetes_has_the_mistake(number: int, shown: Shown) -> None:
    assert number in shown.words, shown.failed.get(number, shown.printed)


def test_the_table_has_what_was_seen(shown: Shown) -> None:
    if os.environ.get(WRITE_VARIABLE):
        _write(PAGE, shown.words)
    assert {row.number: row.seen for row in rows()} == shown.words, "write them with: make bugs"


def _write(page: Path, words: dict[int, str]) -> None:
    text = page.read_text()
    for row in rows():
        text = text.replace(row.line(), replace(row, seen=words[row.number]).line())
    page.write_text(text)
