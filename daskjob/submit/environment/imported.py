"""The packages that a script imports, as dependencies: by its text and by what is installed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from daskjob.submit.environment.requirement_lines import normalised
from daskjob.submit.environment.wanted import DASK

#: Parts of Dask that need an extra of it.
_EXTRAS = {"dask.dataframe": "dataframe", "dask.array": "array"}


@dataclass(frozen=True, slots=True)
class Imported:
    """What a script imports from packages."""

    #: Its dependencies: at least the versions that are installed here.
    dependencies: tuple[str, ...] = ()
    #: Modules that are neither its own nor installed.
    unknown: tuple[str, ...] = ()


def imported_packages(
    text: str, folders: Sequence[Path], packages: Sequence[Path] = ()
) -> Imported:
    """Return what a script imports.

    ``folders`` have its own modules; ``packages`` are the site-packages of its environment, by
    default those of this Python.

    Raises
    ------
    SyntaxError
        The text is no Python.
    """
    modules = list(_modules(text))
    extras = sorted({_EXTRAS[name] for name in modules if name in _EXTRAS})
    dask = f"dask[{','.join(extras)}]" if extras else "dask"
    tops = dict.fromkeys(name.partition(".")[0] for name in modules)
    names = [name for name in tops if not _is_own(name, folders)]
    known = _distributions(packages)
    wanted = {
        normalised(found.metadata["Name"]): found
        for name in names
        for found in known.get(name, ())[:1]
    }
    listed = sorted(
        {"dask": dask}.get(name, name) if name in DASK else f"{name}>={found.version}"
        for name, found in wanted.items()
    )
    return Imported(tuple(listed), tuple(name for name in names if name not in known))


def _modules(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)


def _is_own(name: str, folders: Iterable[Path]) -> bool:
    return name in sys.stdlib_module_names or any(
        (folder / f"{name}.py").is_file() or (folder / name).is_dir() for folder in folders
    )


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
