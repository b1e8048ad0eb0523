"""The ``daskjob`` command within this process: for tests with many calls."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from unittest import mock

from click.testing import CliRunner

from daskjob.submit.cli import cli
from daskjob.submit.cli.errors import guarded
from tests.cli.command import Done


def call(words: tuple[object, ...], environment: Mapping[str, str]) -> Done:
    """Run a command to its end, with this environment."""
    runner = CliRunner()
    with runner.isolation() as (out, err, _), mock.patch.dict(os.environ, environment, clear=True):
        with mock.patch.object(sys, "argv", ["daskjob", *map(str, words)]):
            code = guarded(cli)
        sys.stderr.flush()
        return Done(code, out.getvalue(), err.getvalue().decode())
