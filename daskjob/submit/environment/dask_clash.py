"""Packages that do not go with the image's dask and distributed: one sentence with both sides."""

from __future__ import annotations

from collections.abc import Iterable

from daskjob.submit.environment.lock_lines import Line
from daskjob.submit.environment.requirement_lines import name_of, parsed
from daskjob.submit.environment.wanted import DASK, Target, UnfitEnvironment, Wanted


def check_requirements(wanted: Wanted, target: Target) -> None:
    """Reject a requirement of another Dask than the target's.

    Raises
    ------
    UnfitEnvironment
        There is one.
    """
    for item in wanted.requirements:
        version = _version(name_of(item.text), target)
        found = parsed(item.text)
        if not version or found is None or found.marker is not None:
            continue
        if found.url or not found.specifier.contains(version, prereleases=True):
            raise UnfitEnvironment(_sentence(item.text, item.origin, found.name, version, target))


def check_lock(lines: Iterable[Line], wanted: Wanted, target: Target) -> None:
    """Reject a lock with another Dask than the target's.

    Raises
    ------
    UnfitEnvironment
        It has one.
    """
    for line in lines:
        version = _version(line.name, target)
        if version and line.version != version:
            origin = ", ".join(wanted.sources)
            raise UnfitEnvironment(_sentence(line.text, origin, line.name, version, target))


def explained(error: UnfitEnvironment, subject: str, target: Target) -> UnfitEnvironment:
    """Return the error of a resolution; one about the target's Dask names it."""
    for name, version in zip(DASK, (target.dask, target.distributed), strict=True):
        if version and f"{name}=={version}" in str(error):
            return UnfitEnvironment(
                f"the packages of {subject} need another {name} than {version}, which "
                f"{target.place} has and every pod keeps: {target.other}, or change the "
                f"requirements. {error}"
            )
    return error


def _version(name: str, target: Target) -> str:
    return dict(zip(DASK, (target.dask, target.distributed), strict=True)).get(name, "")


def _sentence(text: str, origin: str, name: str, version: str, target: Target) -> str:
    return (
        f"{text} ({origin}) clashes with {target.place}, which has {name} {version}, and a job "
        f"keeps that one: {target.other}, or require {name}=={version}"
    )
