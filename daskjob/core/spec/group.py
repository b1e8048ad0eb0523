"""DaskWorkerGroup: workers of one shape. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from daskjob.core import names
from daskjob.core.errors import FieldError, Invalid
from daskjob.core.fields import INT32, Reader
from daskjob.core.manifests import Manifest
from daskjob.core.shapes import Choice, Integer, Record, Rule
from daskjob.core.spec.meta import Meta, name_of, read_kind, read_meta
from daskjob.core.spec.pod import TEMPLATE, PodTemplate, read_template

#: What the documented default of a group is (upstream's CRD).
DEFAULT_REPLICAS = 1
#: How long fewer workers must have been enough before any goes.
DEFAULT_SCALE_DOWN_DELAY_SECONDS = 60


class UpdateStrategy(StrEnum):
    """What becomes of the workers that there are when their template changes."""

    ON_DELETE = "OnDelete"
    RETIRE = "Retire"


#: Absent means something in a job: then nothing overrides a count that somebody scaled.
REPLICAS = Integer("replicas", f"The number of worker pods; absent: {DEFAULT_REPLICAS}.")
#: Of an object that is scaled by itself; ``kubectl scale`` needs a number to stand there.
SCALED_REPLICAS = replace(REPLICAS, default=DEFAULT_REPLICAS)

MINIMUM = Integer("minimum", "The smallest number of workers; absent: 0.")
MAXIMUM = Integer(
    "maximum",
    "The largest number of workers.",
    required="write the largest number of workers",
    minimum=1,
)
SCALE_DOWN_DELAY_SECONDS = Integer(
    "scaleDownDelaySeconds",
    "Seconds for which fewer workers must have been enough before any goes; absent: "
    f"{DEFAULT_SCALE_DOWN_DELAY_SECONDS}.",
)
BOUNDS = Rule(
    "!has(self.minimum) || !has(self.maximum) || self.minimum <= self.maximum",
    "write at least the minimum",
    ".maximum",
)
AUTOSCALING = Record(
    "autoscaling",
    "Lets the group follow what the scheduler wants, within bounds.",
    (MINIMUM, MAXIMUM, SCALE_DOWN_DELAY_SECONDS),
    rules=(BOUNDS,),
)

UPDATE_STRATEGY = Choice(
    "updateStrategy",
    "What becomes of the workers that there are when their template changes. OnDelete: they stay "
    "until they go for another reason. Retire: they are replaced, a quarter at a time, each when "
    "the scheduler has confirmed that its data is elsewhere. Absent: OnDelete.",
    UpdateStrategy,
)

CLUSTER_NAME = name_of(names.Kind.CLUSTER, "cluster", "The DaskCluster that the group joins.")
WORKER = Record(
    "worker",
    "The workers.",
    (SCALED_REPLICAS, *TEMPLATE),
    required="write the workers' pod: spec.containers",
)
SPEC = Record(
    "spec",
    "Workers of one shape.",
    (CLUSTER_NAME, WORKER, UPDATE_STRATEGY),
    required="write spec.cluster and spec.worker",
)


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """Bounds within which a group of a job follows the scheduler's wishes."""

    minimum: int
    maximum: int
    scale_down_delay_seconds: int = DEFAULT_SCALE_DOWN_DELAY_SECONDS


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """One worker group as a cluster or a job asks for it; the default one is named "default"."""

    name: str = names.DEFAULT_GROUP
    replicas: int = DEFAULT_REPLICAS
    template: PodTemplate = field(default_factory=PodTemplate)
    autoscaling: Autoscaling | None = None
    #: False where the manifest leaves ``replicas`` out: then nothing overrides a scaled count.
    replicas_given: bool = False
    update_strategy: UpdateStrategy = UpdateStrategy.ON_DELETE


@dataclass(frozen=True, slots=True)
class DaskWorkerGroup:
    """An object of kind DaskWorkerGroup."""

    meta: Meta
    cluster: str
    replicas: int
    template: PodTemplate
    update_strategy: UpdateStrategy = UpdateStrategy.ON_DELETE


def read_group_spec(reader: Reader, name: str) -> GroupSpec:
    """Return a worker group as it stands in a cluster's spec."""
    replicas = REPLICAS.read(reader)
    return GroupSpec(
        name=name,
        replicas=DEFAULT_REPLICAS if replicas is None else replicas,
        template=read_template(reader),
        autoscaling=_read_autoscaling(reader),
        replicas_given=replicas is not None,
        update_strategy=UPDATE_STRATEGY.read(reader) or UpdateStrategy.ON_DELETE,
    )


def _read_autoscaling(reader: Reader) -> Autoscaling | None:
    if not reader.has(AUTOSCALING.name):
        return None
    bounds = AUTOSCALING.read(reader)
    minimum, maximum = read_bounds(bounds, MINIMUM, MAXIMUM)
    delay = SCALE_DOWN_DELAY_SECONDS.read(bounds)
    return Autoscaling(
        minimum, maximum, DEFAULT_SCALE_DOWN_DELAY_SECONDS if delay is None else delay
    )


def read_bounds(bounds: Reader, minimum: Integer, maximum: Integer) -> tuple[int, int]:
    """Return the smallest and the largest number of workers."""
    least, most = minimum.read(bounds) or 0, maximum.read(bounds)
    if most is not None and most < least:
        bounds.mistake(maximum.name, most, f"{BOUNDS.says}, {least}")
    return least, INT32 if most is None else most


def read_group(
    manifest: Manifest, errors: list[FieldError], *, strict: bool = False
) -> DaskWorkerGroup:
    """Return a DaskWorkerGroup, with defaults where the manifest is wrong; notes every mistake."""
    root = Reader(manifest, "", errors, strict=strict)
    read_kind(root, names.Kind.GROUP)
    meta = read_meta(root, names.Kind.GROUP)
    spec = SPEC.read(root)
    cluster = CLUSTER_NAME.read(spec)
    group = read_group_spec(WORKER.read(spec), meta.name)
    strategy = UPDATE_STRATEGY.read(spec) or UpdateStrategy.ON_DELETE
    return DaskWorkerGroup(meta, cluster, group.replicas, group.template, strategy)


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
