"""Each block of the documents is run by a test, or has a reason why not; none is left out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documented.blocks import DOCUMENTS, FOLDER, RUNS, documented

#: The folder with the documents of dask-kubernetes, to compare them with the list of blocks: files
#: in the order of `DOCUMENTS`.
VARIABLE = "DASKJOB_TEST_DOCUMENTED"
#: Lines that are code, whatever is around them.
_CODE = re.compile(
    r"\s*(\$ |> (source|kubectl)|>>> |\.\.\. |from [\w.]+ import |import \w+$"
    r"|cluster = |cluster\.\w+\(|apiVersion: |kind: [A-Z]|helm |pip |conda |git |docker |export "
    r"|metrics:$|FROM |RUN |@kopf"
    r"|client = |spec = |config = |\w+_spec = )"
)


def test_every_block_is_run_or_has_a_reason() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    used = set(re.findall(rf'"((?:{"|".join(DOCUMENTS)})/[\w.-]+)"', tests))
    wanted = {place for place, block in documented().items() if block.verb != "not run"}
    assert used == wanted
    for block in documented().values():
        assert block.verb != "run" or block.how in RUNS, block.place
        assert block.verb != "not run" or len(block.how) > 10, block.place


def test_list_has_all_blocks_of_its_files() -> None:
    for name in DOCUMENTS:
        blocks = [block for block in documented().values() if block.document == name]
        assert len(blocks) == (FOLDER / f"{name}.md").read_text().count("\n### ")
        for block in blocks:
            for old, _ in block.changes:
                assert old in block.original, block.place
    # No formatter has changed them.
    assert "n_workers= 2" in documented()["operator/same-by-spec"].original


@pytest.mark.skipif(VARIABLE not in os.environ, reason=f"{VARIABLE} names the documents' folder")
def test_list_is_complete() -> None:
    files = dict(zip(DOCUMENTS, sorted(Path(os.environ[VARIABLE]).glob("*.txt")), strict=True))
    for name, path in files.items():
        assert list(_left(name, path.read_text())) == []


def _left(document: str, text: str) -> Iterator[str]:
    """Yield the lines of code of a document that no block of the list has."""
    lines = [line.strip() for line in text.splitlines()]
    rest = "\n".join(lines)
    for block in documented().values():
        if block.document == document:
            shown = [line.strip() for line in block.original.splitlines()]
            pattern = r"\s".join(r"(?:.*\n)*?.*" if s == "…" else re.escape(s) for s in shown)
            rest, count = re.subn(pattern.replace(">>>\\ ", r">>>\s"), "", rest, count=1)
            if not count:
                yield f"not in the document: {block.place}"
    yield from (line for line in rest.splitlines() if _CODE.match(line))
