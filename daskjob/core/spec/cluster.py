"""DaskCluster: a scheduler, its Service and worker groups. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from daskjob.core import names
from daskjob.core.errors import FieldError, Invalid
from daskjob.core.fields import Reader
from daskjob.core.manifests import Manifest
from daskjob.core.spec.group import GroupSpec, read_group_spec
from daskjob.core.spec.meta import Meta, read_kind, read_meta
from daskjob.core.spec.pod import PodTemplate, read_template


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """A cluster as a DaskCluster, or a DaskJob, asks for it."""

    scheduler: PodTemplate = field(default_factory=PodTemplate)
    service: Manifest = field(default_factory=dict)
    worker: GroupSpec = field(default_factory=GroupSpec)
    groups: tuple[GroupSpec, ...] = ()
    #: Seconds without work after which the cluster goes; 0: never.
    idle_timeout_seconds: int = 0
    #: Labels and annotations of the DaskCluster itself, where a job asks for it.
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    #: The manifest's own text of the spec, as it is handed on to the DaskCluster.
    raw: Manifest = field(default_factory=dict)

    @property
    def all_groups(self) -> tuple[GroupSpec, ...]:
        """The default group and the further ones."""
        return (self.worker, *self.groups)

    @property
    def desired_workers(self) -> int:
        """How many worker pods all groups together ask for."""
        return sum(group.replicas for group in self.all_groups)


@dataclass(frozen=True, slots=True)
class DaskCluster:
    """An object of kind DaskCluster."""

    meta: Meta
    spec: ClusterSpec

    @property
    def on_scheduler_loss(self) -> str:
        """``Fail`` where the cluster is one attempt's: its scheduler is never replaced."""
        return self.meta.annotations.get(names.ANNOTATION_ON_SCHEDULER_LOSS, "Ignore")

    @property
    def deletes_workers(self) -> bool:
        """Whether the workers are to go while the scheduler stays (DeleteWorkers)."""
        return self.meta.annotations.get(names.ANNOTATION_DELETE_WORKERS) == "true"


def read_cluster_spec(spec: Reader, owner_name: str) -> ClusterSpec:
    """Return a cluster's spec; ``owner_name`` names the cluster, for the names of its groups."""
    spec.only(("scheduler", "worker", "workerGroups", "idleTimeout"))
    scheduler = spec.mapping("scheduler")
    if not spec.has("scheduler"):
        spec.mistake("scheduler", None, "write the scheduler's pod: spec.containers")
    scheduler.only(("spec", "metadata", "service"))
    worker = spec.mapping("worker")
    if not spec.has("worker"):
        spec.mistake("worker", None, "write the workers' pod: spec.containers")
    worker.only(("replicas", "spec", "metadata", "autoscaling"))
    return ClusterSpec(
        scheduler=read_template(scheduler, required=spec.has("scheduler")),
        service=_read_service(scheduler),
        worker=read_group_spec(worker, "default") if spec.has("worker") else GroupSpec(),
        groups=tuple(_read_groups(spec, owner_name)),
        idle_timeout_seconds=spec.integer("idleTimeout") or 0,
        raw=dict(spec.fields),
    )


def _read_service(scheduler: Reader) -> Manifest:
    service = scheduler.mapping("service")
    if service.has("ports"):
        ports = [(port.text("name"), port.fields.get("port")) for port in service.items("ports")]
        if not any(number == names.PORT_COMM for _, number in ports):
            service.mistake(
                "ports",
                service.fields.get("ports"),
                f"one port must be {names.PORT_COMM} ({names.PORT_NAME_COMM}), "
                "which workers and clients connect to",
            )
    return scheduler.raw("service")


def _read_groups(spec: Reader, owner_name: str) -> list[GroupSpec]:
    groups: list[GroupSpec] = []
    seen = {"default"}
    for item in spec.items("workerGroups"):
        item.only(("name", "replicas", "spec", "metadata", "autoscaling"))
        name = item.text("name")
        if not name:
            item.mistake("name", None, "write a name for the group")
        elif not names.is_valid_name(names.group_name(owner_name or "x", name)):
            item.mistake("name", name, names.NAME_RULE)
        elif "scheduler" in name:
            # Readers of the cluster find its scheduler pod by that word.
            item.mistake("name", name, "write a name without the word 'scheduler'")
        elif name in seen:
            item.mistake("name", name, "write a name that no other group has ('default' is taken)")
        seen.add(name)
        groups.append(read_group_spec(item, name))
    return groups


def read_cluster(
    manifest: Manifest, errors: list[FieldError], *, strict: bool = False
) -> DaskCluster:
    """Return a DaskCluster, with defaults where the manifest is wrong; notes every mistake."""
    root = Reader(manifest, "", errors, strict=strict)
    read_kind(root, names.Kind.CLUSTER)
    meta = read_meta(root, names.Kind.CLUSTER)
    return DaskCluster(meta, read_cluster_spec(root.mapping("spec"), meta.name))


def parse_cluster(manifest: Manifest) -> DaskCluster:
    """Return a DaskCluster.

    Raises
    ------
    Invalid
        With every mistake of the manifest.
    """
    errors: list[FieldError] = []
    cluster = read_cluster(manifest, errors, strict=True)
    if errors:
        raise Invalid(f"DaskCluster {cluster.meta.name or '(unnamed)'}", errors)
    return cluster
