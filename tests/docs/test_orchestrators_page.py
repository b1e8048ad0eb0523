"""The tests that the comparison in docs/howto/orchestrators.md names."""

from __future__ import annotations

import re

from tests.docs.documents import ROOT

PAGE = ROOT / "docs" / "howto" / "orchestrators.md"
_NAMED = re.compile(r"`(?:tests/[\w/]+/)?(test_\w+)(\.py)?`")


def test_every_test_of_the_comparison_exists() -> None:
    _, _, table = PAGE.read_text().partition("## Compared with other integrations")
    named = {(found[1], bool(found[2])) for found in _NAMED.finditer(table)}
    assert len(named) >= 5
    sources = {path.stem: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    for name, is_file in named:
        known = name in sources if is_file else any(f"def {name}(" in s for s in sources.values())
        assert known, name
