"""DaskCluster: a scheduler, its Service and worker groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from daskjob.core import names
from daskjob.core.errors import FieldError
from daskjob.core.fields import Reader
from daskjob.core.manifests import Manifest
from daskjob.core.rows import row, shapes_of
from daskjob.core.shapes import Integer, Many, Record, Rule, Text
from daskjob.core.spec.fields import read_fields
from daskjob.core.spec.group import (
    REPLICAS,
    SCALED_REPLICAS,
    GroupSpec,
    group_fields,
    read_group_spec,
)
from daskjob.core.spec.meta import Meta, read_kind, read_meta
from daskjob.core.spec.pod import TEMPLATE, PodTemplate, read_template

#: More than any known cluster uses; the API server requires limits on the lists in CEL rules.
MOST_GROUPS = 100
MOST_PORTS = 250
#: Clients find the scheduler pod of a cluster by this word in its name.
RESERVED_WORD = "scheduler"

PORT = Integer("port", "Number of the port.", minimum=1, maximum=65535)
PORTS = Many(
    "ports", "Ports of the Service.", Record("", "A port.", (PORT,), open=True), at_most=MOST_PORTS
)
REACHABLE = Rule(
    f"!has(self.ports) || self.ports.exists(p, has(p.port) && p.port == {names.PORT_COMM})",
    f"add port {names.PORT_COMM} ({names.PORT_NAME_COMM}): workers and clients connect to it",
    ".ports",
)
SERVICE = Record(
    "service",
    "The scheduler's ServiceSpec, passed through unchanged except for its selector. Defaults to a "
    f"ClusterIP Service with the ports {names.PORT_NAME_COMM} {names.PORT_COMM} and "
    f"{names.PORT_NAMES_DASHBOARD[0]} {names.PORT_DASHBOARD}.",
    (PORTS,),
    open=True,
    rules=(REACHABLE,),
)
SCHEDULER = Record(
    "scheduler",
    "The scheduler's pod and Service.",
    (*TEMPLATE, SERVICE),
    required="write the scheduler's pod: spec.containers",
)
WORKER = Record(
    "worker",
    "The workers of the default group.",
    group_fields(REPLICAS),
    required="write the workers' pod: spec.containers",
)
GROUP_NAME = Text(
    "name",
    "Name of the group. Its DaskWorkerGroup is named <cluster>-<name>.",
    required="write a name for the group",
    longest=names.NAME_LIMIT,
    pattern=names.GROUP_PATTERN,
    message=f"write a name of {names.GROUP_RULE}",
    rules=(
        Rule(
            f"!self.contains('{RESERVED_WORD}')", f"write a name without the word '{RESERVED_WORD}'"
        ),
        Rule(
            f"self != '{names.DEFAULT_GROUP}'",
            f"write a name that no other group has ('{names.DEFAULT_GROUP}' is reserved)",
        ),
    ),
)
GROUPS = Many(
    "workerGroups",
    "Additional worker groups, each with its own pod template.",
    Record("", "An additional worker group.", (GROUP_NAME, *group_fields(REPLICAS))),
    at_most=MOST_GROUPS,
    key="name",
)


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """The spec of a cluster, in a DaskCluster or a DaskJob."""

    scheduler: PodTemplate = field(default_factory=PodTemplate)
    service: Manifest = field(default_factory=dict)
    worker: GroupSpec = field(default_factory=GroupSpec)
    groups: tuple[GroupSpec, ...] = ()
    idle_timeout_seconds: int = row(
        Integer(
            "idleTimeout",
            "Seconds without work after which the cluster is deleted; 0 (the default): never.",
        ),
        0,
    )
    #: Labels and annotations of the DaskCluster itself, where a job creates it.
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    #: The spec as written in the manifest; a job copies it to its DaskCluster.
    raw: Manifest = field(default_factory=dict)

    @property
    def all_groups(self) -> tuple[GroupSpec, ...]:
        """The default group and the additional ones."""
        return (self.worker, *self.groups)

    @property
    def desired_workers(self) -> int:
        """The number of worker pods in the specs of all groups."""
        return sum(group.replicas for group in self.all_groups)


#: The spec of a job's cluster.
CLUSTER_SPEC = Record(
    "spec",
    "A scheduler and its workers.",
    (SCHEDULER, WORKER, GROUPS, *shapes_of(ClusterSpec)),
    required="write the cluster: scheduler and worker",
)
#: The same for a DaskCluster: scaling it scales its default group.
SPEC = replace(
    CLUSTER_SPEC,
    fields=(
        SCHEDULER,
        replace(WORKER, fields=group_fields(SCALED_REPLICAS)),
        GROUPS,
        *shapes_of(ClusterSpec),
    ),
)


@dataclass(frozen=True, slots=True)
class DaskCluster:
    """An object of kind DaskCluster."""

    meta: Meta
    spec: ClusterSpec

    @property
    def on_scheduler_loss(self) -> str:
        """``Fail`` for the cluster of one attempt: its scheduler is never replaced."""
        return self.meta.annotations.get(names.ANNOTATION_ON_SCHEDULER_LOSS, "Ignore")

    @property
    def deletes_workers(self) -> bool:
        """Whether to delete the workers and keep the scheduler (DeleteWorkers)."""
        return self.meta.annotations.get(names.ANNOTATION_DELETE_WORKERS) == "true"


def read_cluster_spec(spec: Reader) -> ClusterSpec:
    """Return a cluster's spec."""
    scheduler, worker = SCHEDULER.read(spec), WORKER.read(spec)
    return ClusterSpec(
        scheduler=read_template(scheduler),
        service=_read_service(scheduler),
        worker=read_group_spec(worker, names.DEFAULT_GROUP),
        groups=tuple(_read_groups(spec)),
        raw=dict(spec.fields),
        **read_fields(ClusterSpec, spec),
    )


def _read_service(scheduler: Reader) -> Manifest:
    service = SERVICE.read(scheduler)
    numbers = [PORT.read(port) for port in PORTS.read(service)]
    if service.has(PORTS.name) and names.PORT_COMM not in numbers:
        service.mistake(PORTS.name, service.fields[PORTS.name], REACHABLE.message)
    return dict(service.fields)


def _read_groups(spec: Reader) -> list[GroupSpec]:
    groups: list[GroupSpec] = []
    not_reserved, not_taken = GROUP_NAME.rules
    seen = {names.DEFAULT_GROUP}
    for item in GROUPS.read(spec):
        name = GROUP_NAME.read(item)
        if RESERVED_WORD in name:
            item.mistake(GROUP_NAME.name, name, not_reserved.message)
        elif name in seen:
            item.mistake(GROUP_NAME.name, name, not_taken.message)
        seen.update([name] if name else [])
        groups.append(read_group_spec(item, name))
    return groups


def read_cluster(
    manifest: Manifest, errors: list[FieldError], *, strict: bool = False
) -> DaskCluster:
    """Return a DaskCluster, with defaults for wrong values; records every mistake."""
    root = Reader(manifest, "", errors, strict=strict)
    read_kind(root, names.Kind.CLUSTER)
    meta = read_meta(root, names.Kind.CLUSTER)
    return DaskCluster(meta, read_cluster_spec(SPEC.read(root)))
