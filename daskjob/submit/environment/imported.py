"""The packages that programs import, as dependencies: by their text and by what is installed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from daskjob.submit.environment.requirement_lines import (
    distribution_of,
    name_of,
    normalised,
    parsed,
)
from daskjob.submit.environment.wanted import DASK
from daskjob.submit.source_text import parsed as tree_of

#: Parts of Dask that need an extra of it.
_EXTRAS = {"dask.dataframe": "dataframe", "dask.array": "array"}


@dataclass(frozen=True, slots=True)
class Imported:
    """What programs import from packages."""

    #: Their dependencies: as their project requires them, else at least the versions that are
    #: installed here.
    dependencies: tuple[str, ...] = ()
    #: Modules that are neither their own nor of a known package.
    unknown: tuple[str, ...] = ()


def imported_packages(
    texts: Sequence[str],
    own: Callable[[str], bool],
    packages: Sequence[Path] = (),
    required: Sequence[str] = (),
) -> Imported:
    """Return what programs import.

    ``own`` returns whether a top-level module is one of their own; ``packages`` are the
    site-packages of their environment, by default those of this Python; ``required`` is what their
    project requires.

    Of a text that is no Python, nothing is known.
    """
    modules = [name for text in texts for name in _modules(text)]
    extras = sorted({_EXTRAS[name] for name in modules if name in _EXTRAS})
    tops = dict.fromkeys(name.partition(".")[0] for name in modules)
    names = [name for name in tops if name not in sys.stdlib_module_names and not own(name)]
    known = _distributions(packages)
    listed: dict[str, list[str]] = {}
    unknown = []
    for name in names:
        there = next(iter(known.get(name, ())), None)
        distribution = normalised(there.metadata["Name"]) if there else distribution_of(name)
        lines = [line for line in required if name_of(line) == distribution]
        if not lines and there is None:
            unknown.append(name)
        elif distribution in DASK:
            lines = [_of_dask(distribution, lines, extras if distribution == "dask" else [])]
        elif not lines and there is not None:
            lines = [f"{distribution}>={there.version}"]
        listed[distribution] = lines
    found = sorted(line for lines in listed.values() for line in lines)
    return Imported(tuple(found), tuple(unknown))


def _of_dask(name: str, lines: Sequence[str], extras: Sequence[str]) -> str:
    """Return the requirement of a part of Dask, with the extras that programs need."""
    found = parsed(lines[0]) if len(lines) == 1 else None
    wanted = sorted({*extras, *(found.extras if found else ())})
    shown = f"{name}[{','.join(wanted)}]" if wanted else name
    return f"{shown}{found.specifier}" if found and not found.url else shown


def _modules(text: str) -> Iterator[str]:
    try:
        tree = tree_of(text)
    except (SyntaxError, ValueError, RecursionError):
        return  # Python reports it, when it runs
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)


def _distributions(packages: Sequence[Path]) -> dict[str, list[Distribution]]:
    """Return the installed distributions by the top-level modules that they have."""
    found: dict[str, list[Distribution]] = {}
    paths = [str(path) for path in packages] or sys.path
    for distribution in distributions(path=paths):
        for name in _top_levels(distribution):
            found.setdefault(name, []).append(distribution)
    return found


def _top_levels(distribution: Distribution) -> set[str]:
    listed = distribution.read_text("top_level.txt")
    if listed:
        return set(listed.split())
    files = distribution.files or []
    return {
        path.parts[0] if len(path.parts) > 1 else path.name.partition(".")[0]
        for path in files
        if path.suffix in (".py", ".so", ".pyd") and ".." not in path.parts
    }
