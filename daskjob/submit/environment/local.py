"""The environment of a run on this machine: what the script wants and its Python lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from daskjob.submit.environment.installed import installed_in
from daskjob.submit.environment.lock_lines import lock_lines
from daskjob.submit.environment.not_there import naming_origins
from daskjob.submit.environment.python_version import check_python
from daskjob.submit.environment.resolution import resolve
from daskjob.submit.environment.sources import wanted_by
from daskjob.submit.environment.wanted import (
    Given,
    IndexUnreachable,
    NotResolved,
    Resolved,
    UnfitEnvironment,
    Wanted,
)

_AS_BEFORE = (
    "the index does not answer: the versions of packages are chosen from what it said before"
)


def environment_of_run(
    text: str,
    subject: str,
    folder: Path,
    *,
    given: Given,
    python: str,
    environ: Mapping[str, str],
) -> Resolved:
    """Return the environment of a script that a Python of this machine runs.

    Empty, without a question to an index, if this Python has all that is wanted: the active
    environment stays as it is.

    Raises
    ------
    UnfitEnvironment
        What is wanted is wrong, or does not go with this Python or its Dask.
    NotResolved
        Something is missing, and there is no answer from the index, or no uv.
    """
    wanted = _wanted(text, subject, folder, given, environ)
    if wanted.is_empty:
        return Resolved(notes=wanted.notes)
    texts = [item.text for item in wanted.requirements]
    texts += [line.text for line in lock_lines("\n".join(wanted.locked))]
    there = installed_in(python, texts, environ)
    if there.meets(texts):
        check_python(wanted.requires_python, subject, there.target)
        return Resolved(notes=wanted.notes, sources=wanted.sources)
    wanted = _with_links_here(wanted)
    try:
        with naming_origins(wanted):
            return resolve(wanted, target=there.target, environ=environ)
    except IndexUnreachable:
        # The cache of uv may know what the index said before, also what is too old otherwise.
        try:
            found = resolve(wanted, target=there.target, environ={**environ, "UV_OFFLINE": "1"})
        except (NotResolved, UnfitEnvironment):
            pass
        else:
            return replace(found, notes=(*found.notes, _AS_BEFORE))
        raise


def _with_links_here(wanted: Wanted) -> Wanted:
    """Return what is wanted without a folder of wheels that only pods have."""
    folder = wanted.indexes.find_links
    if not folder.startswith("/") or Path(folder).is_dir():
        return wanted
    note = f"{folder} is not on this machine: packages are installed from the index that it asks"
    indexes = replace(wanted.indexes, find_links="")
    return replace(wanted, indexes=indexes, notes=(*wanted.notes, note))


def _wanted(
    text: str, subject: str, folder: Path, given: Given, environ: Mapping[str, str]
) -> Wanted:
    try:
        return wanted_by(text, subject, folder, given=given, environ=environ)
    except NotResolved as error:
        # Only a project's lock needs uv to be read: without one, it was installed otherwise.
        if given.packages:
            raise
        return replace(Wanted(subject), notes=(f"{error}; runs with what is installed",))
