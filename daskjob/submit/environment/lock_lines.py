"""What uv resolved, as lines for pods: without Dask, and with hashes that all lines have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, requires

from daskjob.submit.environment.requirement_lines import name_of, normalised, parsed
from daskjob.submit.environment.wanted import DASK, UnfitEnvironment

_HASH = re.compile(r"--hash=(\S+)")


@dataclass(slots=True)
class Line:
    """One package of a lock."""

    text: str
    hashes: list[str] = field(default_factory=list)
    #: What requires it: names of packages, or files.
    via: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The normalised name of the package."""
        return name_of(self.text)

    @property
    def version(self) -> str:
        """Its version; empty for a URL."""
        found = re.search(r"===?\s*([^\s;]+)", self.text.partition(";")[0])
        return found[1] if found else ""

    def __str__(self) -> str:
        return " ".join([self.text, *(f"--hash={item}" for item in self.hashes)])


def lock_lines(text: str) -> list[Line]:
    """Return the packages of uv's output, which has hashes and what requires each."""
    found: list[Line] = []
    in_via = False
    for raw in text.splitlines():
        line = raw.strip().removesuffix("\\").strip()
        if not line:
            continue
        if not raw[0].isspace() and not line.startswith("#"):
            if not line.startswith(("-", ".", "/")):
                hashes = _HASH.findall(line)
                found.append(Line(line.partition(" --hash=")[0].strip(), hashes))
            # A folder of this machine: no pod has it.
            in_via = False
        elif found and line.startswith("--hash"):
            found[-1].hashes += _HASH.findall(line)
        elif found and line.startswith("# via"):
            found[-1].via += filter(None, [line.removeprefix("# via").strip()])
            in_via = True
        elif found and in_via and line.startswith("#"):
            found[-1].via.append(line.removeprefix("#").strip())
    return found


def without_dask(lines: Iterable[Line], subject: str) -> list[Line]:
    """Return the lines without Dask, and without what only Dask itself needs: images have that.

    What an extra such as ``dask[dataframe]`` needs remains.
    """
    known = list(lines)
    kept = _reachable(known)
    found = [line for line in known if line.name in kept and line.name not in DASK]
    for line in found:
        if parsed(line.text) is None:
            raise UnfitEnvironment(f"uv resolved {line.text!r} for {subject}, which is no package")
    return found


def _reachable(lines: list[Line]) -> set[str]:
    """Return the names that something other than Dask alone requires."""
    names = {line.name for line in lines}
    needed_by_dask = set(_of_dask())
    kept = {line.name for line in lines if _is_root(line, names)}
    while True:
        more = {
            line.name
            for line in lines
            if line.name not in kept
            for via in map(normalised, line.via)
            if via in kept and not (via in DASK and line.name in needed_by_dask)
        }
        if not more:
            return kept
        kept |= more


def _is_root(line: Line, names: set[str]) -> bool:
    others = [via for via in line.via if normalised(via) not in names]
    return not line.via or any(not via.startswith("-c ") for via in others)


def _of_dask() -> Iterator[str]:
    """Yield what Dask needs without extras: the names hardly change between releases."""
    yield from DASK
    for name in DASK:
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            continue
        yield from (name_of(text) for text in needed if "extra ==" not in text)


def with_given_hashes(lines: Iterable[Line], given: Mapping[str, list[str]]) -> list[Line]:
    """Return lines with the hashes that the user wrote: nothing else may be installed."""
    return [replace(line, hashes=given.get(line.name) or line.hashes) for line in lines]


def with_even_hashes(lines: list[Line]) -> tuple[list[Line], list[str]]:
    """Return lines that all have hashes, or that all have none, as pip requires; and notes."""
    bare = [line.name for line in lines if not line.hashes]
    if not bare or len(bare) == len(lines):
        return lines, []
    note = f"{', '.join(bare)} has no hashes, so no package is checked by them"
    return [replace(line, hashes=[]) for line in lines], [note]
