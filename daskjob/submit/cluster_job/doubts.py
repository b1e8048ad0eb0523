"""What a script says that will be otherwise on a cluster, found by its text: nothing is run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path

#: The setting of each argument of a LocalCluster.
_SETTINGS = {
    "n_workers": "--workers",
    "threads_per_worker": "--threads",
    "memory_limit": "--memory",
}
#: The number of modules that a note names.
_NAMED = 8


def doubts(texts: Mapping[str, str], is_installed: Callable[[str], bool]) -> list[str]:
    """Return notes on programs, by their place among the files of a job.

    ``is_installed`` returns whether this machine has a top-level module.
    """
    notes = []
    missing: dict[str, None] = {}
    for place, text in texts.items():
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError) as error:
            notes.append(f"{place}{_why_not(error)}; the modules that it imports are not known")
            continue
        notes += _clusters(place, tree)
        missing.update(dict.fromkeys(name for name in _needed(tree) if not is_here(name, texts)))
    names = [name for name in missing if not is_installed(name)]
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        notes.append(
            f"imported, and found neither beside the script nor installed here: "
            f"{', '.join(names[:_NAMED])}{more}. Name their packages (--with PACKAGE, or the "
            "script's block), or an image that has them; PYTHONPATH names folders whose modules "
            "are sent"
        )
    return notes


def is_here(name: str, places: Mapping[str, str]) -> bool:
    """Return whether the library or a file of the job provides a top-level module."""
    return name in sys.stdlib_module_names or any(
        place == f"{name}.py" or place.startswith(f"{name}/") for place in places
    )


def installed_in(environment: Path | None) -> Callable[[str], bool]:
    """Return whether a module is installed: in an environment, or where daskjob itself is."""
    packages = sorted(environment.glob("lib/python3.*/site-packages")) if environment else []

    def is_installed(name: str) -> bool:
        paths = [*sys.path, *map(str, packages)]
        # Finds a module without importing it.
        return PathFinder.find_spec(name, paths) is not None

    return is_installed


def _why_not(error: Exception) -> str:
    if not isinstance(error, SyntaxError):
        return f" cannot be parsed: {error}"
    python = ".".join(map(str, sys.version_info[:2]))
    return f", line {error.lineno}: {error.msg} (by Python {python})"


def _needed(tree: ast.Module) -> Iterator[str]:
    """Yield the top-level modules that a program imports, but for those that it can do without."""
    optional = {
        id(node)
        for attempt in ast.walk(tree)
        if isinstance(attempt, ast.Try)
        for part in (*attempt.body, *attempt.handlers)
        for node in ast.walk(part)
    }
    for node in ast.walk(tree):
        if id(node) in optional:
            continue
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]


def _clusters(place: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        given = {
            keyword.arg: keyword.value for keyword in node.keywords if keyword.arg in _SETTINGS
        }
        flags = " ".join(f"{_SETTINGS[arg]} {_shown(value)}" for arg, value in given.items() if arg)
        settings = f" The job's workers are set by {flags}." if flags else ""
        if name == "LocalCluster":
            yield (
                f"{place}, line {node.lineno}: LocalCluster starts workers in the runner's pod, "
                f"beside those of the job. Write Client().{settings}"
            )
        elif name == "Client" and given:
            arguments = ", ".join(f"{arg}={_shown(value)}" for arg, value in given.items())
            yield (
                f"{place}, line {node.lineno}: Client({arguments}) fails on a cluster, where the "
                f"scheduler is there already. Write Client().{settings}"
            )


def _shown(value: ast.expr) -> str:
    return str(value.value) if isinstance(value, ast.Constant) else "…"
