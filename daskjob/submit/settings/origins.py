"""Where each setting of a job came from, as comments above its manifest."""

from __future__ import annotations

from collections.abc import Iterable

from daskjob.submit.settings.merge import Merged
from daskjob.submit.settings.table import SETTINGS


def origin_comments(merged: Merged, others: Iterable[tuple[str, str, str]] = ()) -> str:
    """Return a comment line for each setting that has a value: key, value, places.

    ``others`` are such lines about what is no setting; they come last.
    """
    rows = []
    for key, places in merged.origins.items():
        value = _shown(getattr(merged.settings, SETTINGS[key].field))
        rows.append((key, value, ", ".join(dict.fromkeys(places))))
    order = list(SETTINGS)
    rows = [*sorted(rows, key=lambda row: order.index(row[0])), *others]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    return "\n".join(
        f"# {key.ljust(widths[0])}  {value.ljust(widths[1])}  {places}"
        for key, value, places in rows
    )


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(_pair(key, item) for key, item in value.items())
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return " ".join(str(value).split())


def _pair(key: str, item: object) -> str:
    return str(item) if hasattr(item, "settings") else f"{key}={' '.join(str(item).split())}"
