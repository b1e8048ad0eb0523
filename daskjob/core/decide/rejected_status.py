"""What a pass may do about an object whose status the world refuses. No I/O here."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from daskjob.core.decision import Decision, earliest
from daskjob.core.observed import Rejection
from daskjob.core.policies.pacing import next_try


def held_back(decision: Decision, rejection: Rejection | None, now: datetime) -> Decision:
    """Return the decision without a status that it is too early to try again.

    What is made is made all the same. What goes waits with the status: it is the status that counts
    what failed, and without that count a worker that crashes would be replaced again and again.
    """
    if rejection is None or decision.status is None:
        return decision
    due = next_try(rejection)
    if now >= due:
        return decision
    wake_at = earliest([decision.wake_at, due], now)
    return replace(decision, status=None, events=(), delete=(), retire=None, wake_at=wake_at)
