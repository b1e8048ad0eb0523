"""What a pass may still write while an object's status is rejected."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from daskjob.core.decision import Decision, earliest
from daskjob.core.observed import Rejection
from daskjob.core.policies.pacing import is_due, next_try


def without_early_status(
    decision: Decision, rejection: Rejection | None, now: datetime
) -> Decision:
    """Return the decision without the status while it is too early to retry a rejected one.

    Objects are still created. Deletions wait for the status, since it counts failures: without that
    count a crashing worker would be replaced again and again, without a backoff.
    """
    if rejection is None or decision.status is None:
        return decision
    if is_due(rejection, now):
        return decision
    wake_at = earliest([decision.wake_at, next_try(rejection)], now)
    return replace(decision, status=None, events=(), delete=(), retire=None, wake_at=wake_at)
