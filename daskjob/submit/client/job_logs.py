"""The logs of a job: of one pod, or of its runner from attempt to attempt.

A log that cannot be read ends nothing but itself: the job goes on, and so does a follower.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime

from daskjob.core import names
from daskjob.core.errors import NotFound
from daskjob.core.manifests import (
    Manifest,
    ObjectRef,
    controller_uid,
    mapping,
    mappings,
    metadata,
    parse_time,
)
from daskjob.core.spec import DaskJob, read
from daskjob.core.status import JobStatus, job_status_from
from daskjob.kube.api import Api
from daskjob.kube.errors import BadRequest
from daskjob.kube.logs import TRANSIENT, ContainerLog, LogWish
from daskjob.kube.objects import get_object, list_objects
from daskjob.kube.resources import PODS, Selection
from daskjob.submit.client.job_watch import JobWatch, Subscription
from daskjob.submit.client.worker_logs import WorkerLogs
from daskjob.submit.jobs import LogChunk
from daskjob.submit.worker_names import NoSuchLog, listed, worker_named

logger = logging.getLogger(__name__)

#: How often to look for a log that does not exist yet, besides at each change of the job.
LOOK_SECONDS = 2.0
#: How often to look for new lines of workers.
POLL_SECONDS = 1.0
#: Components whose pods belong to the cluster of an attempt.
_OF_CLUSTER = (names.Component.SCHEDULER, names.Component.WORKER)


@dataclass(frozen=True, slots=True)
class WantedLog:
    """What a user wants to read."""

    attempt: int | None = None
    pod: str = ""
    follow: bool = False
    tail: int | None = None
    since: datetime | None = None
    #: The name of one worker.
    worker: str = ""

    @property
    def of_runner(self) -> bool:
        """Whether it is the log of the runner of an attempt, or of several."""
        return self.pod in ("", "runner") and not self.worker

    @property
    def follows_attempts(self) -> bool:
        """Whether to go on with the next attempts."""
        return self.follow and self.attempt is None and self.of_runner

    @property
    def of_all_workers(self) -> bool:
        """Whether it is the merged log of all workers."""
        return self.pod == "worker" and not self.worker

    def of(self, pod: ObjectRef, container: str) -> LogWish:
        """Return the wish for the log of a pod."""
        return LogWish(pod, container, self.follow, self.tail, self.since)


class JobLogs:
    """The logs of one job."""

    def __init__(self, api: Api, watch: JobWatch, job: ObjectRef) -> None:
        self._api = api
        self._watch = watch
        self._job = job

    async def check(self, wanted: WantedLog) -> LogWish | None:
        """Return which log of a pod is wanted; ``None``: those of several pods.

        Raises
        ------
        NoSuchLog
            There is no such log; the message names the existing ones, or why it is gone.
        """
        job = await get_object(self._api, self._job)
        if wanted.follows_attempts:
            return None
        if wanted.of_all_workers:
            will_start = wanted.follow and not _status(job).finished
            if not will_start and not await self._workers(job, wanted.attempt):
                raise await self._no_such_log(job, wanted)
            return None
        if not wanted.of_runner:
            pod = await self._wanted_pod(job, wanted)
            return wanted.of(_ref(pod), _main_container(pod))
        numbers = _attempts(_status(job)) if wanted.attempt is None else [wanted.attempt]
        for number in numbers:
            try:
                return self._wish(job, await self._runner(number), wanted)
            except NotFound:
                continue
        raise await self._no_such_log(job, wanted)

    async def lines(self, wanted: WantedLog) -> AsyncGenerator[LogChunk, None]:
        """Yield the wanted log; raises like ``check``."""
        wish = await self.check(wanted)
        if wish is None:
            several = self._of_workers if wanted.of_all_workers else self._attempts
            async with aclosing(several(wanted)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        try:
            async with aclosing(ContainerLog(self._api, wish).lines()) as lines:
                async for data in lines:
                    yield LogChunk(wish.pod.name, data)
        except BadRequest:
            # The container has not started: its log is empty so far.
            return

    # The runner of one attempt after the other

    async def _attempts(self, wanted: WantedLog) -> AsyncGenerator[LogChunk, None]:
        async with self._watch.subscription(self._job) as job:
            await job.change()
            _check_there(job)
            number = _status(job.latest).attempt
            while True:
                async with aclosing(self._attempt(job, number, wanted)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                while not (status := _status(job.latest)).finished and status.attempt == number:
                    await job.change()
                    _check_there(job)
                if status.attempt == number:
                    return
                number, wanted = number + 1, replace(wanted, tail=None)

    async def _attempt(
        self, job: Subscription, number: int, wanted: WantedLog
    ) -> AsyncGenerator[LogChunk, None]:
        """Yield the log of one attempt, from the moment its container starts."""
        while True:
            # Before the request: an attempt that ends meanwhile may have written a log.
            was_over = _is_over(job.latest, number) or job.gone
            try:
                wish = self._wish(job.latest, await self._runner(number), wanted)
                async with aclosing(ContainerLog(self._api, wish).lines()) as lines:
                    async for data in lines:
                        yield LogChunk(wish.pod.name, data)
                return
            except (NotFound, BadRequest):
                if was_over:
                    return
            except TRANSIENT as error:
                logger.debug("%s; looking for the log again", error)
            await _changes_or_seconds(job, LOOK_SECONDS)

    async def _runner(self, number: int) -> Manifest:
        """Return the runner pod of an attempt of this job."""
        name = names.runner_name(self._job.name, number)
        pod = await get_object(self._api, ObjectRef("Pod", self._job.namespace, name))
        if controller_uid(pod) != self._job.uid:
            raise NotFound(f"Pod {name} belongs to another job")
        return pod

    def _wish(self, job: Manifest, runner: Manifest, wanted: WantedLog) -> LogWish:
        container = read(DaskJob, job)[0].main_container
        return wanted.of(_ref(runner), container)

    # All workers

    async def _of_workers(self, wanted: WantedLog) -> AsyncGenerator[LogChunk, None]:
        job = await get_object(self._api, self._job)
        cluster = read(DaskJob, job)[0].cluster_name
        logs = WorkerLogs(
            self._api,
            cluster,
            lambda: self._workers(job, wanted.attempt),
            tail=wanted.tail,
            since=wanted.since,
        )
        if not wanted.follow:
            for chunk in await logs.new_lines():
                yield chunk
            if logs.failure is not None:
                raise logs.failure
            return
        async with self._watch.subscription(self._job) as watched:
            await watched.change()
            while True:
                # Before the requests, so that everything written until the end is read.
                over = watched.gone or _status(watched.latest).finished
                try:
                    for chunk in await logs.new_lines():
                        yield chunk
                except TRANSIENT as error:
                    logger.debug("%s; reading the logs again", error)
                    over = False
                else:
                    over = over and logs.failure is None
                if over:
                    _check_there(watched)
                    return
                await _changes_or_seconds(watched, POLL_SECONDS)

    async def _workers(self, job: Manifest, attempt: int | None) -> list[tuple[ObjectRef, str]]:
        pods = await self._pods_of(job, names.Component.WORKER, attempt)
        return [(_ref(pod), _main_container(pod)) for pod in pods]

    # Other pods

    async def _wanted_pod(self, job: Manifest, wanted: WantedLog) -> Manifest:
        if wanted.worker:
            pods = {_name(p): p for p in await self._pods_of(job, "worker", wanted.attempt)}
            if not pods:
                raise await self._no_such_log(job, replace(wanted, pod="worker"))
            cluster = read(DaskJob, job)[0].cluster_name
            return pods[worker_named(wanted.worker, pods, cluster)]
        if wanted.pod in _OF_CLUSTER:
            found = await self._pods_of(job, wanted.pod, wanted.attempt)
        else:
            every = await self._pods(job)
            exact = [pod for pod in every if _name(pod) == wanted.pod]
            found = exact or [pod for pod in every if wanted.pod in _name(pod)]
        if not found:
            raise await self._no_such_log(job, wanted)
        return found[0]

    async def _pods_of(self, job: Manifest, component: str, attempt: int | None) -> list[Manifest]:
        """Return the pods of a component that were there in an attempt, by name."""
        return [
            pod
            for pod in await self._pods(job)
            if mapping(metadata(pod).get("labels")).get(names.LABEL_COMPONENT) == component
            and (attempt is None or _was_there(pod, _status(job), attempt))
        ]

    async def _pods(self, job: Manifest) -> list[Manifest]:
        """Return the pods of the job and of its cluster, by name."""
        cluster = read(DaskJob, job)[0].cluster_name
        labels = f"{names.LABEL_CLUSTER_NAME}={names.label_value(cluster)}"
        found = await list_objects(self._api, Selection(PODS, self._job.namespace, labels=labels))
        ours = [pod for pod in found.items if not self._is_of_another_job(pod)]
        return sorted(ours, key=lambda pod: str(metadata(pod)["name"]))

    def _is_of_another_job(self, pod: Manifest) -> bool:
        """Return whether it is the runner of another job on the same cluster."""
        component = mapping(metadata(pod).get("labels")).get(names.LABEL_COMPONENT)
        return component == names.Component.RUNNER and controller_uid(pod) != self._job.uid

    async def _no_such_log(self, job: Manifest, wanted: WantedLog) -> NoSuchLog:
        known = listed([_name(pod) for pod in await self._pods(job)])
        reason = self._why_gone(job, wanted) or "there is no such log"
        return NoSuchLog(f"{reason}; logs of this job: {known}")

    def _why_gone(self, job: Manifest, wanted: WantedLog) -> str:
        """Return what became of a log that there once was; empty if there was none."""
        status, number = _status(job), wanted.attempt
        if number is not None and number > status.attempt:
            return f"attempt {number} has not begun"
        if wanted.of_runner and status.attempts_begun:
            name = names.runner_name(self._job.name, status.attempt if number is None else number)
            return f"the pod {name} was deleted, and its log with it"
        if wanted.pod not in _OF_CLUSTER or not status.attempts_begun:
            return ""
        earlier = number is not None and number < status.attempt
        if not (earlier or status.finished):
            return ""
        when = f"attempt {number}" if earlier else "the job"
        keep = "" if earlier else " (spec.deletionPolicy keeps them)"
        return f"the pods of the cluster were deleted with their logs after {when} ended{keep}"


def _status(job: Manifest) -> JobStatus:
    return job_status_from(job.get("status"))


def _attempts(status: JobStatus) -> list[int]:
    """Return the attempts whose runner may have a log, the last one first."""
    return list(range(status.attempt, -1, -1))


def _is_over(job: Manifest, number: int) -> bool:
    """Return whether an attempt has ended."""
    status = _status(job)
    ended = any(attempt.number == number for attempt in status.attempts)
    return status.finished or status.attempt > number or ended


def _check_there(job: Subscription) -> None:
    if job.gone and not _status(job.latest).finished:
        raise NotFound(f"{job.ref} was deleted before it ended")


async def _changes_or_seconds(job: Subscription, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await job.change()
    except TimeoutError:
        pass


def _was_there(pod: Manifest, status: JobStatus, attempt: int) -> bool:
    """Return whether a pod of the cluster was there in an attempt: it may outlive several."""
    if attempt >= status.attempt:
        return attempt == status.attempt
    created = parse_time(metadata(pod).get("creationTimestamp"))
    ends = [ended.end_time for ended in status.attempts if ended.number == attempt]
    return bool(created and ends and created < ends[0])


def _name(pod: Manifest) -> str:
    return str(metadata(pod)["name"])


def _main_container(pod: Manifest) -> str:
    """Return the container whose log users mean, as kubectl does."""
    annotations = mapping(metadata(pod).get("annotations"))
    first = mappings(mapping(pod.get("spec")).get("containers"))[0]
    return str(annotations.get(names.ANNOTATION_DEFAULT_CONTAINER) or first.get("name"))


def _ref(pod: Manifest) -> ObjectRef:
    meta = metadata(pod)
    return ObjectRef("Pod", str(meta["namespace"]), str(meta["name"]), str(meta["uid"]))
