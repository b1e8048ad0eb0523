"""One step of a decision that is too big for one pass.

Deciding and carrying out take time in proportion to the number of objects, and a user chooses that
number: passes over other objects, and the probes of the operator, would wait (design §4.9).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from daskjob.core.decision import MOST_OBJECTS, Decision


def first_step(decision: Decision, now: datetime) -> Decision:
    """Return as much of a decision as one pass does; the next pass, at once, decides the rest."""
    create, patch = decision.create[:MOST_OBJECTS], decision.patch[:MOST_OBJECTS]
    delete, retire = decision.delete[:MOST_OBJECTS], decision.retire
    if retire is not None and len(retire.addresses) > MOST_OBJECTS:
        retire = replace(retire, addresses=retire.addresses[:MOST_OBJECTS])
    taken = (len(create), len(patch), len(delete))
    if taken == (len(decision.create), len(decision.patch), len(decision.delete)):
        return decision if retire is decision.retire else replace(decision, retire=retire)
    return replace(decision, create=create, patch=patch, delete=delete, retire=retire, wake_at=now)
