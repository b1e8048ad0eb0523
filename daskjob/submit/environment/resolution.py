"""Resolving what is wanted, once for all pods and attempts, by one run of uv."""

from __future__ import annotations

import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daskjob.submit.environment.dask_clash import (
    check_lock,
    check_requirements,
    explained,
    for_pods,
)
from daskjob.submit.environment.hash_trimming import trimmed
from daskjob.submit.environment.indexes import Lookup, lookup, urls_for_pods
from daskjob.submit.environment.limits import check_limits
from daskjob.submit.environment.lock_lines import (
    Line,
    lock_lines,
    with_even_hashes,
    with_given_hashes,
    without_dask,
)
from daskjob.submit.environment.python_version import check_python, oldest
from daskjob.submit.environment.requirement_lines import is_pinned, name_of, parsed
from daskjob.submit.environment.uv import INSTALL, find_uv, run_uv
from daskjob.submit.environment.wanted import (
    DASK,
    NotResolved,
    Requirement,
    Resolved,
    Target,
    UnfitEnvironment,
    Wanted,
)

_LOCK = "lock.in"
_VIA_LOCK = f"-r {_LOCK}"


def resolve(
    wanted: Wanted,
    *,
    target: Target,
    environ: Mapping[str, str],
    seconds: float | None = None,
) -> Resolved:
    """Return the environment that a target gets; ``seconds`` is how long one run of uv may take.

    Raises
    ------
    UnfitEnvironment
        The packages do not go together, or not with the target's Python or Dask.
    NotResolved
        There is no answer from the index, or no uv and a requirement without a version.
    """
    check_python(wanted.requires_python, wanted.subject, target)
    check_requirements(wanted, target)
    indexes = wanted.indexes
    urls = urls_for_pods(indexes, environ, wanted.subject)
    lines, notes = _lines(wanted, target, environ, seconds)
    check_limits(lines, wanted.subject)
    return Resolved(
        (*for_pods(wanted, target), *map(str, lines)),
        wanted.requires_python,
        urls,
        indexes.find_links,
        indexes.secret,
        (*wanted.notes, *notes),
        wanted.sources,
    )


def _lines(
    wanted: Wanted, target: Target, environ: Mapping[str, str], seconds: float | None
) -> tuple[list[Line], list[str]]:
    """Return the lines for pods, and notes."""
    if all(map(_is_the_images, wanted.requirements)):
        if not wanted.locked:
            return [], []
        lines = lock_lines("\n".join(wanted.locked))
        lines, notes = trimmed(lines, target.minor, lambda _: wanted.packages), []
    elif uv := find_uv(environ):
        found = lookup(wanted.indexes, environ)
        lines = _compiled(_Compilation(uv, wanted, target, found, seconds))
        notes = list(found.notes)
        if found.is_elsewhere:
            lines = [Line(line.text, [], line.via) for line in lines]
    else:
        lines, notes = _pinned(wanted)
    check_lock(lines, wanted, target)
    even, more = with_even_hashes(without_dask(lines, wanted.subject))
    return even, [*notes, *more]


def _compiled(compilation: _Compilation) -> list[Line]:
    """Return the lines that uv resolves, with what a lock says about who needs them."""
    wanted = compilation.wanted
    lines = lock_lines(compilation.output())
    via = {line.name: line.via for line in lock_lines("\n".join(wanted.locked))}
    for line in lines:
        if _VIA_LOCK in line.via and line.name in via:
            line.via = [*(item for item in line.via if item != _VIA_LOCK), *via[line.name]]
    given = {name_of(item.text): list(item.hashes) for item in wanted.requirements}
    lines = with_given_hashes(lines, given)
    return trimmed(lines, compilation.target.minor, compilation.packages)


def _is_the_images(item: Requirement) -> bool:
    """Return whether an image has a requirement in any case: Dask, without extras."""
    found = parsed(item.text)
    return found is not None and name_of(item.text) in DASK and not found.extras


def _pinned(wanted: Wanted) -> tuple[list[Line], list[str]]:
    """Return the lines of requirements that name all packages with their versions."""
    listed = [item for item in wanted.requirements if not _is_the_images(item)]
    loose = [item for item in listed if not is_pinned(item.text)]
    if loose or wanted.locked:
        names = ", ".join(f"{item.text} ({item.origin})" for item in loose[:5]) or "a lock"
        raise NotResolved(
            f"the packages of {wanted.subject} need uv to choose their versions, and it is not "
            f"installed: {names}. Install it: {INSTALL}; or write all packages, also those that "
            "these need, as name==version"
        )
    note = (
        "without uv, exactly the packages that are listed are installed, and nothing that they "
        f"need beside them; {INSTALL} resolves the rest"
    )
    return [Line(item.text, list(item.hashes)) for item in listed], [note]


@dataclass(frozen=True, slots=True)
class _Compilation:
    """One run of ``uv pip compile``."""

    uv: str
    wanted: Wanted
    target: Target
    lookup: Lookup
    seconds: float | None

    def output(self) -> str:
        """Return what uv resolves.

        Raises
        ------
        UnfitEnvironment, NotResolved
            As ``run_uv`` does; a clash with Dask names both sides.
        """
        with tempfile.TemporaryDirectory(prefix="daskjob-") as name:
            folder = Path(name)
            for file, lines in self._files():
                folder.joinpath(file).write_text("".join(f"{line}\n" for line in lines))
            try:
                return self._run(self._arguments(), folder)
            except UnfitEnvironment as error:
                raise explained(error, self.wanted.subject, self.target) from error

    def packages(self, texts: list[str]) -> list[Mapping[str, Any]]:
        """Return the packages of requirements of known versions, with the names of their files.

        uv has just asked the index about them: its cache has the answers.
        """
        with tempfile.TemporaryDirectory(prefix="daskjob-") as name:
            folder = Path(name)
            folder.joinpath("pins.in").write_text("".join(f"{text}\n" for text in texts))
            options = [*self._common(), "--format", "pylock.toml", "--no-deps"]
            text = self._run(["pip", "compile", "pins.in", *options], folder)
        found: list[Mapping[str, Any]] = tomllib.loads(text).get("packages", [])
        return found

    def _run(self, arguments: list[str], folder: Path) -> str:
        return run_uv(
            self.uv,
            arguments,
            folder,
            self.lookup.variables,
            self.wanted.subject,
            self.target.other_ways,
            seconds=self.seconds,
        )

    def _files(self) -> Iterator[tuple[str, list[str]]]:
        wanted = self.wanted
        yield "requirements.in", [item.text for item in wanted.requirements]
        yield _LOCK, [line.text for line in lock_lines("\n".join(wanted.locked))]
        limits = [item.text for item in wanted.constraints]
        yield "constraints.txt", [*limits, *self._versions_of_dask()]
        yield "overrides.txt", list(wanted.overrides)

    def _versions_of_dask(self) -> Iterator[str]:
        for name, version in zip(DASK, (self.target.dask, self.target.distributed), strict=True):
            if version:
                yield f"{name}=={version}"

    def _arguments(self) -> list[str]:
        wanted = self.wanted
        return [
            *("pip", "compile", "requirements.in", _LOCK, "--constraints", "constraints.txt"),
            *(["--overrides", "overrides.txt"] if wanted.overrides else []),
            *("--generate-hashes", "--annotation-style", "split"),
            *self._common(),
        ]

    def _common(self) -> list[str]:
        wanted = self.wanted
        here = "{}.{}".format(*sys.version_info[:2])
        return [
            *("--universal", "--no-header", "--quiet", "--python", sys.executable),
            *("--python-version", self.target.minor or oldest(wanted.requires_python) or here),
            *(["--prerelease", "allow"] if wanted.pre_releases else []),
            *(["--exclude-newer", wanted.exclude_newer] if wanted.exclude_newer else []),
            *self.lookup.options,
        ]
