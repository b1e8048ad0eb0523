"""Phrases that are not plain English, and must not come back."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.docs.documents import ROOT

#: Each with what to write instead.
PHRASES = {
    r"noes": "rejections",
    r"(say|says|said) no": "reject",
    r"(say|says|said) whether": "return whether",
    r"(is|are|was|were|be|been|being) told": "reported, known, asked",
    r"tells? (of|that|whether|how|what|when|which)": "reports, shows",
    r"whoever": "the one who it is",
    r"so many": "a number",
    r"of which": "two sentences",
    r"lets? go of": "releases, discards",
    r"st(and|ands|ood) still": "makes no progress, is unchanged",
    r"takes? note of": "records",
    r"listed anew": "relisted",
}
#: Where prose is read: by users, and by those who work on the code.
PLACES = (
    "daskjob",
    "docs",
    "operator-chart",
    "images",
    "scripts",
    "benchmarks",
    "*.md",
    "Makefile",
    # Pictures.
    ":!*.webp",
)


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_phrase_that_is_not_plain_english_is_nowhere(phrase: str) -> None:
    pattern = re.compile(rf"\b{phrase}\b", re.IGNORECASE)
    listed = subprocess.run(
        ["git", "ls-files", "--", *PLACES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = [
        f"{name}:{number}: {line.strip()}"
        for name in listed.stdout.splitlines()
        for number, line in enumerate((ROOT / name).read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == [], f"write: {PHRASES[phrase]}"
