"""How many workers of an old template to remove, and how many of the new one to add.

The limits are the defaults of a Deployment's rolling update: up to a quarter more pods than
replicas, rounded up, and up to a quarter fewer ready ones, rounded down. So an update whose pods
never become ready stops after the first few, and the data of a single worker has a place to go.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from daskjob.core.observed import ObservedGroup
from daskjob.core.pods import PodFacts
from daskjob.core.spec import UpdateStrategy

#: Kubernetes' default of both ``maxSurge`` and ``maxUnavailable``.
SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Renewal:
    """The pods of an old template, and the size of one step."""

    old: tuple[PodFacts, ...]
    #: The number of pods of the new template to add.
    add: int
    #: The number of old ones that may be removed.
    go: int


def renewal(observed: ObservedGroup) -> Renewal | None:
    """Compare a group's pods with its template; ``None`` if none has to be replaced.

    A pod without the fingerprint of its template is not touched.
    """
    group, alive = observed.group, observed.staying
    if group.update_strategy is not UpdateStrategy.RETIRE or observed.mistakes:
        return None
    wanted, replicas = group.template.fingerprint, group.replicas
    old = tuple(pod for pod in alive if pod.template not in ("", wanted))
    if not old:
        return None
    most = replicas + math.ceil(replicas * SHARE)
    least_ready = replicas - math.floor(replicas * SHARE)
    ready = sum(1 for pod in alive if pod.ready)
    never_ready = sum(1 for pod in old if not pod.ready)
    return Renewal(
        old=old,
        add=max(0, min(replicas - (len(alive) - len(old)), most - len(alive))),
        go=min(len(old), never_ready + max(0, ready - least_ready)),
    )
