"""The widget of a classic cluster: that of Dask, whose form for `adapt` has useful numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from daskjob.core.demand import suggested_bounds


def with_bounds(widget: Any, workers: int) -> Any:
    """Fill in the bounds of Dask's widget, where both are still 0: they would end all workers."""
    fields = {str(getattr(one, "description", "")): one for one in _parts(widget)}
    low, high = fields.get("Minimum"), fields.get("Maximum")
    if low is not None and high is not None and not (low.value or high.value):
        low.value, high.value = suggested_bounds(workers)
    return widget


def _parts(widget: Any) -> Iterator[Any]:
    for child in getattr(widget, "children", ()):
        yield child
        yield from _parts(child)
