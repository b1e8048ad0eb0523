"""The number of workers of a group, from what its scheduler wants.

The stabilisation is that of a HorizontalPodAutoscaler: a group grows only to the minimum wanted in
the last ``scaleUpDelaySeconds``, and shrinks only to the maximum wanted in the last
``scaleDownDelaySeconds``. In between it stays unchanged. The bounds apply immediately, and to every
count that is written.

Pods that do not run yet count like running ones, since they have been requested. When a group
shrinks, they are removed first (``scaling``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from daskjob.core.demand import Demand
from daskjob.core.spec import DaskAutoscaler


class ScalingReason(StrEnum):
    """Why a group has its current count."""

    #: The count is that from before the autoscaler; no change was needed.
    AS_FOUND = "AsFound"
    #: The scheduler wanted more for as long as ``scaleUpDelaySeconds``.
    MORE_WANTED = "MoreWanted"
    #: The scheduler wanted fewer for as long as ``scaleDownDelaySeconds``.
    FEWER_WANTED = "FewerWanted"
    #: It had fewer than ``minimum``.
    BELOW_MINIMUM = "BelowMinimum"
    #: It had more than ``maximum``.
    ABOVE_MAXIMUM = "AboveMaximum"
    #: Another client scaled it; that count holds until the next decision.
    SCALED_BY_OTHERS = "ScaledByOthers"


@dataclass(frozen=True, slots=True)
class Autoscale:
    """A decision: the count for now, the count that it moves towards, and why."""

    count: int
    desired: int
    reason: ScalingReason
    why: str


def autoscale(
    autoscaler: DaskAutoscaler, current: int, demand: Demand, now: datetime, *, per_pod: int = 1
) -> Autoscale:
    """Decide the count of a group of ``current`` pods with ``per_pod`` workers each."""
    least, most = autoscaler.minimum, autoscaler.maximum
    up, down = autoscaler.scale_up_delay_seconds, autoscaler.scale_down_delay_seconds
    grown = _pods(demand.fewest(up, now), per_pod)
    shrunk = _pods(demand.most(down, now), per_pod)
    if current < least:
        wanted, reason, why = max(least, grown or 0), ScalingReason.BELOW_MINIMUM, _minimum(least)
    elif current > most:
        wanted = most if shrunk is None else min(most, shrunk)
        reason, why = ScalingReason.ABOVE_MAXIMUM, f"the maximum is {most}"
    elif grown is not None and grown > current:
        wanted, reason = grown, ScalingReason.MORE_WANTED
        why = f"the scheduler wants {_workers(grown, per_pod)}{_for(up)}"
        why += f", the maximum is {most}" if grown > most else ""
    elif shrunk is not None and shrunk < current:
        wanted, reason = shrunk, ScalingReason.FEWER_WANTED
        why = f"the scheduler wants no more than {_workers(shrunk, per_pod)}{_for(down)}"
        why += f", {_minimum(least)}" if shrunk < least else ""
    else:
        wanted, reason, why = current, ScalingReason.AS_FOUND, "no change is due"
    desired = _within(wanted, least, most)
    step = autoscaler.maximum_step
    count = desired if step is None else _within(desired, current - step, current + step)
    return Autoscale(_within(count, least, most), desired, reason, why)


def _pods(workers: int | None, per_pod: int) -> int | None:
    return None if workers is None else -(-workers // per_pod)


def _within(count: int, least: int, most: int) -> int:
    return max(least, min(count, most))


def _minimum(least: int) -> str:
    return f"the minimum is {least}"


def _workers(pods: int, per_pod: int) -> str:
    if per_pod > 1:
        return f"{pods} pods of {per_pod} workers"
    return "1 worker" if pods == 1 else f"{pods} workers"


def _for(seconds: int) -> str:
    return f", and has for {seconds} s" if seconds else ""
