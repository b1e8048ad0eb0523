"""The logs of the pods of a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass

from daskjob.core import names
from daskjob.core.diagnose import waiting_for
from daskjob.core.errors import DaskJobError, NotFound
from daskjob.core.manifests import Manifest, ObjectRef, mapping, mappings, metadata, object_ref
from daskjob.core.pods import pod_facts
from daskjob.kube.api import Api
from daskjob.kube.logs import ContainerLog, LogWish
from daskjob.kube.objects import list_objects
from daskjob.kube.resources import PODS, Selection
from daskjob.kubecluster.errors import ValidationError

#: How many logs are read at a time.
AT_ONCE = 16
_IDLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class WantedLogs:
    """Which logs of a cluster are wanted."""

    scheduler: bool = True
    #: Whether those of workers; or only those of these workers, by name or address.
    workers: bool | frozenset[str] = True
    #: The name of a DaskWorkerGroup; empty: all.
    group: str = ""
    #: Those of the containers before their last restart.
    previous: bool = False
    tail: int | None = None

    def of(self, pod: Manifest) -> bool:
        """Return whether the logs of a pod are wanted."""
        meta = metadata(pod)
        labels = mapping(meta.get("labels"))
        if labels.get(names.LABEL_COMPONENT) != names.Component.WORKER:
            return self.scheduler
        if self.group and labels.get(names.LABEL_WORKERGROUP_NAME) != names.label_value(self.group):
            return False
        return self.workers if isinstance(self.workers, bool) else meta.get("name") in self.workers


def check_tail(tail: object) -> None:
    """Reject what is no number of lines.

    Raises
    ------
    ValidationError
        It is none.
    """
    is_number = isinstance(tail, int) and not isinstance(tail, bool) and tail >= 0
    if tail is not None and not is_number:
        raise ValidationError(f"tail: {tail!r} is no number of lines from 0 on")


async def logs_of(api: Api, cluster: ObjectRef, wanted: WantedLogs) -> dict[str, str]:
    """Return the logs of a cluster's pods, by pod; of further containers by ``pod/container``.

    Raises
    ------
    NotFound
        A wanted worker does not exist; the message names those that do.
    """
    labels = f"{names.LABEL_CLUSTER_NAME}={names.label_value(cluster.name)}"
    pods = await list_objects(api, Selection(PODS, cluster.namespace, labels))
    chosen = sorted(filter(wanted.of, pods.items), key=_order)
    if not isinstance(wanted.workers, bool):
        _check_workers(cluster.name, wanted.workers, pods.items)
    gate = asyncio.Semaphore(AT_ONCE)
    names_of, reads = [], []
    for pod in chosen:
        for container in _containers(pod):
            main = container == _containers(pod)[0]
            pod_name = str(metadata(pod).get("name"))
            names_of.append(pod_name if main else f"{pod_name}/{container}")
            reads.append(_read(api, pod, container, wanted, gate))
    return dict(zip(names_of, await asyncio.gather(*reads), strict=True))


def _check_workers(cluster: str, wanted: Iterable[str], pods: Iterable[Manifest]) -> None:
    there = {str(metadata(pod).get("name")) for pod in pods if _order(pod)[0]}
    if missing := sorted(set(wanted) - there):
        raise NotFound(
            f"cluster {cluster} has no worker {', '.join(map(repr, missing))}; existing ones: "
            f"{', '.join(sorted(there)) or 'none'}"
        )


def _order(pod: Manifest) -> tuple[bool, str]:
    labels = mapping(metadata(pod).get("labels"))
    is_worker = labels.get(names.LABEL_COMPONENT) == names.Component.WORKER
    return is_worker, str(metadata(pod).get("name"))


def _containers(pod: Manifest) -> list[str]:
    """Return the names of the containers, the main one first."""
    found = [str(c.get("name")) for c in mappings(mapping(pod.get("spec")).get("containers"))]
    main = pod_facts(pod).main
    return sorted(found, key=lambda name: main is None or name != main.name)


async def _read(
    api: Api, pod: Manifest, container: str, wanted: WantedLogs, gate: asyncio.Semaphore
) -> str:
    try:
        async with gate:
            if wanted.previous:
                return await _previous(api, object_ref({**pod, "kind": "Pod"}), container)
            return await _current(api, pod, container, wanted.tail)
    except DaskJobError as error:
        return _without(pod, error)


async def _current(api: Api, pod: Manifest, container: str, tail: int | None) -> str:
    wish = LogWish(object_ref({**pod, "kind": "Pod"}), container, tail=tail)
    data = b""
    async with aclosing(ContainerLog(api, wish).lines()) as lines:
        async for line in lines:
            data += line
    return data.decode(errors="replace")


async def _previous(api: Api, pod: ObjectRef, container: str) -> str:
    query, data = {"container": container, "previous": "true"}, b""
    async with api.log(pod, query, idle_seconds=_IDLE_SECONDS) as chunks:
        async for chunk in chunks:
            data += chunk
    return data.decode(errors="replace")


def _without(pod: Manifest, error: DaskJobError) -> str:
    """Return what is shown in place of a log that cannot be read."""
    facts = pod_facts(pod)
    problem = waiting_for(facts)
    reason = problem.message if problem else str(error)
    return f"Cannot find logs. Pod is {facts.phase}: {reason}"
