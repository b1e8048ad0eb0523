"""Which files a script imports from its own folders, found by its text: nothing is run."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path, PurePosixPath

#: Calls that import a module by its name.
_BY_NAME = ("import_module", "__import__", "run_module")
_NO_MODULES = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that Python searches for modules."""

    path: Path
    #: Whether the standard library comes before it: true of all but the script's own folder.
    after_library: bool = True
    #: Whether installed packages come before it: it is on no path of Python, but its packages may
    #: be installed from it ("editable").
    after_packages: bool = False

    def is_hidden(self, name: str) -> bool:
        """Return whether Python finds another module of this name first."""
        if self.after_library and name in sys.stdlib_module_names:
            return True
        if not self.after_packages:
            return False
        # Finds a module without importing it.
        found = PathFinder.find_spec(name)
        origin = found.origin if found else None
        return origin is not None and not Path(origin).is_relative_to(self.path)


@dataclass(slots=True)
class _Search:
    folders: Sequence[Folder]
    #: Path on the cluster → file.
    found: dict[str, Path] = field(default_factory=dict)
    #: Files whose own imports are still to be read, with the package that they are in.
    queue: list[tuple[Path, str]] = field(default_factory=list)

    def add(self, folder: Path, path: Path, package: str) -> None:
        """Add a module, and read its imports later."""
        place = str(PurePosixPath(*path.relative_to(folder).parts))
        if place not in self.found:
            self.found[place] = path
            self.queue.append((path, package))

    def add_module(self, name: str) -> bool:
        """Add a module and its packages; return whether it is in one of the folders."""
        parts = name.split(".")
        if not all(_NO_MODULES.fullmatch(part) for part in parts):
            return False
        for folder in self.folders:
            if self._is_here(folder.path, parts[0]) and not folder.is_hidden(parts[0]):
                return self._add_parts(folder.path, parts)
        return False

    @staticmethod
    def _is_here(folder: Path, name: str) -> bool:
        package = folder / name
        is_namespace = package.is_dir() and any(package.glob("*.py"))
        return (folder / f"{name}.py").is_file() or is_namespace or _has_packages(package)

    def _add_parts(self, root: Path, parts: Sequence[str]) -> bool:
        place = root
        for index, part in enumerate(parts):
            package, module = place / part, place / f"{part}.py"
            name = ".".join(parts[: index + 1])
            if (package / "__init__.py").is_file():
                self.add(root, package / "__init__.py", name)
            elif module.is_file():
                self.add(root, module, name.rpartition(".")[0])
                return index == len(parts) - 1
            elif not package.is_dir():
                return False
            place = package
        return True


def _has_packages(folder: Path) -> bool:
    """Return whether a folder without modules holds packages, as a namespace does."""
    return folder.is_dir() and any(folder.glob("*/__init__.py"))


def imported_files(
    texts: Sequence[tuple[str, str]], folders: Sequence[Folder], modules: Sequence[str] = ()
) -> dict[str, Path]:
    """Return the files in these folders that programs import, by their path below their folder.

    ``texts`` are programs, each with the package that it is in; ``modules`` are imported as well.
    """
    search = _Search(folders)
    for name in modules:
        search.add_module(name)
    for text, package in texts:
        _follow(text, package, search)
    while search.queue:
        path, package = search.queue.pop()
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError):
            continue  # reported when it is read to be sent
        _follow(text, package, search)
    return dict(sorted(search.found.items()))


def module_file(name: str, folders: Sequence[Folder]) -> Path | None:
    """Return the file that ``python -m name`` runs, if it is in these folders."""
    search = _Search(folders)
    path = name.replace(".", "/")
    for module, place in ((name, f"{path}.py"), (f"{name}.__main__", f"{path}/__main__.py")):
        search.add_module(module)
        if place in search.found:
            return search.found[place]
    return None


def _follow(text: str, package: str, search: _Search) -> None:
    for name, members in _imports(text, package):
        search.add_module(name)
        for member in members:
            if member == "*":
                _add_all(name, search)
            else:
                search.add_module(f"{name}.{member}" if name else member)


def _add_all(name: str, search: _Search) -> None:
    """Add the modules of a package: what ``*`` imports is decided when it runs."""
    for folder in search.folders:
        package = folder.path.joinpath(*name.split("."))
        if (package / "__init__.py").is_file():
            for path in sorted(package.glob("*.py")):
                search.add(folder.path, path, name)


def _imports(text: str, package: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the modules that a program imports, with the names that it imports from each."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return  # Python reports it, when it runs
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((alias.name, []) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = _absolute(module or "", package, level)
                if base is not None:
                    yield base, [alias.name for alias in names]
            case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]):
                called = getattr(func, "attr", getattr(func, "id", ""))
                if called in _BY_NAME and not name.startswith("."):
                    yield name, []


def _absolute(module: str, package: str, level: int) -> str | None:
    """Return the absolute name of a relative import; ``None`` above the top."""
    if level == 0:
        return module
    parts = package.split(".") if package else []
    if level > len(parts):
        return None
    base = parts[: len(parts) - level + 1]
    return ".".join([*base, *([module] if module else [])])
