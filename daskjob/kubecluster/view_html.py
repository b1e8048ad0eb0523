"""What a notebook shows of a cluster, as HTML in which everything is escaped. Pure."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from daskjob.kubecluster.parts import Row
from daskjob.kubecluster.view import ClusterView, GroupView

#: JupyterLab's colours, which follow its theme; other frontends take the second ones.
COLOURS = {
    "ready": "var(--jp-success-color1, #388e3c)",
    "waiting": "var(--jp-warn-color1, #f57c00)",
    "failed": "var(--jp-error-color1, #d32f2f)",
    "ended": "var(--jp-ui-font-color3, #9d9d9d)",
}
CELL = "text-align: left; vertical-align: top; padding: 2px 12px 2px 0;"
#: Of names: a long reason beside them would break them into a letter a line.
NAME_CELL = f"{CELL} white-space: nowrap;"
_DOT = "display: inline-block; width: 8px; height: 8px; border-radius: 4px; margin-right: 6px;"


def parts_html(view: ClusterView) -> str:
    """Return the state of each part as rows of a table of two columns."""
    return as_html([*view.parts, *(_row(group) for group in view.groups)])


def _row(group: GroupView) -> Row:
    text = f"{group.ready} of {group.requested} ready"
    if group.bounds is not None:
        text += f" (adaptive, {group.range})"
    if group.problem:
        text += f": {group.problem}"
    return Row(f"Workers ({group.name})", group.state, text)


def scaling_html(view: ClusterView) -> str:
    """Return who scales the cluster, and the workers of each group, as tables."""
    if view.closed:
        return _lines(["The cluster is closed."])
    mode = "Adaptive" if view.is_adaptive else "Manual"
    lines = [
        f"Scaling mode: {mode}",
        f"Workers: {view.requested} requested, {view.ready} ready, {view.connected} connected",
    ]
    return _lines(lines) + _table(view.groups)


def _lines(lines: Sequence[str]) -> str:
    return "".join(f'<div style="line-height: 1.6;">{html.escape(line)}</div>' for line in lines)


def _table(groups: Sequence[GroupView]) -> str:
    if not groups:
        return ""
    heads = ("Group", "Scaling", "Requested", "Ready", "Waiting for")
    cells: list[str] = [_tr([f"<b>{head}</b>" for head in heads])]
    for group in groups:
        name = f"{dot(group.state)}{html.escape(group.name)}"
        counts = [str(group.requested), str(group.ready)]
        cells.append(_tr([name, group.mode, *counts, html.escape(group.problem)]))
    return f'<table style="line-height: 1.5; margin: 6px 0;">{"".join(cells)}</table>'


def _tr(cells: Sequence[str]) -> str:
    first, *others = cells
    row = f'<td style="{NAME_CELL}">{first}</td>'
    row += "".join(f'<td style="{CELL}">{cell}</td>' for cell in others)
    return f"<tr>{row}</tr>"


def message_html(text: str, *, is_error: bool = False) -> str:
    """Return a line below the buttons."""
    colour = COLOURS["failed"] if is_error else "inherit"
    return f'<div style="color: {colour}; white-space: pre-wrap;">{html.escape(text)}</div>'


def page_html(
    kind: str,
    name: str,
    view: ClusterView,
    *,
    info: Any,
    dashboard_link: str,
    status: str | None = None,
) -> str:
    """Return the page of a cluster, by the template of all Dask clusters."""
    from dask.widgets import get_template

    workers: Mapping[str, Mapping[str, Any]] = {} if view.closed else info["workers"]
    shown = info._repr_html_() if workers and hasattr(info, "_repr_html_") else ""
    where = f" in namespace {view.namespace}" if view.namespace else ""
    page: str = get_template("cluster.html.j2").render(
        type=kind,
        name=html.escape(name + where),
        # A worker without a limit has none.
        workers={
            address: {**worker, "memory_limit": worker.get("memory_limit") or 0}
            for address, worker in workers.items()
        },
        dashboard_link="" if view.closed else dashboard_link,
        scheduler_info_repr=shown or "Nothing is connected.",
        cluster_status=status or parts_html(view),
    )
    return page


def as_html(rows: Sequence[Row]) -> str:
    """Return the rows as rows of a table."""
    return "".join(
        f'<tr><td style="{NAME_CELL}">{dot(row.state)}{html.escape(row.title)}</td>'
        f'<td style="{CELL}">{html.escape(row.text)}</td></tr>'
        for row in rows
    )


def dot(state: str) -> str:
    """Return a point in the colour of a state."""
    return f'<span style="{_DOT} background: {COLOURS[state]};"></span>'
