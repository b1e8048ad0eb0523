"""DaskAutoscaler: scales one worker group to the scheduler's demand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from daskjob.core import names
from daskjob.core.errors import FieldError
from daskjob.core.fields import Reader
from daskjob.core.manifests import Manifest
from daskjob.core.rows import required, row, shapes_of
from daskjob.core.shapes import Integer, Record
from daskjob.core.spec.fields import read_fields
from daskjob.core.spec.group import (
    BOUNDS,
    DEFAULT_SCALE_DOWN_DELAY_SECONDS,
    MAXIMUM,
    MINIMUM,
    MOST_WORKERS,
    SCALE_DOWN_DELAY_SECONDS,
    check_bounds,
)
from daskjob.core.spec.meta import Meta, name_of, read_kind, read_meta

#: Seconds between requests to the scheduler.
DEFAULT_INTERVAL_SECONDS = 5
#: A group scales up immediately.
DEFAULT_SCALE_UP_DELAY_SECONDS = 0


@dataclass(frozen=True, slots=True)
class DaskAutoscaler:
    """An object of kind DaskAutoscaler."""

    meta: Meta
    cluster: str = field(
        metadata=required(
            name_of(
                names.Kind.CLUSTER, "cluster", "Name of the DaskCluster that the group belongs to."
            ),
            "",
        )
    )
    minimum: int = field(metadata=required(MINIMUM, 0))
    #: 0 is valid, as in dask-kubernetes' kind; not in a job, which could never run then.
    maximum: int = field(metadata=required(replace(MAXIMUM, minimum=0), MOST_WORKERS))
    worker_group: str = row(
        name_of(
            names.Kind.GROUP,
            "workerGroup",
            "Name of the DaskWorkerGroup to scale. Defaults to <cluster>-default.",
            required=False,
        ),
        "",
    )
    interval_seconds: int = row(
        Integer(
            "intervalSeconds",
            "Seconds between requests to the scheduler for its demand. Defaults to "
            f"{DEFAULT_INTERVAL_SECONDS}.",
            minimum=1,
        ),
        DEFAULT_INTERVAL_SECONDS,
    )
    scale_down_delay_seconds: int = row(SCALE_DOWN_DELAY_SECONDS, DEFAULT_SCALE_DOWN_DELAY_SECONDS)
    scale_up_delay_seconds: int = row(
        Integer(
            "scaleUpDelaySeconds",
            "Seconds for which demand must have been higher before workers are added. Defaults to "
            f"{DEFAULT_SCALE_UP_DELAY_SECONDS}.",
        ),
        DEFAULT_SCALE_UP_DELAY_SECONDS,
    )
    maximum_step: int | None = row(
        Integer(
            "maximumStep",
            "Maximum number of workers to add or remove at once. Defaults to no limit.",
            minimum=1,
        )
    )

    @property
    def group_name(self) -> str:
        """The name of the DaskWorkerGroup that is scaled."""
        return self.worker_group or names.group_name(self.cluster)


SPEC = Record(
    "spec",
    "The worker group to scale, and its bounds.",
    shapes_of(DaskAutoscaler),
    required="write spec.cluster, spec.minimum and spec.maximum",
    rules=(BOUNDS,),
)


def read_autoscaler(
    manifest: Manifest, errors: list[FieldError], *, strict: bool = False
) -> DaskAutoscaler:
    """Return a DaskAutoscaler, with defaults for wrong values; records every mistake."""
    root = Reader(manifest, "", errors, strict=strict)
    read_kind(root, names.Kind.AUTOSCALER)
    meta = read_meta(root, names.Kind.AUTOSCALER)
    spec = SPEC.read(root)
    found = DaskAutoscaler(meta, **read_fields(DaskAutoscaler, spec))
    check_bounds(spec, found.minimum, found.maximum)
    return found
