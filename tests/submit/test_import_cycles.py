"""No module of the clients, the records or the command line imports one that imports it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.docs.documents import imports

ROOT = Path(__file__).parents[2]


def graph(package: str) -> dict[str, set[str]]:
    files = [str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.py")]
    return {file: {found for found in _run_time_imports(file) if found != file} for file in files}


def _run_time_imports(file: str) -> list[str]:
    """The imports of a file, also those within functions; not those for types only."""
    tree = ast.parse((ROOT / file).read_text())
    for_types = {
        f"daskjob/{(node.module or '').removeprefix('daskjob.').replace('.', '/')}"
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }
    at_run_time = {
        f"daskjob/{(node.module or '').removeprefix('daskjob.').replace('.', '/')}"
        for block in ast.walk(tree)
        if not (isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test))
        for node in ast.iter_child_nodes(block)
        if isinstance(node, ast.ImportFrom)
    }
    only_types = for_types - at_run_time
    return [f for f in imports(ROOT / file, ROOT) if f.removesuffix(".py") not in only_types]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("submit/cli/connection.py", "submit/cli/place.py"),
        ("submit/client/sync_client.py", "submit/records/my_jobs.py"),
        ("submit/client/sync_client.py", "submit/records/clusters.py"),
    ],
)
def test_modules_do_not_import_each_other(one: str, other: str) -> None:
    found = graph("daskjob/submit")
    pair = f"daskjob/{one}", f"daskjob/{other}"
    assert not all(b in reached(found, a) for a, b in (pair, pair[::-1]))


def reached(found: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        for file in found.get(todo.pop(), set()) - seen:
            seen.add(file)
            todo.append(file)
    return seen
