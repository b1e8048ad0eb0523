"""Runs the tests of each orchestrator in its environment, and those about all of them in this one.

``python -m tests.orchestrators [NAME OF AN ENVIRONMENT] [pytest's arguments]``. Tests of Airflow
are in files and folders ``airflow*`` here, and so on.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.orchestrators.environments import PINS, ROOT, environment

_FOLDER = Path("tests", "orchestrators")
_LAST_FAILED = Path(".pytest_cache", "v", "cache", "lastfailed")
#: pytest found no test.
_NOTHING = 5


def main(arguments: list[str]) -> int:
    """Run them all, also after a failure; return an exit code."""
    names = [name for name in PINS if name in arguments]
    options = [argument for argument in arguments if argument not in PINS]
    failed = 0 if names else _tests(Path(sys.executable), "test_", options)
    for name in names or PINS:
        if _is_wanted(name, options):
            failed |= _tests(environment(name) / "python", name, options)
    return failed


def _is_wanted(name: str, options: list[str]) -> bool:
    """Return whether something of it failed; without failures, pytest would repeat all."""
    if "--last-failed" not in options:
        return True
    try:
        known = json.loads((ROOT / _LAST_FAILED).read_text())
    except OSError:
        return False
    return any(test.startswith(f"{_FOLDER}/{name}") for test in known)


def _tests(python: Path, beginning: str, options: list[str]) -> int:
    paths = sorted(str(path.relative_to(ROOT)) for path in (ROOT / _FOLDER).glob(f"{beginning}*"))
    if not paths or not _is_wanted(beginning, options):
        return 0
    print(f"== {beginning.rstrip('_')}", file=sys.stderr, flush=True)
    done = subprocess.run([python, "-m", "pytest", *paths, *options], cwd=ROOT)
    return 0 if done.returncode in (0, _NOTHING) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
