"""What a script says that will be otherwise on a cluster, found by its text: nothing is run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path, PurePosixPath

from daskjob.submit.cluster_job.environment import provides
from daskjob.submit.cluster_job.imports import called_name, imported_name
from daskjob.submit.cluster_job.program import Program
from daskjob.submit.environment.wanted import Resolved
from daskjob.submit.source_text import parsed

#: The setting of each argument of a LocalCluster.
_SETTINGS = {
    "n_workers": "--workers",
    "threads_per_worker": "--threads",
    "memory_limit": "--memory",
}
#: The number of modules that a note names.
_NAMED = 8
#: Conditions that depend on the Python or the system, or are true for type checkers only.
_OF_PYTHON = ("TYPE_CHECKING", "version_info", "platform", "PY2", "PY3")
#: What the image has in any case.
_OF_IMAGES = ("dask", "distributed", "daskjob")
#: Suffixes of modules.
_MODULES = (".py", ".pyc", ".so")
#: Functions that list the modules of a package, to import them.
_LISTING = ("iter_modules", "walk_packages")


def program_doubts(
    program: Program, packages: Resolved, environment: Path | None, *, is_whole: bool
) -> list[str]:
    """Return notes on the program of a job with packages, of an environment of this machine."""
    is_installed = installed_in(environment)
    return doubts(
        program.texts,
        lambda name: is_installed(name) or provides(packages, name),
        sent=program.code.places,
        is_whole=is_whole,
        elsewhere=lambda name: None if provides(packages, name) else outside_folder(name),
    )


def active_environment(environ: Mapping[str, str]) -> Path | None:
    """Return the folder of the active environment; ``None`` without one."""
    active = environ.get("VIRTUAL_ENV") or environ.get("CONDA_PREFIX")
    return Path(active) if active else None


def doubts(
    texts: Mapping[str, str],
    is_installed: Callable[[str], bool],
    *,
    sent: Collection[str] = (),
    is_whole: bool = False,
    elsewhere: Callable[[str], Path | None] = lambda _: None,
) -> list[str]:
    """Return notes on programs, by their place among the files of a job.

    ``is_installed`` returns whether this machine has a top-level module. ``sent`` are the places of
    all files of the job, which has a whole folder if ``is_whole``. ``elsewhere`` returns the folder
    that this machine has a module from, if that is no folder of installed packages.
    """
    notes = []
    missing: dict[str, None] = {}
    there = {*texts, *sent}
    for place, text in texts.items():
        try:
            # Walked once: a large project has millions of nodes.
            nodes = list(ast.walk(parsed(text)))
        except (SyntaxError, ValueError, RecursionError) as error:
            notes.append(f"{place}{_why_not(error)}; the modules that it imports are not known")
            continue
        notes += _clusters(place, nodes)
        notes += [] if is_whole else _computed(place, nodes)
        missing.update(
            dict.fromkeys(name for name in needed_modules(nodes) if not is_here(name, there))
        )
    for name in [name for name in missing if elsewhere(name)]:
        missing.pop(name)
        notes.append(
            f"{name} is imported from {elsewhere(name)} here, which is outside of the project, and "
            f"is not sent: PYTHONPATH={elsewhere(name)} sends what is imported; or name its "
            "package (--with PACKAGE), or an image that has it"
        )
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


def is_here(name: str, places: Collection[str]) -> bool:
    """Return whether the library or a file of the job provides a top-level module."""
    if name in sys.stdlib_module_names:
        return True
    # At any depth: the code's folders are on PYTHONPATH, or the script puts them on its path.
    return any(
        name == path.name.partition(".")[0] or name in path.parts[:-1]
        for path in map(PurePosixPath, places)
        if path.suffix in _MODULES
    )


def installed_in(environment: Path | None) -> Callable[[str], bool]:
    """Return whether a module is installed: in an environment, or where daskjob itself is."""
    packages = sorted(environment.glob("lib/python3.*/site-packages")) if environment else []

    def is_installed(name: str) -> bool:
        paths = [*sys.path, *map(str, packages)]
        # Finds a module without importing it.
        return PathFinder.find_spec(name, paths) is not None

    return is_installed


def outside_folder(name: str) -> Path | None:
    """Return the folder of a module that daskjob's Python has from another project ("editable").

    ``None``: it is an installed package, there is none, or every image has it.
    """
    found = None if name in _OF_IMAGES else PathFinder.find_spec(name)
    places = [found.origin] if found and found.origin else list(_locations(found))
    for place in map(Path, places):
        is_installed = not {"site-packages", "dist-packages"}.isdisjoint(place.parts)
        own = (sys.prefix, sys.base_prefix)
        if not is_installed and not any(place.is_relative_to(prefix) for prefix in own):
            return place.parents[1] if place.name.startswith("__init__.") else place.parent
    return None


def _locations(found: ModuleSpec | None) -> Sequence[str]:
    return list(found.submodule_search_locations or ()) if found else ()


def _why_not(error: Exception) -> str:
    if not isinstance(error, SyntaxError) or error.lineno is None:
        return f" cannot be parsed: {error}"
    python = ".".join(map(str, sys.version_info[:2]))
    return f", line {error.lineno}: {error.msg} (by Python {python})"


def _computed(place: str, nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield a note on modules whose names are known only when the program runs."""
    for call in (node for node in nodes if isinstance(node, ast.Call)):
        name = imported_name(call)
        is_known = name is None or isinstance(name, ast.Constant)
        if not is_known or called_name(call) in _LISTING:
            yield (
                f"{place}, line {call.lineno}: imports modules by computed names, which are not "
                "found by its text; --code . sends the whole folder"
            )
            return


def needed_modules(nodes: Sequence[ast.AST]) -> Iterator[str]:
    """Yield the top-level modules that a program imports, but for those that it can do without."""
    optional = {
        id(node) for block in nodes for part in _optional_parts(block) for node in ast.walk(part)
    }
    for node in nodes:
        if id(node) in optional:
            continue
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]


def _optional_parts(block: ast.AST) -> list[ast.stmt | ast.ExceptHandler]:
    """Return what of a block may not run, or may fail."""
    match block:
        case ast.Try(body=body, handlers=handlers):
            return [*body, *handlers]
        case ast.With(items=items, body=body) if any(_suppresses(i.context_expr) for i in items):
            return [*body]
        case ast.If(test=test, body=body, orelse=orelse) if _is_of_python(test):
            return [*body, *orelse]
    return []


def _suppresses(context: ast.expr) -> bool:
    return isinstance(context, ast.Call) and called_name(context) == "suppress"


def _is_of_python(test: ast.expr) -> bool:
    """Return whether a condition is about the Python, the system, or a check of types."""
    names = {
        getattr(node, "attr", getattr(node, "id", ""))
        for node in ast.walk(test)
        if isinstance(node, ast.Name | ast.Attribute)
    }
    return not names.isdisjoint(_OF_PYTHON)


def _clusters(place: str, nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
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
