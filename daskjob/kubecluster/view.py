"""What a notebook shows of a cluster, as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from daskjob.core import names
from daskjob.core.manifests import integer, mapping, mappings
from daskjob.core.parsed import parsed_group_status
from daskjob.kubecluster.parts import Row, rows_of
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
        return "Manual" if self.bounds is None else f"Adaptive, {self.range}"

    @property
    def range(self) -> str:
        """Within which bounds it is scaled; empty if users scale it."""
        return "" if self.bounds is None else f"{self.bounds[0]} to {self.bounds[1]}"

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
