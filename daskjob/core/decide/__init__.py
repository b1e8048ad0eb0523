"""Decisions: a chain of policies, then the desired minus the observed objects. Pure.

``decide(observed, now)`` may be called at any time, any number of times, and after any crash.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from daskjob.core.decide.adoption import adoption_patch
from daskjob.core.decide.autoscaler import decide_autoscaler
from daskjob.core.decide.cluster import decide_cluster
from daskjob.core.decide.group import decide_group
from daskjob.core.decide.job import decide_job
from daskjob.core.decide.rejected_status import without_early_status
from daskjob.core.decision import Decision
from daskjob.core.observed import (
    Observed,
    ObservedAutoscaler,
    ObservedCluster,
    ObservedGroup,
    ObservedJob,
)


def decide(observed: Observed, now: datetime) -> Decision:
    """Return the writes that a pass over this object should make at this time."""
    first = adoption_patch(observed)
    if first is not None:
        return Decision(patch=(first,))
    return without_early_status(_decided(observed, now), observed.status_rejection, now)


def _decided(observed: Observed, now: datetime) -> Decision:
    match observed:
        case ObservedJob():
            return decide_job(observed, now)
        case ObservedCluster():
            return decide_cluster(observed, now)
        case ObservedGroup():
            return decide_group(observed, now)
        case ObservedAutoscaler():
            return decide_autoscaler(observed, now)
        case _:
            assert_never(observed)


__all__ = ["decide", "decide_autoscaler", "decide_cluster", "decide_group", "decide_job"]
