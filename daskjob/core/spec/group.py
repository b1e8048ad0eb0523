"""DaskWorkerGroup: workers of one shape. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from daskjob.core import names
from daskjob.core.errors import FieldError
from daskjob.core.fields import INT32, Reader
from daskjob.core.manifests import Manifest
from daskjob.core.rows import parsed_row, required, row, shapes_of
from daskjob.core.shapes import Choice, Integer, Record, Rule, Shape
from daskjob.core.spec.fields import read_fields
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

#: Bounds, of a group in a job and of a DaskAutoscaler.
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
UPDATE_STRATEGY = Choice(
    "updateStrategy",
    "What becomes of the workers that there are when their template changes. OnDelete: they stay "
    "until they go for another reason. Retire: they are replaced, a quarter at a time, each when "
    "the scheduler has confirmed that its data is elsewhere. Absent: OnDelete.",
    UpdateStrategy,
)


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """Bounds within which a group of a job follows the scheduler's wishes."""

    minimum: int = field(metadata=required(MINIMUM, 0))
    maximum: int = field(metadata=required(MAXIMUM, INT32))
    scale_down_delay_seconds: int = row(SCALE_DOWN_DELAY_SECONDS, DEFAULT_SCALE_DOWN_DELAY_SECONDS)


AUTOSCALING = Record(
    "autoscaling",
    "Lets the group follow what the scheduler wants, within bounds.",
    shapes_of(Autoscaling),
    rules=(BOUNDS,),
)


def _read_autoscaling(spec: Reader) -> Autoscaling:
    bounds = AUTOSCALING.read(spec)
    found = Autoscaling(**read_fields(Autoscaling, bounds))
    check_bounds(bounds, found.minimum, found.maximum)
    return found


def check_bounds(bounds: Reader, minimum: int, maximum: int) -> None:
    """Note a largest number of workers that is below the smallest."""
    if maximum < minimum:
        bounds.mistake(MAXIMUM.name, maximum, f"{BOUNDS.says}, {minimum}")


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """One worker group as a cluster or a job asks for it; the default one is named "default"."""

    name: str = names.DEFAULT_GROUP
    replicas: int = DEFAULT_REPLICAS
    template: PodTemplate = field(default_factory=PodTemplate)
    #: False where the manifest leaves ``replicas`` out: then nothing overrides a scaled count.
    replicas_given: bool = False
    autoscaling: Autoscaling | None = parsed_row(AUTOSCALING, None, _read_autoscaling)
    update_strategy: UpdateStrategy = row(UPDATE_STRATEGY, UpdateStrategy.ON_DELETE)


def group_fields(replicas: Integer) -> tuple[Shape, ...]:
    """Return the fields of a group in a cluster's spec."""
    return (replicas, *TEMPLATE, *shapes_of(GroupSpec))


CLUSTER_NAME = name_of(names.Kind.CLUSTER, "cluster", "The DaskCluster that the group joins.")
WORKER = Record(
    "worker",
    "The workers.",
    (SCALED_REPLICAS, *TEMPLATE),
    required="write the workers' pod: spec.containers",
)


@dataclass(frozen=True, slots=True)
class DaskWorkerGroup:
    """An object of kind DaskWorkerGroup."""

    meta: Meta
    cluster: str
    replicas: int
    template: PodTemplate
    update_strategy: UpdateStrategy = row(UPDATE_STRATEGY, UpdateStrategy.ON_DELETE)


SPEC = Record(
    "spec",
    "Workers of one shape.",
    (CLUSTER_NAME, WORKER, *shapes_of(DaskWorkerGroup)),
    required="write spec.cluster and spec.worker",
)


def read_group_spec(reader: Reader, name: str) -> GroupSpec:
    """Return a worker group as it stands in a cluster's spec."""
    replicas = REPLICAS.read(reader)
    return GroupSpec(
        name=name,
        replicas=DEFAULT_REPLICAS if replicas is None else replicas,
        template=read_template(reader),
        replicas_given=replicas is not None,
        **read_fields(GroupSpec, reader),
    )


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
    found = read_fields(DaskWorkerGroup, spec)
    return DaskWorkerGroup(meta, cluster, group.replicas, group.template, **found)
