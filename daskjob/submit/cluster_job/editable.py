"""Folders of projects that their packages are installed from: "editable" installations."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from daskjob.submit.source_text import parsed


def editable_folders(root: Path, environments: Iterable[Path]) -> tuple[Path, ...]:
    """Return the folders below a root that environments have on Python's path, in their order."""
    found: dict[Path, None] = {}
    for environment in environments:
        for packages in sorted(environment.glob("lib/python3.*/site-packages")):
            for folder in (*_of_path_files(packages), *_of_finders(packages)):
                inside = _below(root, folder)
                if inside is not None and inside.is_dir():
                    found[inside] = None
    return tuple(found)


def _below(root: Path, folder: Path) -> Path | None:
    """Return a folder as one below a root, also if either is named through a link."""
    if folder.is_relative_to(root):
        return folder
    real = Path(os.path.realpath(folder))
    real_root = Path(os.path.realpath(root))
    return root / real.relative_to(real_root) if real.is_relative_to(real_root) else None


def _of_path_files(packages: Path) -> Iterator[Path]:
    """Yield the folders that ``.pth`` files name, one in a line."""
    for path in sorted(packages.glob("*.pth")):
        for line in _text(path).splitlines():
            if line.strip() and not line.startswith(("#", "import ", "import\t")):
                yield Path(os.path.abspath(packages / line.strip()))


def _of_finders(packages: Path) -> Iterator[Path]:
    """Yield the folders of the packages that setuptools finds by a module of its own.

    That has them as ``MAPPING = {"package": "/folder/package"}``.
    """
    for path in sorted(packages.glob("__editable__*_finder.py")):
        for node in ast.walk(_parsed(_text(path))):
            match node:
                case ast.Assign(targets=[ast.Name(id="MAPPING")], value=value):
                    yield from _folders(value)
                case ast.AnnAssign(target=ast.Name(id="MAPPING"), value=ast.expr() as value):
                    yield from _folders(value)


def _folders(value: ast.expr) -> Iterator[Path]:
    try:
        mapping = ast.literal_eval(value)
    except ValueError:
        return
    for name, place in mapping.items() if isinstance(mapping, dict) else ():
        path = Path(str(place))
        # A package under another name than its folder's is found by that finder only.
        if path.name == name or path.stem == name:
            yield path.parent


def _parsed(text: str) -> ast.Module:
    try:
        return parsed(text)
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
