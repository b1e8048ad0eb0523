"""Runs the tests of each orchestrator in its environment, and those about all of them in this one.

``python -m tests.orchestrators [airflow|prefect|dagster|pipelines] [pytest's arguments]``. Tests of
Airflow are in files and folders ``airflow*`` here, and so on. With ``JOBS`` of 2 or more, as many
environments run at the same time, with a Kubernetes each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.providers import PROCESS_VARIABLE
from tests.orchestrators.environments import PINS, ROOT, environment

_FOLDER = Path("tests", "orchestrators")
_LAST_FAILED = Path("v", "cache", "lastfailed")
#: pytest found no test.
_NOTHING = 5
#: The longest comes first; what begins last ends while it still runs.
_LONGEST_FIRST = ("prefect", "airflow", "dagster", "pipelines")


@dataclass(frozen=True)
class Run:
    """How the tests are run."""

    options: list[str]
    #: Another one runs at the same time.
    beside: bool

    def tests(self, name: str) -> int:
        """Run the tests of an environment; "test" has those about all of them."""
        if not self._is_wanted(name):
            return 0
        paths = sorted(str(p.relative_to(ROOT)) for p in (ROOT / _FOLDER).glob(f"{name}*"))
        python = Path(sys.executable) if name == "test" else environment(name) / "python"
        cache = f"--override-ini=cache_dir={_cache(name)}"
        words = [str(python), "-m", "pytest", cache, *paths, *self.options]
        variables = {**os.environ, **({PROCESS_VARIABLE: name} if self.beside else {})}
        pipe = subprocess.PIPE if self.beside else None
        done = subprocess.run(
            words, cwd=ROOT, env=variables, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )
        # Outputs of runs at the same time would be mixed.
        print(f"== {name}\n{done.stdout or ''}", flush=True)
        return 0 if done.returncode in (0, _NOTHING) else 1

    def _is_wanted(self, name: str) -> bool:
        """Return whether something of it failed; without failures, pytest would repeat all."""
        return "--last-failed" not in self.options or bool(_failed(name))


def main(arguments: list[str]) -> int:
    """Run them all, also after a failure; return an exit code."""
    named = [name for name in _LONGEST_FIRST if name in arguments]
    options = [argument for argument in arguments if argument not in PINS]
    names = named or _LONGEST_FIRST
    at_once = min(len(names), int(os.environ.get("JOBS") or 1))
    run = Run(options, beside=at_once > 1)
    codes = [] if named else [run.tests("test")]
    with ThreadPoolExecutor(at_once) as pool:
        codes += pool.map(run.tests, names)
    _record()
    return max(codes)


def _record() -> None:
    """Write the failures to where those of ``make test`` are, for ``scripts/repeat-failed``."""
    path = ROOT / ".pytest_cache" / _LAST_FAILED
    before = json.loads(path.read_text()) if path.exists() else {}
    others = {test: True for test in before if not test.startswith(f"{_FOLDER}/")}
    ours = {test: True for name in ("test", *PINS) for test in _failed(name)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**others, **ours}))


def _cache(name: str) -> Path:
    return ROOT / ".pytest_cache" / "orchestrators" / name


def _failed(name: str) -> list[str]:
    try:
        return list(json.loads((_cache(name) / _LAST_FAILED).read_text()))
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
