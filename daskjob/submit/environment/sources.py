"""Where a script's packages are written: its own block, ``--with``, a file, or a project's lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from daskjob.submit.environment.requirement_lines import requirement
from daskjob.submit.environment.wanted import Given, Indexes, UnfitEnvironment, Wanted
from daskjob.submit.inline_metadata import declared
from daskjob.submit.settings.sources import nearest_project

WITH = "--with"
LOCK = "uv.lock"


def wanted_by(
    text: str, subject: str, folder: Path, *, given: Given, environ: Mapping[str, str]
) -> Wanted:
    """Return what a script in a folder wants: it declares packages, or its project has a lock.

    A script with a block stands alone, as for ``uv run``; so does one with ``--requirements``.

    Raises
    ------
    UnfitEnvironment
        Something is no requirement, or names what no pod has.
    NotResolved
        The project's lock needs uv, and there is none.
    """
    found = declared(text) if "# /// script" in text else None
    if found and found.problem:
        raise UnfitEnvironment(f"{subject}: {found.problem}")
    wanted = Wanted(subject)
    if found:
        from daskjob.submit.environment.block import block_requirements

        wanted = block_requirements(found, subject)
    if given.requirements:
        wanted = with_file(wanted, given.requirements, environ)
    elif found is None and has_lock(folder):
        from daskjob.submit.environment.project_lock import locked_project

        wanted = locked_project(folder, subject, environ) or wanted
    return with_given(wanted, given)


def has_lock(folder: Path) -> bool:
    """Return whether the project of a folder has a lock."""
    project = nearest_project(folder)
    return project is not None and project.with_name(LOCK).is_file()


def with_given(wanted: Wanted, given: Given) -> Wanted:
    """Return what is wanted with the packages and the indexes of settings."""
    packages = tuple(requirement(text, WITH) for text in given.packages)
    return replace(
        wanted,
        requirements=(*wanted.requirements, *packages),
        indexes=_indexes(wanted.indexes, given.indexes),
        sources=(*wanted.sources, *([WITH] if packages else [])),
    )


def with_file(wanted: Wanted, name: str, environ: Mapping[str, str]) -> Wanted:
    """Return what is wanted with a requirements file.

    Raises
    ------
    UnfitEnvironment
        The file is wrong.
    """
    from daskjob.submit.environment.requirements_file import read_requirements

    found = read_requirements(Path(name), environ)
    notes = [f"{name}: {', '.join(found.ignored)} has no effect in pods"] if found.ignored else []
    return replace(
        wanted,
        requirements=(*wanted.requirements, *found.requirements),
        constraints=(*wanted.constraints, *found.constraints),
        pre_releases=found.pre_releases,
        indexes=_indexes(wanted.indexes, found.indexes),
        sources=(*wanted.sources, name),
        notes=(*wanted.notes, *notes),
    )


def _indexes(low: Indexes, high: Indexes) -> Indexes:
    """Return the indexes of two places; the second one is more important."""
    extra = (*high.extra_index_urls, *low.extra_index_urls)
    return Indexes(
        high.index_url or low.index_url,
        tuple(dict.fromkeys(extra)),
        high.find_links or low.find_links,
        high.secret or low.secret,
    )
