"""DaskWorkerGroup: workers of one shape. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass, field

from daskjob.core import names
from daskjob.core.errors import FieldError, Invalid
from daskjob.core.fields import INT32, Reader
from daskjob.core.manifests import Manifest
from daskjob.core.spec.meta import Meta, read_kind, read_meta
from daskjob.core.spec.pod import PodTemplate, read_template

#: What the documented default of a group is (upstream's CRD).
DEFAULT_REPLICAS = 1


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """Bounds within which a group of a job follows the scheduler's wishes."""

    minimum: int
    maximum: int
    scale_down_delay_seconds: int = 60


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """One worker group as a cluster or a job asks for it; the default one is named "default"."""

    name: str = "default"
    replicas: int = DEFAULT_REPLICAS
    template: PodTemplate = field(default_factory=PodTemplate)
    autoscaling: Autoscaling | None = None
    #: False where the manifest leaves ``replicas`` out: then nothing overrides a scaled count.
    replicas_given: bool = False


@dataclass(frozen=True, slots=True)
class DaskWorkerGroup:
    """An object of kind DaskWorkerGroup."""

    meta: Meta
    cluster: str
    replicas: int
    template: PodTemplate


def read_group_spec(reader: Reader, name: str) -> GroupSpec:
    """Return a worker group as it stands in a cluster's spec."""
    replicas = reader.integer("replicas")
    return GroupSpec(
        name=name,
        replicas=DEFAULT_REPLICAS if replicas is None else replicas,
        template=read_template(reader),
        autoscaling=_read_autoscaling(reader),
        replicas_given=replicas is not None,
    )


def _read_autoscaling(reader: Reader) -> Autoscaling | None:
    if not reader.has("autoscaling"):
        return None
    bounds = reader.mapping("autoscaling")
    bounds.only(("minimum", "maximum", "scaleDownDelaySeconds"))
    minimum = bounds.integer("minimum") or 0
    maximum = bounds.integer("maximum", minimum=1)
    if not bounds.has("maximum"):
        bounds.mistake("maximum", None, "write the largest number of workers")
    elif maximum is not None and maximum < minimum:
        bounds.mistake("maximum", maximum, f"write at least the minimum, {minimum}")
    delay = bounds.integer("scaleDownDelaySeconds")
    return Autoscaling(
        minimum, INT32 if maximum is None else maximum, 60 if delay is None else delay
    )


def read_group(
    manifest: Manifest, errors: list[FieldError], *, strict: bool = False
) -> DaskWorkerGroup:
    """Return a DaskWorkerGroup, with defaults where the manifest is wrong; notes every mistake."""
    root = Reader(manifest, "", errors, strict=strict)
    read_kind(root, names.Kind.GROUP)
    meta = read_meta(root, names.Kind.GROUP)
    spec = root.mapping("spec")
    spec.only(("cluster", "worker"))
    cluster = spec.text("cluster")
    if not cluster:
        spec.mistake("cluster", None, "write the name of the DaskCluster that the group joins")
    worker = spec.mapping("worker")
    worker.only(("replicas", "spec", "metadata"))
    group = read_group_spec(worker, meta.name)
    return DaskWorkerGroup(meta, cluster, group.replicas, group.template)


def parse_group(manifest: Manifest) -> DaskWorkerGroup:
    """Return a DaskWorkerGroup.

    Raises
    ------
    Invalid
        With every mistake of the manifest.
    """
    errors: list[FieldError] = []
    group = read_group(manifest, errors, strict=True)
    if errors:
        raise Invalid(f"DaskWorkerGroup {group.meta.name or '(unnamed)'}", errors)
    return group
