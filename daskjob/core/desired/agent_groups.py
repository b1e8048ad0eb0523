"""The worker groups as the scheduler's agent needs them to split the demand."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from daskjob.core import names
from daskjob.core.desired.agent import AgentGroup
from daskjob.core.spec import DaskCluster, DaskWorkerGroup, PodTemplate
from daskjob.core.spec.cluster import MOST_GROUPS
from daskjob.core.worker_command import resources, threads

#: The number of groups among which an agent splits the demand at most: anyone who may create groups
#: could make the request, and the scheduler's work for it, as large as he likes.
MOST_ASKED = 2 * MOST_GROUPS


def agent_groups(cluster: DaskCluster, joined: Iterable[DaskWorkerGroup] = ()) -> list[AgentGroup]:
    """Return the groups of a cluster, its default one first, then those that joined it."""
    own = [
        _agent_group(names.group_name(cluster.meta.name, group.name), group.template)
        for group in cluster.spec.all_groups[:MOST_ASKED]
    ]
    taken = {group.name for group in own}
    others = (group for group in joined if group.meta.name not in taken)
    more = islice(others, MOST_ASKED - len(own))
    return [*own, *(_agent_group(group.meta.name, group.template) for group in more)]


def _agent_group(name: str, template: PodTemplate) -> AgentGroup:
    return AgentGroup(
        name=name,
        prefix=names.worker_name(name, ""),
        nthreads=threads(template),
        resources=resources(template),
    )
