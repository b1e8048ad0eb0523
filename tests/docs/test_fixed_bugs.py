"""The table of what KubeCluster does better than dask-kubernetes names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.docs.documents import ROOT

PAGE = ROOT / "docs" / "howto" / "fixed-bugs.md"
BUGS = 35


def rows() -> list[list[str]]:
    """Return the cells of each row."""
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d+ \|", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@cache
def functions(file: str) -> set[str]:
    """Return the functions of a module."""
    tree = ast.parse((ROOT / file).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


def test_each_bug_has_its_row() -> None:
    found = rows()
    assert [int(cells[0]) for cells in found] == list(range(1, BUGS + 1))
    assert all(len(cells) == 4 and all(cells) for cells in found)


def test_each_named_test_exists() -> None:
    for cells in rows():
        names = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", cells[3])
        assert cells[3] == ", ".join(f"`{file}::{name}`" for file, name in names), cells
        assert [(f, n) for f, n in names if n not in functions(f)] == []
