"""Asks clusters for the jobs that were submitted to them, all at the same time, and briefly."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from daskjob.core.errors import DaskJobError
from daskjob.submit.jobs import Job
from daskjob.submit.records.record import ClusterAddress, Record

#: How long one cluster may take: people wait for the list.
ANSWER_SECONDS = 3.0


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
        text = f"jobs of a cluster need {error.name}: pip install 'daskjob[kubernetes]'"
        return {group: Answer(trouble=text) for group in groups}

    async def all_of() -> dict[Group, Answer]:
        found = await asyncio.gather(*(_asked(group, seconds) for group in groups))
        return dict(zip(groups, found, strict=True))

    return sync.run(all_of, name="MyJobs.list")


async def _asked(group: Group, seconds: float) -> Answer:
    import asyncio

    from daskjob.submit.client.async_client import AsyncJobClient

    try:
        async with (
            AsyncJobClient(
                group.namespace,
                kubeconfig=usable_kubeconfig(group.cluster),
                context=group.cluster.context or None,
            ) as client,
            asyncio.timeout(seconds),
        ):
            return Answer({job.ref.uid: job for job in await client.list()})
    except TimeoutError:
        return Answer(trouble=f"{group.where} does not respond")
    except DaskJobError as error:
        return Answer(trouble=f"{group.where}: {error}")
    except (OSError, ValueError) as error:
        return Answer(trouble=f"{group.where}: {error}")


def usable_kubeconfig(cluster: ClusterAddress) -> str | None:
    """Return the kubeconfig with which a job was submitted; today's default if it is gone."""
    files = [name for name in cluster.kubeconfig.split(os.pathsep) if name]
    return cluster.kubeconfig if any(Path(name).exists() for name in files) else None
