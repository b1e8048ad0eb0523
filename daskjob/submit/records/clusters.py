"""Asks clusters for the jobs that were submitted to them, all at the same time, and briefly."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from daskjob.core.errors import DaskJobError
from daskjob.submit.jobs import Job
from daskjob.submit.records.lost_context import existing_contexts, trouble_with
from daskjob.submit.records.record import IN_CLUSTER, ClusterAddress, Record

#: How long one cluster may take: people wait for the list.
ANSWER_SECONDS = 3.0
#: How many namespaces of a cluster a message names.
_SHOWN_NAMESPACES = 5


@dataclass(frozen=True, slots=True)
class Group:
    """The namespace of a cluster in which jobs were submitted."""

    cluster: ClusterAddress
    namespace: str
    where: str = field(compare=False, default="")

    @classmethod
    def of(cls, record: Record) -> Group:
        """Return the group of a record."""
        return cls(record.cluster, record.namespace, record.where)


@dataclass(frozen=True, slots=True)
class Answer:
    """The jobs of a group by uid, or why they are unknown."""

    jobs: Mapping[str, Job] = field(default_factory=dict)
    trouble: str = ""

    def message(self, groups: list[Group]) -> str:
        """Return why the jobs of groups of one cluster are unknown, which is the same for all."""
        if len(groups) == 1:
            return f"{groups[0].where} {self.trouble}"
        namespaces = ", ".join(sorted(group.namespace for group in groups)[:_SHOWN_NAMESPACES])
        more = ", …" if len(groups) > _SHOWN_NAMESPACES else ""
        context = groups[0].cluster.context or IN_CLUSTER
        return f"{context} (namespaces {namespaces}{more}) {self.trouble}"


def groups_of(records: Iterable[Record]) -> list[Group]:
    """Return the groups of records, without duplicates."""
    return list(dict.fromkeys(Group.of(record) for record in records))


def ask(groups: list[Group], seconds: float = ANSWER_SECONDS) -> dict[Group, Answer]:
    """Return the answer of each group; a cluster that does not respond in time has none."""
    import asyncio

    from daskjob.submit import sync

    try:
        import daskjob.submit.client.async_client  # noqa: F401 (not in the time of the requests)
    except ImportError as error:
        text = f"cannot be asked without {error.name}: pip install 'daskjob[kubernetes]'"
        return {group: Answer(trouble=text) for group in groups}

    async def all_of() -> dict[Group, Answer]:
        found = await asyncio.gather(*(_asked(group, seconds) for group in groups))
        return dict(zip(groups, found, strict=True))

    return sync.run(all_of, name="MyJobs.list")


async def _asked(group: Group, seconds: float) -> Answer:
    import asyncio

    from daskjob.submit.client.async_client import AsyncJobClient

    kubeconfig = usable_kubeconfig(group.cluster)
    names = existing_contexts(group.cluster, kubeconfig)
    if names is not None:
        return Answer(trouble=trouble_with(names))
    try:
        async with (
            AsyncJobClient(
                group.namespace,
                kubeconfig=kubeconfig,
                context=group.cluster.context or None,
            ) as client,
            asyncio.timeout(seconds),
        ):
            return Answer({job.ref.uid: job for job in await client.list()})
    except TimeoutError:
        return Answer(trouble="does not respond")
    except (DaskJobError, OSError, ValueError) as error:
        return Answer(trouble=f"cannot be asked: {error}")


def usable_kubeconfig(cluster: ClusterAddress) -> str | None:
    """Return the kubeconfig with which a job was submitted; today's default if it is gone."""
    files = [name for name in cluster.kubeconfig.split(os.pathsep) if name]
    return cluster.kubeconfig if any(Path(name).exists() for name in files) else None
