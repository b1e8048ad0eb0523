"""The worker groups as the scheduler's agent needs them to split the demand."""

from __future__ import annotations

from collections.abc import Iterable

from daskjob.core import names
from daskjob.core.desired.agent import AgentGroup
from daskjob.core.spec import DaskCluster, DaskWorkerGroup, PodTemplate
from daskjob.core.worker_command import resources, threads


def agent_groups(cluster: DaskCluster, joined: Iterable[DaskWorkerGroup] = ()) -> list[AgentGroup]:
    """Return the groups of a cluster, its default one first, then those that joined it."""
    own = [
        _agent_group(names.group_name(cluster.meta.name, group.name), group.template)
        for group in cluster.spec.all_groups
    ]
    taken = {group.name for group in own}
    others = (group for group in joined if group.meta.name not in taken)
    return [*own, *(_agent_group(group.meta.name, group.template) for group in others)]


def _agent_group(name: str, template: PodTemplate) -> AgentGroup:
    return AgentGroup(
        name=name,
        prefix=names.worker_name(name, ""),
        nthreads=threads(template),
        resources=resources(template),
    )
