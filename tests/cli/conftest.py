"""Fixtures of the tests of the command line: a user, and the check that runs leave nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Daskjob, Done
from tests.printed import QUIET


@pytest.fixture
def daskjob(tmp_path: Path) -> Iterator[Daskjob]:
    """A user with an empty home; after the test, no process and no folder may be left."""
    user = Daskjob(tmp_path)
    yield user
    left = user.left_over()
    user.end()
    assert not left, f"left behind: {left}"


@pytest.fixture(scope="session")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daskjob]:
    """A user whose runs have ended, for tests that only read them."""
    user = Daskjob(tmp_path_factory.mktemp("user"))
    yield user
    user.end()


#: A script with tasks, a result, and output on both streams.
SQUARES = f"""\
{QUIET}
import json, os, pathlib, sys
from distributed import Client

with Client() as client:
    print("the first line")
    print("to standard error", file=sys.stderr)
    total = sum(client.gather(client.map(lambda n: n * n, range(20))))
    print("the sum is", total)
pathlib.Path(os.environ["DASKJOB_RESULT_FILE"]).write_text(json.dumps(dict(total=total)))
"""


@pytest.fixture(scope="session")
def succeeded(user: Daskjob) -> Done:
    """The run ``squares`` of ``user``: one worker, 20 tasks, a result."""
    script = user.script(SQUARES, "squares.py")
    return user("run", "--workers", 1, "--name", "squares", script)


@pytest.fixture(scope="session")
def failed(user: Daskjob) -> Done:
    """The run ``failing`` of ``user``: two attempts that end with an exception."""
    script = user.script(
        "import os\n"
        "print('attempt', os.environ['DASKJOB_ATTEMPT'])\n"
        "raise ValueError('no data for 2024')\n",
        "failing.py",
    )
    return user.run("--name", "failing", "--retries", 1, script)
