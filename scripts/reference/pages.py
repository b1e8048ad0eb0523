"""What the built documentation contains in addition to the text of a page in docs/.

A line ``<!-- generated: NAME -->`` is replaced by the text that a function below returns, so the
text is never older than the code. A page that includes a document from elsewhere in the repository
says ``<!-- generated: file PATH -->``. A file that tests write has its name above it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from posixpath import normpath

from scripts.reference.commands import commands_page
from scripts.reference.flowcharts import tabulated
from scripts.reference.kinds import kinds_page
from scripts.reference.reasons import exit_codes_table, reasons_table

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

GENERATED: dict[str, Callable[[], str]] = {
    "commands": commands_page,
    "kinds": kinds_page,
    "exit-codes": exit_codes_table,
    "reasons": reasons_table,
}
#: Documents that are pages too, under these names.
INCLUDED = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/README.md": "examples.md",
    "operator-chart/README.md": "chart.md",
}

_MARK = re.compile(r"^<!-- generated: ([a-z-]+)(?: (\S+))? -->$", re.MULTILINE)
_FILE = re.compile(r"^<!-- file: (\S+) -->\n(?=```)", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


def completed(text: str, page: str) -> str:
    """Return the text of a page with all that is generated; ``page`` is relative to docs/."""
    own = resolved(tabulated(text), folder=PurePosixPath("docs", page).parent, page=page)
    named = _FILE.sub(r"**`\1`**\n\n", own)
    return _MARK.sub(lambda found: _generated(found[1], found[2], page), named)


def _generated(name: str, path: str | None, page: str) -> str:
    if name != "file":
        return GENERATED[name]()
    assert path is not None, "file PATH"
    text = (ROOT / path).read_text()
    return resolved(text, folder=PurePosixPath(path).parent, page=page)


def resolved(text: str, *, folder: PurePosixPath, page: str) -> str:
    """Return text whose links lead to pages: links to other files of the repository are removed."""

    def link(found: re.Match[str]) -> str:
        label, target = found.groups()
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        path, mark, anchor = target.partition("#")
        place = normpath(str(folder / path))
        included = INCLUDED.get(place)
        if included is None and PurePosixPath(place).parts[0] == "docs":
            included = str(PurePosixPath(place).relative_to("docs"))
        if included is None:
            return label
        up = "../" * (len(PurePosixPath(page).parts) - 1)
        return f"[{label}]({up}{included}{mark}{anchor})"

    return _LINK.sub(link, text)
