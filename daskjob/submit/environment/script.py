"""The environment of a script: what it declares, and what flags and settings add."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from daskjob.submit.environment.sources import wanted_by
from daskjob.submit.environment.wanted import Given, Resolved, Target


def environment_of_script(
    text: str,
    subject: str,
    folder: Path,
    *,
    given: Given,
    target: Target,
    environ: Mapping[str, str],
) -> Resolved:
    """Return the environment of a script in a folder; an empty one if it wants nothing.

    The text is that of the script, or of a notebook's cells. It asks the index at most once.

    Raises
    ------
    UnfitEnvironment
        What is wanted is wrong, or clashes; it does not go with the target's Python or Dask.
    NotResolved
        There is no answer from the index, or no uv.
    """
    wanted = wanted_by(text, subject, folder, given=given, environ=environ)
    if wanted.is_empty:
        return Resolved(notes=wanted.notes)
    # Most scripts declare nothing; resolving takes as long to import as `render` to run.
    from daskjob.submit.environment.not_there import naming_origins
    from daskjob.submit.environment.resolution import resolve

    with naming_origins(wanted):
        return resolve(wanted, target=target, environ=environ)
