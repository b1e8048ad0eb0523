"""What a notebook shows of a cluster, as values and as HTML. Pure."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from daskjob.core import names
from daskjob.core.manifests import integer, mapping, mappings
from daskjob.core.parsed import parsed_group_status
from daskjob.kubecluster.panel import Row
from daskjob.kubecluster.rows import CELL, COLOURS, NAME_CELL, as_html, dot, rows_of
from daskjob.kubecluster.watch import ClusterWatch

Bounds = tuple[int, int]


@dataclass(frozen=True, slots=True)
class GroupView:
    """One worker group."""

    name: str
    requested: int
    ready: int
    #: The bounds within which the operator scales it; ``None`` if users do.
    bounds: Bounds | None = None
    #: Why workers are missing, in Kubernetes' own words.
    problem: str = ""

    @property
    def mode(self) -> str:
        """Who scales it."""
        return "Manual" if self.bounds is None else f"Adaptive, {_range(self.bounds)}"

    @property
    def state(self) -> str:
        """``ready``, ``waiting`` or ``failed``."""
        if self.ready >= self.requested:
            return "ready"
        return "failed" if self.problem else "waiting"


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A cluster at one moment."""

    #: The cluster itself and its scheduler.
    parts: tuple[Row, ...]
    groups: tuple[GroupView, ...] = ()
    #: Workers that are connected to the scheduler.
    connected: int = 0
    #: Whether this process has closed it: nothing can be changed any more.
    closed: bool = False
    #: Empty before the start.
    namespace: str = ""

    @property
    def is_adaptive(self) -> bool:
        """Whether the operator scales a group."""
        return any(group.bounds is not None for group in self.groups)

    @property
    def requested(self) -> int:
        """The wanted workers of all groups."""
        return sum(group.requested for group in self.groups)

    @property
    def ready(self) -> int:
        """The ready workers of all groups."""
        return sum(group.ready for group in self.groups)

    def group(self, name: str) -> GroupView | None:
        """Return the group of this name."""
        return next((group for group in self.groups if group.name == name), None)


def view_of(
    watch: ClusterWatch | None,
    *,
    connected: int = 0,
    adaptive: Mapping[str, Bounds] | None = None,
    closed: bool = False,
) -> ClusterView:
    """Return what there is to see.

    ``adaptive`` are the bounds that this process set. Those in the cluster's spec and of the
    autoscalers that are there, which any client may have set, come first.
    """
    namespace = watch.cluster.ref.namespace if watch else ""
    if closed:
        ended = Row("DaskCluster", "ended", "closed")
        return ClusterView((ended,), closed=True, namespace=namespace)
    parts = tuple(row for row in rows_of(watch) if not row.title.startswith("Workers"))
    if watch is None:
        return ClusterView(parts)
    if watch.gone:
        return ClusterView(parts[:1], closed=True, namespace=namespace)
    return ClusterView(parts, _groups(watch, adaptive or {}), connected, namespace=namespace)


def _groups(watch: ClusterWatch, adaptive: Mapping[str, Bounds]) -> tuple[GroupView, ...]:
    problems = watch.problems()
    spec, scalers = declared_bounds(watch.cluster.manifest), watch.autoscaling()
    found = []
    for name, requested in watch.replicas().items():
        group = watch.group(name)
        ready = parsed_group_status(group).ready_replicas if group else 0
        scaler = adaptive.get(name) if scalers is None else _bounds_of(scalers.get(name))
        bounds = spec.get(name) or (scaler if name not in spec or scalers is not None else None)
        view = GroupView(name, requested, ready or 0, bounds, problems.get(name, ""))
        found.append(view if view.state == "failed" else replace(view, problem=""))
    return tuple(sorted(found, key=lambda one: (one.name != names.DEFAULT_GROUP, one.name)))


def declared_bounds(manifest: Mapping[str, object]) -> dict[str, Bounds | None]:
    """Return the bounds of the groups that a cluster's spec has; ``None``: it is not scaled."""
    spec = mapping(manifest.get("spec"))
    found = {names.DEFAULT_GROUP: _bounds(mapping(spec.get("worker")))}
    for group in mappings(spec.get("workerGroups")):
        # Its own autoscaler may be there too, so that nothing is known without bounds.
        if (bounds := _bounds(group)) is not None:
            found[str(group.get("name"))] = bounds
    return found


def _bounds(worker: Mapping[str, object]) -> Bounds | None:
    return _bounds_of(mapping(worker.get("autoscaling")))


def _bounds_of(scaling: Mapping[str, object] | None) -> Bounds | None:
    if not scaling:
        return None
    return integer(scaling.get("minimum")) or 0, integer(scaling.get("maximum")) or 0


def _range(bounds: Bounds) -> str:
    return f"{bounds[0]} to {bounds[1]}"


def parts_html(view: ClusterView) -> str:
    """Return the state of each part as rows of a table of two columns."""
    return as_html([*view.parts, *(_row(group) for group in view.groups)])


def _row(group: GroupView) -> Row:
    text = f"{group.ready} of {group.requested} ready"
    if group.bounds is not None:
        text += f" (adaptive, {_range(group.bounds)})"
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
