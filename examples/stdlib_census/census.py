"""Counts what Python's own standard library is made of, with dask.bag.

Every source file below the standard library's folder is parsed into a syntax tree. The script
prints the names that occur most often and the functions with the highest cyclomatic complexity.
Files that do not parse (the library keeps some on purpose, for its tests) are counted.

    python census.py --limit 200             # on this machine, without daskjob
    daskjob run census.py --limit 200        # the same, to a truthful end

The workers read the files themselves, so they need the same Python installation as the runner:
one machine or one image.
"""

from __future__ import annotations

import argparse
import ast
import heapq
import json
import os
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import dask.bag
from distributed import Client

#: Small enough to spread the work evenly, large enough that scheduling costs little.
FILES_PER_PARTITION = 16
#: Entries of each table in the result: a result holds at most 4 KiB.
RESULT_ENTRIES = 10

INSTALLED_FOLDERS = frozenset({"site-packages", "dist-packages"})
TEST_FOLDERS = frozenset({"test", "tests", "idle_test"})

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPES = (*FUNCTIONS, ast.ClassDef)
#: Each of these adds one path through a function.
BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.match_case,
)


@dataclass(frozen=True)
class Function:
    """One function of the library and how many independent paths lead through it."""

    complexity: int
    name: str
    file: str
    line: int

    @property
    def rank(self) -> tuple[int, str, int]:
        """Sorts the most complex first; the place in the library breaks ties."""
        return (-self.complexity, self.file, self.line)


@dataclass(frozen=True)
class Census:
    """The counts of one file or of many."""

    files: int = 0
    lines: int = 0
    functions: int = 0
    names: Counter[str] = field(default_factory=Counter)
    most_complex: tuple[Function, ...] = ()
    unparsed: tuple[str, ...] = ()


def source_files(root: Path, *, with_tests: bool) -> list[Path]:
    """The library's source files in a fixed order, without installed packages."""
    left_out = INSTALLED_FOLDERS if with_tests else INSTALLED_FOLDERS | TEST_FOLDERS
    found = (path for path in root.rglob("*.py") if path.is_file())
    return sorted(path for path in found if left_out.isdisjoint(path.relative_to(root).parts))


def census_of_file(path: Path, *, root: Path) -> Census:
    """Parses one file; one that is not valid Python is counted as such."""
    file = path.relative_to(root).as_posix()
    source = path.read_bytes()
    try:
        tree = parsed(source)
    except (SyntaxError, ValueError, RecursionError):
        return Census(files=1, unparsed=(file,))
    functions = tuple(functions_of(tree, file))
    return Census(
        files=1,
        lines=len(source.splitlines()),
        functions=len(functions),
        names=Counter(names_of(tree)),
        most_complex=functions,
    )


def parsed(source: bytes) -> ast.Module:
    """The syntax tree; warnings about old spellings in the source are not ours to print."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def names_of(tree: ast.AST) -> Iterator[str]:
    """Every use of a name: variables, attributes, parameters, functions and classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, SCOPES):
            yield node.name


def functions_of(tree: ast.AST, file: str) -> Iterator[Function]:
    """All functions of a file, methods and nested ones included, with their full names."""
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        parent, prefix = waiting.pop()
        for node in ast.iter_child_nodes(parent):
            if not isinstance(node, SCOPES):
                waiting.append((node, prefix))
                continue
            waiting.append((node, f"{prefix}{node.name}."))
            if isinstance(node, FUNCTIONS):
                yield Function(complexity(node), prefix + node.name, file, node.lineno)


def complexity(function: FunctionNode) -> int:
    """McCabe's cyclomatic complexity: one, and one more for every place where paths part.

    A nested function is judged on its own and adds nothing here.
    """
    paths = 1
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if not isinstance(node, FUNCTIONS):
            paths += extra_paths(node)
            waiting.extend(ast.iter_child_nodes(node))
    return paths


def extra_paths(node: ast.AST) -> int:
    """How many paths one node adds: `a and b and c` adds two, a comprehension one and its ifs."""
    if isinstance(node, BRANCHES):
        return 1
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    return 0


def merged(parts: Iterable[Census], *, top: int) -> Census:
    """One census out of several; of the functions only the `top` most complex are carried on."""
    parts = list(parts)
    names: Counter[str] = Counter()
    for part in parts:
        names.update(part.names)
    candidates = (function for part in parts for function in part.most_complex)
    return Census(
        files=sum(part.files for part in parts),
        lines=sum(part.lines for part in parts),
        functions=sum(part.functions for part in parts),
        names=names,
        most_complex=tuple(heapq.nsmallest(top, candidates, key=lambda f: f.rank)),
        unparsed=tuple(sorted(file for part in parts for file in part.unparsed)),
    )


def census(files: Sequence[Path], *, root: Path, top: int) -> Census:
    """Counts all files on the cluster: one task a partition, then a tree of merges."""
    if not files:
        return Census()
    bag = dask.bag.from_sequence(files, partition_size=FILES_PER_PARTITION)
    merge = partial(merged, top=top)
    counted: Census = (
        bag.map(census_of_file, root=root).reduction(merge, merge, split_every=8).compute()
    )
    return counted


def top_names(counted: Census, top: int) -> list[tuple[str, int]]:
    """The most used names; the alphabet breaks ties."""
    return heapq.nsmallest(top, counted.names.items(), key=lambda item: (-item[1], item[0]))


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Plain text columns: numbers right-aligned, the rest left-aligned."""
    cells = [list(headers), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [
        "".join(column[1:]).replace("-", "").isdecimal() for column in zip(*cells, strict=True)
    ]
    lines = (
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    )
    return "\n".join(lines)


def report(counted: Census, *, top: int) -> str:
    """The text that the script prints."""
    functions = [(f.complexity, f.name, f"{f.file}:{f.line}") for f in counted.most_complex]
    return "\n".join(
        [
            f"{counted.files} files, {counted.lines} lines, {counted.functions} functions, "
            f"{len(counted.names)} different names; "
            f"{len(counted.unparsed)} files are not valid Python",
            "",
            table(["name", "uses"], top_names(counted, top)),
            "",
            table(["complexity", "function", "place"], functions),
        ]
    )


def result(counted: Census) -> dict[str, object]:
    """The same as numbers, for `status.result`."""
    return {
        "files": counted.files,
        "lines": counted.lines,
        "functions": counted.functions,
        "differentNames": len(counted.names),
        "unparsed": len(counted.unparsed),
        "topNames": dict(top_names(counted, RESULT_ENTRIES)),
        "mostComplex": [
            {"function": f.name, "place": f"{f.file}:{f.line}", "complexity": f.complexity}
            for f in counted.most_complex[:RESULT_ENTRIES]
        ],
    }


def write_result(values: dict[str, object]) -> None:
    """Writes the result to the file that daskjob reads; without daskjob there is no such file."""
    place = os.environ.get("DASKJOB_RESULT_FILE")
    if place:
        Path(place).write_text(json.dumps(values), encoding="utf-8")


def positive(text: str) -> int:
    """A whole number of at least one, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="A census of Python's standard library.")
    parser.add_argument("--top", type=positive, default=10, help="rows of each table")
    parser.add_argument("--limit", type=positive, help="only the first LIMIT files")
    parser.add_argument("--no-tests", action="store_true", help="leave the library's tests out")
    return parser.parse_args()


def main() -> None:
    """Finds the files, counts them on the cluster, and prints the result."""
    options = arguments()
    root = Path(sysconfig.get_path("stdlib"))
    files = source_files(root, with_tests=not options.no_tests)[: options.limit]
    with Client():
        counted = census(files, root=root, top=max(options.top, RESULT_ENTRIES))
    shown = merged([counted], top=options.top)
    print(report(shown, top=options.top))
    write_result(result(counted))


if __name__ == "__main__":
    main()
