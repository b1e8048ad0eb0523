"""uv: where it is, and one run of it, with what went wrong in sentences."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from daskjob.core.messages import cut
from daskjob.submit.environment.not_there import NO_SOLUTION, no_solution
from daskjob.submit.environment.wanted import (
    OTHER_WAYS,
    IndexUnreachable,
    NotResolved,
    UnfitEnvironment,
)
from daskjob.submit.settings.urls import hidden

#: Building a package from source to learn what it needs may take minutes.
LONGEST_SECONDS = 600
INSTALL = "pip install 'daskjob[uv]'"
#: The number of lines of uv that a message has.
_LINES = 8
_UNREACHABLE = (
    *("failed to fetch", "error sending request", "dns error", "connection refused", "timed out"),
    *("request failed after", "network was disabled", "network connectivity is disabled"),
    *("server error (5", "tcp connect error", "certificate"),
)
#: A cache that is read-only, on a full disk, or no folder.
_NO_CACHE = (
    *("failed to initialize cache", "read-only file system", "no space left on device"),
    "disk quota exceeded",
)
_LOGIN = ("401 unauthorized", "403 forbidden", "missing credentials")
#: Variables that would have uv do something else.
_OTHERS = (
    *("VIRTUAL_ENV", "CONDA_PREFIX", "UV_PROJECT", "UV_WORKING_DIRECTORY", "UV_ENV_FILE"),
    *("UV_FROZEN", "UV_LOCKED", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_REQUIREMENT"),
)


def find_uv(environ: Mapping[str, str]) -> str:
    """Return the path of uv: of PATH, else of the package uv; empty without one."""
    found = shutil.which("uv", path=environ.get("PATH"))
    if found:
        return os.path.abspath(found)
    try:
        from uv import find_uv_bin
    except ImportError:
        return ""
    try:
        return str(find_uv_bin())
    except FileNotFoundError:
        return ""


def run_uv(
    uv: str,
    arguments: Sequence[str],
    folder: Path,
    environ: Mapping[str, str],
    subject: str,
    other_ways: str = OTHER_WAYS,
    *,
    seconds: float | None = None,
) -> str:
    """Return what uv prints; ``other_ways`` is what helps where no index answers.

    ``seconds`` is how long it may take; by default, long enough to build a package.

    Raises
    ------
    UnfitEnvironment
        There is no such package or version, or they do not go together.
    NotResolved
        There was no answer within the time limit, or the index cannot be reached.
    """
    longest = seconds or LONGEST_SECONDS
    variables = {key: value for key, value in environ.items() if key not in _OTHERS}
    variables |= {"NO_COLOR": "1", "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}

    def done_with(variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        try:
            return _run([uv, *arguments], folder, variables, longest)
        except subprocess.TimeoutExpired as error:
            raise NotResolved(
                f"the packages of {subject} were not resolved within {longest:g} s; "
                f"try again, or {other_ways}",
                f"no answer within {longest:g} s",
            ) from error

    done = done_with(variables)
    if done.returncode and any(mark in done.stderr.lower() for mark in _NO_CACHE):
        # Without its cache, uv only takes longer.
        variables["UV_NO_CACHE"] = "1"
        done = done_with(variables)
    if done.returncode != 0:
        raise _failure(done.stderr, subject, other_ways, variables)
    return done.stdout


def _run(
    command: Sequence[str], folder: Path, variables: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except OSError as error:
        raise NotResolved(f"{command[0]} cannot be run: {error.strerror}; {INSTALL}") from error


def last_lines(stderr: str) -> str:
    """Return the last lines of uv as one text, without logins."""
    lines = [re.sub(r"^(error|cause|hint):\s*", "", line.strip()) for line in stderr.splitlines()]
    wanted = [line for line in lines if line and not line.startswith(("warning:", "Resolved "))]
    return cut(hidden("; ".join(wanted[-_LINES:])), 1200).rstrip(".")


def _failure(
    stderr: str, subject: str, other_ways: str, variables: Mapping[str, str]
) -> UnfitEnvironment | NotResolved:
    text, said = stderr.lower(), last_lines(stderr)
    if any(mark in text for mark in _LOGIN):
        return NotResolved(
            f"the index wants a login for the packages of {subject}: {said}. Here, uv finds one in "
            "~/.netrc or in its own variables; the pods get it from the Secret that "
            "--index-secret names"
        )
    if any(mark in text for mark in _UNREACHABLE):
        return IndexUnreachable(
            f"the packages of {subject} could not be looked up: {said}. Try again when the index "
            f"can be reached; without one, {other_ways}",
            said,
        )
    if NO_SOLUTION in text:
        return no_solution(stderr, subject, variables)
    return UnfitEnvironment(f"uv did not resolve the packages of {subject}: {said or 'no output'}")
