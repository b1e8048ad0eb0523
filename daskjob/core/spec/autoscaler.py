"""DaskAutoscaler: lets one worker group follow what the scheduler wants. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from daskjob.core import names
from daskjob.core.errors import FieldError
from daskjob.core.fields import INT32, Reader
from daskjob.core.manifests import Manifest
from daskjob.core.rows import required, row, shapes_of
from daskjob.core.shapes import Integer, Record
from daskjob.core.spec.fields import read_fields
from daskjob.core.spec.group import (
    BOUNDS,
    DEFAULT_SCALE_DOWN_DELAY_SECONDS,
    MAXIMUM,
    MINIMUM,
    SCALE_DOWN_DELAY_SECONDS,
    check_bounds,
)
from daskjob.core.spec.meta import Meta, name_of, read_kind, read_meta

#: How often the scheduler is asked.
DEFAULT_INTERVAL_SECONDS = 5
#: More workers are wanted at once.
DEFAULT_SCALE_UP_DELAY_SECONDS = 0


@dataclass(frozen=True, slots=True)
class DaskAutoscaler:
    """An object of kind DaskAutoscaler."""

    meta: Meta
    cluster: str = field(
        metadata=required(
            name_of(names.Kind.CLUSTER, "cluster", "The DaskCluster whose scheduler is asked."), ""
        )
    )
    minimum: int = field(metadata=required(MINIMUM, 0))
    #: Upstream's kind holds a group at 0 too; that of a job, which is to run, does not.
    maximum: int = field(metadata=required(replace(MAXIMUM, minimum=0), INT32))
    worker_group: str = row(
        name_of(
            names.Kind.GROUP,
            "workerGroup",
            "The DaskWorkerGroup that is scaled; absent: the default group, <cluster>-default.",
            required=False,
        ),
        "",
    )
    interval_seconds: int = row(
        Integer(
            "intervalSeconds",
            f"How often the scheduler is asked; absent: {DEFAULT_INTERVAL_SECONDS}.",
            minimum=1,
        ),
        DEFAULT_INTERVAL_SECONDS,
    )
    scale_down_delay_seconds: int = row(SCALE_DOWN_DELAY_SECONDS, DEFAULT_SCALE_DOWN_DELAY_SECONDS)
    scale_up_delay_seconds: int = row(
        Integer(
            "scaleUpDelaySeconds",
            "Seconds for which more workers must have been wanted before any comes; absent: "
            f"{DEFAULT_SCALE_UP_DELAY_SECONDS}.",
        ),
        DEFAULT_SCALE_UP_DELAY_SECONDS,
    )
    maximum_step: int | None = row(
        Integer(
            "maximumStep",
            "By how many workers the group changes at once; absent: any number.",
            minimum=1,
        )
    )

    @property
    def group_name(self) -> str:
        """The name of the DaskWorkerGroup that is scaled."""
        return self.worker_group or names.group_name(self.cluster)


SPEC = Record(
    "spec",
    "Which group follows the scheduler, and within what bounds.",
    shapes_of(DaskAutoscaler),
    required="write spec.cluster, spec.minimum and spec.maximum",
    rules=(BOUNDS,),
)


def read_autoscaler(
    manifest: Manifest, errors: list[FieldError], *, strict: bool = False
) -> DaskAutoscaler:
    """Return a DaskAutoscaler, with defaults where the manifest is wrong; notes every mistake."""
    root = Reader(manifest, "", errors, strict=strict)
    read_kind(root, names.Kind.AUTOSCALER)
    meta = read_meta(root, names.Kind.AUTOSCALER)
    spec = SPEC.read(root)
    found = DaskAutoscaler(meta, **read_fields(DaskAutoscaler, spec))
    check_bounds(spec, found.minimum, found.maximum)
    return found
