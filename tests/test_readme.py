"""The page about the tests (``tests/README.md``) names files and classes that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "tests" / "README.md").read_text().splitlines()
    if line.startswith("|")
][2:]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("`"))
def test_each_name_of_the_page_is_in_its_file(row: list[str]) -> None:
    names, file, *texts = row
    text = file + (ROOT / file.strip("`")).read_text()
    for name in re.findall(r"`([A-Za-z_]+)`", names):
        assert re.search(rf"\b{name}\b", text), f"{name} is not in {file}"
    for other in re.findall(r"`(tests/[^`]+)`", " ".join(texts)):
        assert (ROOT / other).exists(), other


def test_each_folder_of_tests_is_in_contributing() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert not [name for name in sorted(folders) if f"tests/{name}" not in text]
