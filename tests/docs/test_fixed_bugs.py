"""The table of what KubeCluster does better than dask-kubernetes names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.docs.documents import ROOT
from tests.docs.fixed_bugs import BUGS, rows


@cache
def functions(file: str) -> set[str]:
    """Return the functions of a module."""
    tree = ast.parse((ROOT / file).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


def test_each_bug_has_its_row() -> None:
    found = rows()
    assert [row.number for row in found] == list(range(1, BUGS + 1))
    assert all(row.theirs and row.seen and row.ours and row.tests for row in found)


def test_each_named_test_exists() -> None:
    for row in rows():
        names = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row.tests)
        assert row.tests == ", ".join(f"`{file}::{name}`" for file, name in names), row
        assert [(f, n) for f, n in names if n not in functions(f)] == []
