"""DaskWorkerGroup: workers from one pod template."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from daskjob.core import names
from daskjob.core.errors import FieldError
from daskjob.core.fields import Reader
from daskjob.core.manifests import Manifest
from daskjob.core.rows import parsed_row, required, row, shapes_of
from daskjob.core.shapes import Choice, Integer, Record, Rule, Shape
from daskjob.core.spec.fields import read_fields
from daskjob.core.spec.meta import Meta, name_of, read_kind, read_meta
from daskjob.core.spec.pod import TEMPLATE, PodTemplate, read_template

#: More than any known cluster has, and few enough that one object cannot exhaust the operator or
#: the API server.
MOST_WORKERS = 10_000
#: The documented default, from dask-kubernetes' CRD.
DEFAULT_REPLICAS = 1
#: How long fewer workers must have been enough before any is removed.
DEFAULT_SCALE_DOWN_DELAY_SECONDS = 60


class UpdateStrategy(StrEnum):
    """How existing workers are updated when their pod template changes."""

    ON_DELETE = "OnDelete"
    RETIRE = "Retire"


#: In a job, an absent count has a meaning: daskjob never overrides a scaled count.
REPLICAS = Integer(
    "replicas",
    f"Number of worker pods, at most {MOST_WORKERS}. Defaults to {DEFAULT_REPLICAS}.",
    maximum=MOST_WORKERS,
    capped=True,
)
#: Of an object that is itself scaled: ``kubectl scale`` needs a number in the field.
SCALED_REPLICAS = replace(REPLICAS, default=DEFAULT_REPLICAS)

#: The bounds of a group in a job and of a DaskAutoscaler.
MINIMUM = Integer(
    "minimum",
    "Minimum number of workers. Defaults to 0.",
    maximum=MOST_WORKERS,
    capped=True,
)
MAXIMUM = Integer(
    "maximum",
    f"Maximum number of workers, at most {MOST_WORKERS}.",
    required="write the maximum number of workers",
    minimum=1,
    maximum=MOST_WORKERS,
    capped=True,
)
SCALE_DOWN_DELAY_SECONDS = Integer(
    "scaleDownDelaySeconds",
    "Seconds for which fewer workers must have been enough before any is removed. Defaults to "
    f"{DEFAULT_SCALE_DOWN_DELAY_SECONDS}.",
)
BOUNDS = Rule(
    "!has(self.minimum) || !has(self.maximum) || self.minimum <= self.maximum",
    "write at least the minimum",
    ".maximum",
)
UPDATE_STRATEGY = Choice(
    "updateStrategy",
    "How existing workers are updated when their pod template changes. OnDelete: a worker keeps "
    "the old template until it is deleted for another reason. Retire: workers are replaced, at "
    "most a quarter at a time, each once the scheduler has moved its data. Defaults to OnDelete.",
    UpdateStrategy,
)


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """The bounds within which a job's group follows the scheduler's demand."""

    minimum: int = field(metadata=required(MINIMUM, 0))
    maximum: int = field(metadata=required(MAXIMUM, MOST_WORKERS))
    scale_down_delay_seconds: int = row(SCALE_DOWN_DELAY_SECONDS, DEFAULT_SCALE_DOWN_DELAY_SECONDS)


AUTOSCALING = Record(
    "autoscaling",
    "Scales the group to the scheduler's demand, within bounds.",
    shapes_of(Autoscaling),
    rules=(BOUNDS,),
)


def _read_autoscaling(spec: Reader) -> Autoscaling:
    bounds = AUTOSCALING.read(spec)
    found = Autoscaling(**read_fields(Autoscaling, bounds))
    check_bounds(bounds, found.minimum, found.maximum)
    return found


def check_bounds(bounds: Reader, minimum: int, maximum: int) -> None:
    """Record a maximum that is below the minimum."""
    if maximum < minimum:
        bounds.mistake(MAXIMUM.name, maximum, f"{BOUNDS.message}, {minimum}")


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """One worker group in a cluster's or a job's spec; the default group is named "default"."""

    name: str = names.DEFAULT_GROUP
    replicas: int = DEFAULT_REPLICAS
    template: PodTemplate = field(default_factory=PodTemplate)
    #: False where the manifest leaves ``replicas`` out: daskjob never overrides a scaled count.
    replicas_given: bool = False
    autoscaling: Autoscaling | None = parsed_row(AUTOSCALING, None, _read_autoscaling)
    update_strategy: UpdateStrategy = row(UPDATE_STRATEGY, UpdateStrategy.ON_DELETE)


def group_fields(replicas: Integer) -> tuple[Shape, ...]:
    """Return the fields of a group in a cluster's spec."""
    return (replicas, *TEMPLATE, *shapes_of(GroupSpec))


CLUSTER_NAME = name_of(
    names.Kind.CLUSTER, "cluster", "Name of the DaskCluster that the workers join."
)
WORKER = Record(
    "worker",
    "The worker pods.",
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
    "Workers from one pod template.",
    (CLUSTER_NAME, WORKER, *shapes_of(DaskWorkerGroup)),
    required="write spec.cluster and spec.worker",
)


def read_group_spec(reader: Reader, name: str) -> GroupSpec:
    """Return a worker group of a cluster's spec."""
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
    """Return a DaskWorkerGroup, with defaults for wrong values; records every mistake."""
    root = Reader(manifest, "", errors, strict=strict)
    read_kind(root, names.Kind.GROUP)
    meta = read_meta(root, names.Kind.GROUP)
    spec = SPEC.read(root)
    cluster = CLUSTER_NAME.read(spec)
    group = read_group_spec(WORKER.read(spec), meta.name)
    found = read_fields(DaskWorkerGroup, spec)
    return DaskWorkerGroup(meta, cluster, group.replicas, group.template, **found)
