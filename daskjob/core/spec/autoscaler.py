"""DaskAutoscaler: lets one worker group follow what the scheduler wants. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from daskjob.core import names
from daskjob.core.errors import FieldError, Invalid
from daskjob.core.fields import Reader
from daskjob.core.manifests import Manifest
from daskjob.core.shapes import Integer, Record
from daskjob.core.spec.group import (
    BOUNDS,
    DEFAULT_SCALE_DOWN_DELAY_SECONDS,
    MAXIMUM,
    MINIMUM,
    SCALE_DOWN_DELAY_SECONDS,
    read_bounds,
)
from daskjob.core.spec.meta import Meta, name_of, read_kind, read_meta

#: How often the scheduler is asked.
DEFAULT_INTERVAL_SECONDS = 5
#: More workers are wanted at once.
DEFAULT_SCALE_UP_DELAY_SECONDS = 0

CLUSTER_NAME = name_of(names.Kind.CLUSTER, "cluster", "The DaskCluster whose scheduler is asked.")
#: Upstream's kind holds a group at 0 too; that of a job, which is to run, does not.
MOST = replace(MAXIMUM, minimum=0)
WORKER_GROUP = name_of(
    names.Kind.GROUP,
    "workerGroup",
    "The DaskWorkerGroup that is scaled; absent: the default group, <cluster>-default.",
    required=False,
)
INTERVAL_SECONDS = Integer(
    "intervalSeconds",
    f"How often the scheduler is asked; absent: {DEFAULT_INTERVAL_SECONDS}.",
    minimum=1,
)
SCALE_UP_DELAY_SECONDS = Integer(
    "scaleUpDelaySeconds",
    "Seconds for which more workers must have been wanted before any comes; absent: "
    f"{DEFAULT_SCALE_UP_DELAY_SECONDS}.",
)
MAXIMUM_STEP = Integer(
    "maximumStep", "By how many workers the group changes at once; absent: any number.", minimum=1
)
SPEC = Record(
    "spec",
    "Which group follows the scheduler, and within what bounds.",
    (
        CLUSTER_NAME,
        MINIMUM,
        MOST,
        WORKER_GROUP,
        INTERVAL_SECONDS,
        SCALE_DOWN_DELAY_SECONDS,
        SCALE_UP_DELAY_SECONDS,
        MAXIMUM_STEP,
    ),
    required="write spec.cluster, spec.minimum and spec.maximum",
    rules=(BOUNDS,),
)


@dataclass(frozen=True, slots=True)
class DaskAutoscaler:
    """An object of kind DaskAutoscaler."""

    meta: Meta
    cluster: str
    minimum: int
    maximum: int
    #: The name of a DaskWorkerGroup; empty: the default group's.
    worker_group: str = ""
    interval_seconds: int = DEFAULT_INTERVAL_SECONDS
    scale_down_delay_seconds: int = DEFAULT_SCALE_DOWN_DELAY_SECONDS
    scale_up_delay_seconds: int = DEFAULT_SCALE_UP_DELAY_SECONDS
    #: ``None``: any number at once.
    maximum_step: int | None = None

    @property
    def group_name(self) -> str:
        """The name of the DaskWorkerGroup that is scaled."""
        return self.worker_group or names.group_name(self.cluster)


def read_autoscaler(
    manifest: Manifest, errors: list[FieldError], *, strict: bool = False
) -> DaskAutoscaler:
    """Return a DaskAutoscaler, with defaults where the manifest is wrong; notes every mistake."""
    root = Reader(manifest, "", errors, strict=strict)
    read_kind(root, names.Kind.AUTOSCALER)
    meta = read_meta(root, names.Kind.AUTOSCALER)
    spec = SPEC.read(root)
    minimum, maximum = read_bounds(spec, MINIMUM, MOST)
    interval = INTERVAL_SECONDS.read(spec)
    down, up = SCALE_DOWN_DELAY_SECONDS.read(spec), SCALE_UP_DELAY_SECONDS.read(spec)
    return DaskAutoscaler(
        meta=meta,
        cluster=CLUSTER_NAME.read(spec),
        minimum=minimum,
        maximum=maximum,
        worker_group=WORKER_GROUP.read(spec),
        interval_seconds=DEFAULT_INTERVAL_SECONDS if interval is None else interval,
        scale_down_delay_seconds=DEFAULT_SCALE_DOWN_DELAY_SECONDS if down is None else down,
        scale_up_delay_seconds=DEFAULT_SCALE_UP_DELAY_SECONDS if up is None else up,
        maximum_step=MAXIMUM_STEP.read(spec),
    )


def parse_autoscaler(manifest: Manifest) -> DaskAutoscaler:
    """Return a DaskAutoscaler.

    Raises
    ------
    Invalid
        With every mistake of the manifest.
    """
    errors: list[FieldError] = []
    autoscaler = read_autoscaler(manifest, errors, strict=True)
    if errors:
        raise Invalid(f"DaskAutoscaler {autoscaler.meta.name or '(unnamed)'}", errors)
    return autoscaler
