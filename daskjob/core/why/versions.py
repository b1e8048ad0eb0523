"""Different versions of packages in the roles of a job, as distributed's client reports them."""

from __future__ import annotations

import re

from daskjob.core.reasons import Reason
from daskjob.core.why.about import About, Advice
from daskjob.core.why.images import images_command

_REPORTED = "Mismatched versions found"
_ROW = re.compile(r"^\|\s*(?P<cells>[^|]+(\|[^|]+){2,3})\|\s*$", re.MULTILINE)
_HEADER = "Package"
#: The number of packages that are named.
PACKAGES = 4


def versions_differ(about: About) -> Advice | None:
    """Return the advice about a script that failed while versions differed."""
    if about.reason != Reason.EXIT_CODE:
        return None
    rows = _rows(f"{about.log_head}\n{about.log_tail}")
    if not rows:
        return None
    step = "Run runner, scheduler and workers from one image, or install the same versions. Images:"
    return Advice(step, images_command(about), rows[:PACKAGES])


def _rows(log: str) -> tuple[str, ...]:
    """Return a line for each package whose versions differ."""
    start = log.find(_REPORTED)
    if start < 0:
        return ()
    found = [
        [cell.strip() for cell in row["cells"].split("|")] for row in _ROW.finditer(log, start)
    ]
    if not found or found[0][0].lower() != _HEADER.lower():
        return ()
    header, rows = [cell.lower() for cell in found[0]], []
    for row in found[1:]:
        if row[0].lower() == _HEADER.lower() or len(row) != len(header):
            break
        named = ", ".join(f"{role}: {v}" for role, v in zip(header[1:], row[1:], strict=True))
        rows.append(f"versions of {row[0]} differ: {named}")
    return tuple(dict.fromkeys(rows))
