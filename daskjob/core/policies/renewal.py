"""How many workers of an old template go, and how many of the new one come. No I/O here.

As a Deployment's rolling update by default: a quarter more than asked for may be there, rounded
up, and a quarter fewer may be ready, rounded down. So a template whose pods never become ready
stops after the first few, and of one worker alone the data has somewhere to go.
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
    """The pods of an old template, and how far one step goes."""

    old: tuple[PodFacts, ...]
    #: So many pods of the new template are to be added.
    add: int
    #: So many old ones may go.
    go: int


def renewal(observed: ObservedGroup) -> Renewal | None:
    """Judge a group's pods against its template; ``None``: none of them has to be replaced.

    A pod that does not say what it was made from is left alone.
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
