"""Which files a script imports from its own folders, found by its text: nothing is run."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.machinery import PathFinder
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from daskjob.submit.source_text import parsed, source_text

#: Calls that import a module by its name.
_BY_NAME = ("import_module", "__import__", "run_module")
#: Where ``__import__`` has the names that it imports from the module.
_FROM_LIST = 3
_PART = re.compile(r"[^\W\d]\w*")
#: Names of a module's own package.
_OWN = ("__name__", "__package__")
Reader: TypeAlias = Callable[[str, str], Iterable[tuple[str, list[str]]]]


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


@dataclass(frozen=True, slots=True)
class Imported:
    """The files that programs import, by their path below the folder in which they were found."""

    files: dict[str, Path] = field(default_factory=dict)
    #: Modules without source: extensions in C, and byte code.
    compiled: dict[str, Path] = field(default_factory=dict)

    def with_main(self, path: Path) -> Imported:
        """Return these with the script that imports them."""
        # First, and by no other file of its name.
        return replace(self, files={path.name: path} | self.files | {path.name: path})


@dataclass(slots=True)
class _Search:
    folders: Sequence[Folder]
    #: Returns the modules that a text imports in a package, with the names from each.
    read: Reader
    #: Path on the cluster → file.
    found: dict[str, Path] = field(default_factory=dict)
    compiled: dict[str, Path] = field(default_factory=dict)
    #: Files whose own imports are still to be read, with the package that they are in.
    queue: list[tuple[Path, str]] = field(default_factory=list)

    def add(self, root: Path, path: Path, package: str) -> None:
        """Add a module, and read its imports later."""
        place = _place(root, path)
        if place not in self.found:
            self.found[place] = path
            self.queue.append((path, package))

    def add_module(self, name: str) -> None:
        """Add a module and its packages, if they are in these folders."""
        parts = name.split(".")
        if not all(_PART.fullmatch(part) for part in parts):
            return
        places = [
            (folder.path, folder.path) for folder in self.folders if not folder.is_hidden(parts[0])
        ]
        package = ""
        for part in parts:
            places = self._below(places, part, package)
            package = f"{package}.{part}" if package else part

    def _below(
        self, places: Sequence[tuple[Path, Path]], part: str, package: str
    ) -> list[tuple[Path, Path]]:
        """Add what Python finds by a name in places; return where the modules below it are.

        A place is a folder, with the one that it was found from. As for Python, the first package
        or module counts; without one, all folders of that name together, as a namespace.
        """
        name = f"{package}.{part}" if package else part
        portions = []
        for root, place in places:
            folder, module = place / part, place / f"{part}.py"
            if (folder / "__init__.py").is_file():
                self.add(root, folder / "__init__.py", name)
                return [(root, folder)]
            compiled = _compiled(place, part)
            if compiled is not None:
                self.compiled[_place(root, compiled)] = compiled
            if module.is_file():
                self.add(root, module, package)
            if compiled is not None or module.is_file():
                return []
            if folder.is_dir():
                portions.append((root, folder))
        return portions

    def add_all(self, name: str) -> None:
        """Add the modules of a package: what ``*`` imports is decided when it runs."""
        for folder in self.folders:
            package = folder.path.joinpath(*name.split("."))
            if (package / "__init__.py").is_file():
                for path in sorted(package.glob("*.py")):
                    self.add(folder.path, path, name)
                for path in sorted(package.glob("*/__init__.py")):
                    self.add(folder.path, path, f"{name}.{path.parent.name}")


def _place(root: Path, path: Path) -> str:
    return str(PurePosixPath(*path.relative_to(root).parts))


def _compiled(folder: Path, name: str) -> Path | None:
    """Return a module of a folder that has no source: an extension, else byte code."""
    found = sorted(folder.glob(f"{name}.*so"))
    if found:
        return found[0]
    path = folder / f"{name}.pyc"
    return path if path.is_file() and not (folder / f"{name}.py").is_file() else None


def imported(
    texts: Sequence[tuple[str, str]],
    folders: Sequence[Folder],
    modules: Sequence[str] = (),
    *,
    read: Reader | None = None,
) -> Imported:
    """Return the files in these folders that programs import.

    ``texts`` are programs, each with the package that it is in; ``modules`` are imported as well.
    ``read`` returns what a text imports, by default all of it.
    """
    search = _Search(folders, read or _imports)
    for name in modules:
        search.add_module(name)
    for text, package in texts:
        _follow(text, package, search)
    while search.queue:
        path, package = search.queue.pop()
        try:
            text = source_text(path.read_bytes()) or ""
        except OSError:
            continue  # reported when it is read to be sent
        _follow(text, package, search)
    return Imported(dict(sorted(search.found.items())), dict(sorted(search.compiled.items())))


def imported_files(
    texts: Sequence[tuple[str, str]], folders: Sequence[Folder], modules: Sequence[str] = ()
) -> dict[str, Path]:
    """Return the files in these folders that programs import, but for compiled ones."""
    return imported(texts, folders, modules).files


def module_file(name: str, folders: Sequence[Folder]) -> Path | None:
    """Return the file that ``python -m name`` runs, if it is in these folders."""
    search = _Search(folders, _imports)
    path = name.replace(".", "/")
    for module, place in ((name, f"{path}.py"), (f"{name}.__main__", f"{path}/__main__.py")):
        search.add_module(module)
        if place in search.found:
            return search.found[place]
    return None


def _follow(text: str, package: str, search: _Search) -> None:
    for name, members in search.read(text, package):
        search.add_module(name)
        for member in members:
            if member == "*":
                search.add_all(name)
            else:
                search.add_module(f"{name}.{member}" if name else member)


def _imports(text: str, package: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the modules that a program imports, with the names that it imports from each."""
    try:
        tree = parsed(text)
    except (SyntaxError, ValueError, RecursionError):
        return  # Python reports it, when it runs
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((alias.name, []) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = absolute(module or "", package, level)
                if base is not None:
                    yield base, [alias.name for alias in names]
            case ast.Call() if called_name(node) in _BY_NAME:
                yield from _called(node, package)


def called_name(call: ast.Call) -> str:
    """Return the name of what is called, without its module or object; empty if it has none."""
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


def imported_name(call: ast.Call) -> ast.expr | None:
    """Return the name that a call imports; ``None`` if it is no such call."""
    if called_name(call) not in _BY_NAME:
        return None
    given = [word.value for word in call.keywords if word.arg in ("name", "mod_name")]
    return next(iter((*call.args, *given)), None)


def _called(call: ast.Call, package: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the module of a call such as ``import_module("a.b")``."""
    match imported_name(call):
        case ast.Constant(value=str(name)):
            plain = name.lstrip(".")
            base = absolute(plain, _base(call, package), len(name) - len(plain))
            if base:
                yield base, _from_list(call)


def _base(call: ast.Call, package: str) -> str:
    """Return the package that a relative name is about."""
    given = [word.value for word in call.keywords if word.arg == "package"]
    match (*given, *call.args[1:2]):
        case (ast.Constant(value=str(name)), *_):
            return name
        case (ast.Name(id=name), *_) if name in _OWN:
            return package
    return ""


def _from_list(call: ast.Call) -> list[str]:
    given = [word.value for word in call.keywords if word.arg == "fromlist"]
    match (*given, *call.args[_FROM_LIST : _FROM_LIST + 1]):
        case (ast.List(elts=names) | ast.Tuple(elts=names), *_):
            return [str(name.value) for name in names if isinstance(name, ast.Constant)]
    return []


def absolute(module: str, package: str, level: int) -> str | None:
    """Return the absolute name of a relative import; ``None`` above the top."""
    if level == 0:
        return module
    parts = package.split(".") if package else []
    if level > len(parts):
        return None
    base = parts[: len(parts) - level + 1]
    return ".".join([*base, *([module] if module else [])])
