"""Reads the documents of this repository: maps of the code, tables, headings, links, citations."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
DESIGN = ROOT / "docs" / "design.md"
FOLDERS = (
    *("benchmarks", "daskjob", "docs", "examples", "images", "operator-chart", "scripts", "tests"),
)

_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]+`")
_MAP = re.compile(r"^```\n(daskjob/.*?)^```$", re.MULTILINE | re.DOTALL)
_MAP_ROW = re.compile(r"(?P<indent> *)(?P<names>\S+(?:, \S+)*)  +(?P<text>\S.*)")
_SECTION = re.compile(r"^#+ (\d+(?:\.\d+)?[a-z]?)\.? ", re.MULTILINE)
_GUARANTEE = re.compile(r"^(\d+)\. \*\*", re.MULTILINE)
_LINE_START = re.compile(r"\n[ \t]*(?:#:?|//|\*|>)?[ \t]*")
_CITED = re.compile(r"§(\d+(?:\.\d+)?[a-z]?)")
_LINK = re.compile(r"\[[^\[\]]*\]\(([^()\s]+)\)")


@dataclass(frozen=True)
class MapRow:
    """One row of the map in CONTRIBUTING.md."""

    #: Packages end with ``/``; modules have no suffix.
    paths: tuple[str, ...]
    text: str


def map_rows(text: str) -> list[MapRow]:
    """Return the rows of the map of the code: an indented row lies in the package above it."""
    block = _MAP.search(text)
    assert block, "there is no map that starts with daskjob/"
    rows = []
    above: list[tuple[int, str]] = []
    for line in block[1].splitlines():
        found = _MAP_ROW.fullmatch(line)
        assert found, f"not a row of two columns: {line!r}"
        indent = len(found["indent"])
        above = [(depth, name) for depth, name in above if depth < indent]
        package = above[-1][1] if above else ""
        paths = tuple(package + name for name in found["names"].split(", "))
        rows.append(MapRow(paths, found["text"]))
        if len(paths) == 1 and paths[0].endswith("/"):
            above.append((indent, paths[0]))
    return rows


def missing_from_tree(rows: list[MapRow], root: Path) -> list[str]:
    """Return the packages and modules of the map that do not exist."""
    paths = [path for row in rows for path in row.paths]
    return [path for path in paths if not _exists(path, root)]


def missing_from_map(rows: list[MapRow], root: Path) -> list[str]:
    """Return the modules that no row names and no package without rows of its own contains."""
    paths = {path for row in rows for path in row.paths}
    whole = {path for path in paths if path.endswith("/") and not _has_rows(path, paths)}
    modules = [path for path in _modules(root) if path.rsplit("/", 1)[-1][:2] != "__"]
    return [
        path
        for path in modules
        if path not in paths and not any(path.startswith(package) for package in whole)
    ]


def _has_rows(package: str, paths: set[str]) -> bool:
    return any(path.startswith(package) and path != package for path in paths)


def _exists(path: str, root: Path) -> bool:
    if path.endswith("/"):
        return (root / path / "__init__.py").is_file()
    return (root / f"{path}.py").is_file()


def _modules(root: Path) -> list[str]:
    files = sorted((root / "daskjob").rglob("*.py"))
    return [file.relative_to(root).with_suffix("").as_posix() for file in files]


@dataclass(frozen=True)
class Package:
    """One row of the table in docs/architecture.md."""

    #: A package, ``package/*.py`` for the modules directly in it, or a module ``….py``.
    path: str
    #: What it may import, written as ``path`` is but relative to ``daskjob/``.
    allowed: tuple[str, ...]

    def contains(self, file: str) -> bool:
        """Return whether a file, such as ``daskjob/core/names.py``, belongs to it."""
        return _within(file, self.path)


def packages(text: str) -> list[Package]:
    """Return the rows of the table of packages."""
    rows = re.findall(r"^\| `(daskjob/[^`]+)` \|.*\| ([^|]*) \|$", text, re.MULTILINE)
    return [
        Package(path, tuple(name for name in re.findall(r"`([^`]+)`", cell))) for path, cell in rows
    ]


def package_of(file: str, table: list[Package]) -> Package | None:
    """Return the row that a file belongs to: the most specific one."""
    rows = [row for row in table if row.contains(file)]
    return max(rows, key=lambda row: len(row.path), default=None)


def forbidden_imports(table: list[Package], root: Path) -> list[str]:
    """Return the imports of daskjob's own modules that the table does not allow."""
    found = []
    for module in _modules(root):
        file = f"{module}.py"
        row = package_of(file, table)
        if row is None:
            continue
        found += [
            f"{file} imports {imported}"
            for imported in imports(root / file, root)
            if not row.contains(imported)
            and imported != "daskjob/__init__.py"
            and not any(_within(imported, f"daskjob/{name}") for name in row.allowed)
        ]
    return found


def imports(file: Path, root: Path) -> list[str]:
    """Return the files of daskjob that a file imports, anywhere in it."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [
                name if _file_of(name := f"{node.module}.{alias.name}", root) else node.module
                for alias in node.names
            ]
        found += [imported for name in names if (imported := _file_of(name, root))]
    return sorted(set(found))


def _file_of(module: str, root: Path) -> str | None:
    path = module.replace(".", "/")
    for file in (f"{path}.py", f"{path}/__init__.py"):
        if module.split(".")[0] == "daskjob" and (root / file).is_file():
            return file
    return None


def _within(file: str, path: str) -> bool:
    if path.endswith("/*.py"):
        return file.rsplit("/", 1)[0] == path.removesuffix("/*.py")
    return file == path or file.startswith(f"{path}/")


def sections(text: str) -> set[str]:
    """Return the numbers that a citation of the design record may use."""
    outside_code = _FENCE.sub("", text)
    guarantees = outside_code.split("\n## 4. ")[1].split("\n## ")[0]
    numbered = {f"4.{number}" for number in _GUARANTEE.findall(guarantees)}
    return {*_SECTION.findall(outside_code), *numbered}


def citations(text: str) -> list[tuple[str, str]]:
    """Return every ``§N`` of a text with the word before it, also across lines of a comment."""
    joined = _LINE_START.sub(" ", text)
    return [
        (number[1], joined[: number.start()].split()[-1].strip("(") if number.start() else "")
        for number in _CITED.finditer(joined)
    ]


def links(document: Path) -> Iterator[str]:
    """Yield the relative links of a Markdown file."""
    text = _FENCE.sub("", document.read_text())
    for target in _LINK.findall(_CODE.sub("", text)):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(document: Path) -> set[str]:
    """Return the anchors of a Markdown file's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def text_files(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of the repository's files, without what tools left beside them."""
    for file in sorted(
        [*root.glob("*"), *(f for name in FOLDERS for f in root.glob(f"{name}/**/*"))]
    ):
        if file.is_file() and "__pycache__" not in file.parts:
            try:
                yield file.relative_to(root).as_posix(), file.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
