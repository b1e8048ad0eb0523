"""Packages that do not go with the image's dask and distributed: one sentence with both sides."""

from __future__ import annotations

from collections.abc import Iterable

from daskjob.submit.environment.lock_lines import Line, lock_lines
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


def for_pods(wanted: Wanted, target: Target) -> list[str]:
    """Return the requirements of Dask that pods have to compare: the target's is not known here.

    They are never installed. One that any version satisfies is left out.
    """
    unknown = [name for name in DASK if not _version(name, target)]
    found = [_compared(item.text) for item in wanted.requirements if name_of(item.text) in unknown]
    found += [
        f"{line.name}=={line.version}"
        for line in lock_lines("\n".join(wanted.locked))
        if line.name in unknown and line.version
    ]
    return list(dict.fromkeys(filter(None, found)))


def _compared(text: str) -> str:
    """Return a requirement without its extras; empty if any version satisfies it."""
    found = parsed(text)
    if found is None or not (found.url or str(found.specifier)):
        return ""
    version = f" @ {found.url}" if found.url else str(found.specifier)
    marker = f" ; {found.marker}" if found.marker else ""
    return f"{found.name}{version}{marker}"


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
