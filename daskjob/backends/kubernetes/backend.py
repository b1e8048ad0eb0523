"""The backend for Kubernetes: observes from the cache, writes to the API server.

A pass reads from the API server only what the cache cannot know: whether a missing runner or
scheduler is really gone. Schedulers (``agents``) and Events of stuck pods (``pod_warnings``) are
queried in the background; the answers wake the passes.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

from daskjob.backends.background import BackgroundTasks
from daskjob.backends.kubernetes.asking.agents import STATE, Agents, Endpoint
from daskjob.backends.kubernetes.asking.current_states import CurrentStates
from daskjob.backends.kubernetes.asking.pod_warnings import PodWarnings
from daskjob.backends.kubernetes.asking.reports import Reports
from daskjob.backends.kubernetes.asking.retirements import Retirements, concerns
from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.backends.kubernetes.watching.informer import (
    Informer,
    OnWatchBroken,
    ignore_broken_watch,
    informers,
)
from daskjob.backends.kubernetes.watching.items import Item
from daskjob.backends.kubernetes.watching.wakes import Wakes
from daskjob.backends.kubernetes.writing.missing_pods import MissingPods
from daskjob.backends.kubernetes.writing.writer import Writer
from daskjob.core import names
from daskjob.core.backend import Wake
from daskjob.core.decision import Event, Patch, Retire
from daskjob.core.desired.agent import groups_json
from daskjob.core.desired.agent_groups import agent_groups
from daskjob.core.desired.pods import dashboard_prefix
from daskjob.core.desired.service import dashboard_container_port
from daskjob.core.manifests import Key, Manifest, ObjectRef
from daskjob.core.observed import (
    Observed,
    ObservedAutoscaler,
    ObservedCluster,
    ObservedGroup,
    ObservedJob,
    Platform,
    Seen,
    autoscaler_observed,
    cluster_observed,
    group_observed,
    job_observed,
    joined_groups,
)
from daskjob.core.parsed import parsed_cluster, parsed_group, parsed_job, parsed_job_status
from daskjob.core.pod_warnings import silent_pods, with_warnings
from daskjob.core.pods import PodFacts
from daskjob.core.policies.idle import must_ask
from daskjob.core.policies.renewal import renewal
from daskjob.core.status import ClusterPhase, JobStatusWord
from daskjob.kube.api import Api
from daskjob.kube.credentials import find_credentials
from daskjob.kube.leases import Leases
from daskjob.kube.request_metrics import RequestMetrics

logger = logging.getLogger(__name__)

#: The longest intervals between queries to a scheduler about a stall and about an idle cluster; and
#: the shortest of both.
STALL_SECONDS = 10.0
IDLE_SECONDS = 15.0
OFTEN_SECONDS = 1.0
FORGET_SECONDS = 30.0


def _now() -> datetime:
    return datetime.now(UTC)


class KubernetesBackend:
    """The objects of some namespaces, or of all, of one Kubernetes cluster.

    Open it (``connect``, or ``async with``), then start ``run``; passes may begin once ``synced``
    has returned.
    """

    def __init__(
        self,
        api: Api,
        platform: Platform,
        namespaces: Sequence[str] = (),
        clock: Callable[[], datetime] = _now,
        on_watch_broken: OnWatchBroken = ignore_broken_watch,
    ) -> None:
        self.platform = platform
        self.clock = clock
        self.cache = Cache()
        self.informers = informers(api, self.cache, namespaces, on_watch_broken)
        self.agents = Agents(self._dask_changed, now=clock, exists=self._exists)
        self._api = api
        self._background = BackgroundTasks()
        self._subscribers: list[Wake] = []
        self._wakes = Wakes(self.cache, self._wake)
        self.cache.watch(self._changed)
        self._writer = Writer(api, self.cache, self._wakes.rejected, self._background.start, clock)
        self._missing_pods = MissingPods(self._writer.api, self.cache, self._wake, clock)
        self._retirements = Retirements(
            self.agents, self._wake, self._exists, self._background.start, clock
        )
        self._reports = Reports(self.agents, self._wake, self._exists, self._background.start)
        self._current_states = CurrentStates(
            self.agents, self._wake, self._exists, self._background.start
        )
        self._pod_warnings = PodWarnings(
            api.warnings, self._warnings_changed, self._background.start, clock
        )
        self._open = AsyncExitStack()

    @classmethod
    async def connect(
        cls, namespaces: Sequence[str], platform: Platform, metrics: RequestMetrics
    ) -> KubernetesBackend:
        """Return an open backend with this process' credentials; no namespaces: all of them.

        Raises
        ------
        DaskJobError
            There are no credentials, or they cannot be read.
        """
        api = Api(find_credentials(), on_request=metrics.request)
        backend = cls(api, platform, namespaces, on_watch_broken=metrics.watch_restarted)
        return await backend.__aenter__()

    async def __aenter__(self) -> KubernetesBackend:
        await self._open.enter_async_context(self._api)
        await self._open.enter_async_context(self.agents)
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the background tasks and close all connections."""
        await self._background.end()
        await self._open.aclose()

    @property
    def leases(self) -> Leases:
        """The Leases of this cluster."""
        return Leases(self._api)

    # Lifecycle

    async def run(self) -> None:
        """Watch all namespaces and query schedulers, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for namespace in {informer.namespace for informer in self.informers}:
                group.create_task(self.run_watches(namespace))
            group.create_task(self.run_queries())

    async def run_watches(self, namespace: str | None) -> None:
        """Watch a namespace (``None``: the watches of all namespaces), until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers(namespace):
                group.create_task(informer.run())

    async def run_queries(self) -> None:
        """Query schedulers, and discard what is no longer needed, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.agents.run())
            group.create_task(self._forget())

    async def _forget(self) -> None:
        """Discard records of deleted objects, also when no further deletion triggers it."""
        while True:
            await asyncio.sleep(FORGET_SECONDS)
            self.cache.tidy()
            self._writer.recent_events.tidy()

    async def synced(self, namespace: str | None) -> None:
        """Return once a namespace's first list of every kind is in the cache."""
        for informer in self._informers(namespace):
            await informer.synced.wait()

    def subscribe(self, wake: Wake) -> None:
        """Register a callback for the key of each object whose pass may see a change."""
        self._subscribers.append(wake)

    def before_writes(self, check: Callable[[str], None]) -> None:
        """Register a check of the namespace of each write; if it raises, nothing is sent."""
        self._api.before_write = check

    def subjects(self) -> list[Key]:
        """Return the keys of all objects that have passes, owners first."""
        return [
            Key(item.ref.kind, item.ref.namespace, item.ref.name)
            for kind in names.PASS_KINDS
            for item in self.cache.all(kind)
        ]

    def silent_seconds(self, namespace: str | None) -> float:
        """Return how long the quietest informer of a namespace has been silent, in seconds."""
        heard = (informer.last_heard for informer in self._informers(namespace))
        return time.monotonic() - min(heard)

    def unanswered_seconds(self, namespace: str | None) -> float:
        """Return the same, where an answer that denies the request counts as heard."""
        answered = (informer.last_answered for informer in self._informers(namespace))
        return time.monotonic() - min(answered)

    def _informers(self, namespace: str | None) -> list[Informer]:
        return [informer for informer in self.informers if informer.namespace == namespace]

    def _wake(self, key: Key, within: float = 0.0) -> None:
        for wake in self._subscribers:
            wake(key, within)

    def _changed(self, old: Item | None, new: Item | None) -> None:
        self._wakes.changed(old, new)
        self._missing_pods.changed(old, new)
        if new is None and old is not None:
            self._forget_object(old)

    def _forget_object(self, gone: Item) -> None:
        """Discard everything recorded about an object that is gone."""
        uid = gone.ref.uid
        self._reports.forget(uid)
        self._current_states.forget(uid)
        self._retirements.forget(uid)
        self._writer.recent_events.forget(uid)
        self._pod_warnings.forget(gone.ref)
        self.agents.forget(uid)
        if gone.ref.kind in names.PASS_KINDS:
            key = Key(gone.ref.kind, gone.ref.namespace, gone.ref.name)
            self._writer.forget(gone.ref)
            referred_cluster = self.cache.get(names.Kind.CLUSTER, key.namespace, gone.cluster_ref)
            if referred_cluster is not None:
                self.agents.leave(referred_cluster.ref.uid, key)

    def _exists(self, uid: str) -> bool:
        return self.cache.of_uid(uid) is not None

    def _dask_changed(self, cluster_uid: str) -> None:
        """Wake the passes that may see a new answer of a cluster's scheduler."""
        cluster = self.cache.of_uid(cluster_uid)
        if cluster is not None:
            self._wakes.scheduler_changed(cluster)

    def _warnings_changed(self, pod_uid: str) -> None:
        """Wake the passes that may see new warnings about a pod."""
        pod = self.cache.of_uid(pod_uid)
        if pod is not None:
            self._wakes.warnings_changed(pod)

    # Observing

    async def observe(self, key: Key) -> Observed | None:
        """Return the observed state of an object; ``None`` if it does not exist.

        Raises
        ------
        ApiError
            The outcome of an earlier create is still unknown, or a GET was not answered.
        """
        await self._writer.api.settle(key)
        item = self.cache.get(key.kind, key.namespace, key.name)
        if item is None or item.manifest is None:
            return None
        observed = await self._observed(key, item.manifest)
        if observed is None or not self._exists(observed.ref.uid):
            # Deleted meanwhile: nothing may be recorded about it any more.
            return None
        return self._with_warnings(observed)

    async def _observed(self, key: Key, manifest: Manifest) -> Observed | None:
        match key.kind:
            case names.Kind.JOB:
                return await self._job(key, manifest)
            case names.Kind.CLUSTER:
                return await self._cluster(key, manifest)
            case names.Kind.GROUP:
                return await self._group(key, manifest)
            case names.Kind.AUTOSCALER:
                return self._autoscaler(key, manifest)
        return None

    def _with_warnings(self, observed: Observed) -> Observed:
        """Add warnings from the Events of pods that have been starting for too long."""
        return with_warnings(observed, self._pod_warnings.of(silent_pods(observed, self.clock())))

    async def _job(self, key: Key, manifest: Manifest) -> ObservedJob:
        objects = self.cache.objects(key.namespace)
        look_for = self._missing_pods.look_for
        job, _ = parsed_job(manifest)
        # Of all attempts, also after the job's end: a runner that is not seen is not stopped.
        await self._missing_pods.give_labels_back(job.meta.ref, job.cluster_name)
        observed = job_observed(manifest, objects)
        status = observed.status
        runner_name = names.runner_name(job.meta.name, status.attempt)
        named = status.job_runner_pod_name == runner_name and not status.finished
        if named and observed.runner(status.attempt) is None:
            await look_for(job.meta.ref, job.cluster_name, runner_name)
            observed = job_observed(manifest, objects)
        if (loser := _lost_scheduler_of(observed)) is not None:
            await look_for(loser, loser.name, names.scheduler_pod_name(loser.name))
            observed = job_observed(manifest, objects)
        cluster, scheduler = observed.cluster, observed.scheduler
        if cluster is not None:
            self._follow(key, cluster.ref, scheduler, _job_interval(observed))
        return replace(
            self._completed(observed, self._controlled_by(observed.ref)),
            dask=self.agents.state(cluster.ref.uid) if cluster else None,
            report=self._reports.of(scheduler.ref.uid) if scheduler else None,
        )

    async def _cluster(self, key: Key, manifest: Manifest) -> ObservedCluster:
        objects = self.cache.objects(key.namespace)
        meta = parsed_cluster(manifest)[0].meta
        if not meta.deleting:
            await self._give_labels_of_cluster_back(meta.ref)
        observed = cluster_observed(manifest, objects)
        had_scheduler = observed.status.phase in (ClusterPhase.RUNNING, ClusterPhase.ERROR)
        if observed.scheduler is None and had_scheduler and not meta.deleting:
            name = names.scheduler_pod_name(meta.name)
            await self._missing_pods.look_for(meta.ref, meta.name, name)
            observed = cluster_observed(manifest, objects)
        limit = observed.cluster.spec.idle_timeout_seconds
        every = min(IDLE_SECONDS, max(limit / 4, OFTEN_SECONDS)) if limit else None
        self._follow(key, meta.ref, observed.scheduler, every)
        observed = replace(
            self._completed(observed, self._controlled_by(observed.ref)),
            dask=self.agents.state(meta.uid),
            entropy=secrets.token_hex(16),
            followed_since=self._followed_since(key),
        )
        endpoint = self._endpoint(meta.ref, observed.scheduler)
        if endpoint is not None and must_ask(observed, self.clock()):
            # Since the last answer a client may have sent work.
            dask = self._current_states.take(key, meta.uid, meta.uid, endpoint)
            return replace(observed, dask=dask)
        return observed

    def _followed_since(self, key: Key) -> datetime:
        """Return since when the changes of this kind are seen without a gap."""
        for informer in self.informers:
            if informer.watched.kind == key.kind and informer.namespace in (None, key.namespace):
                since = informer.continuity.since()
                return self.clock() if since is None else datetime.fromtimestamp(since, UTC)
        return self.clock()

    async def _give_labels_of_cluster_back(self, cluster: ObjectRef) -> None:
        """Restore the labels of a cluster's scheduler, and of the runners that use the cluster.

        While a runner is not seen, its cluster looks idle.
        """
        found = self.cache.get(cluster.kind, cluster.namespace, cluster.name)
        job = self.cache.owner(found) if found else None
        referring = self.cache.referring_to(cluster.namespace, cluster.name)
        jobs = [item for item in (job, *referring) if item and item.ref.kind == names.Kind.JOB]
        for owner in (cluster, *(item.ref for item in jobs)):
            await self._missing_pods.give_labels_back(owner, cluster.name)

    async def _group(self, key: Key, manifest: Manifest) -> ObservedGroup:
        objects = self.cache.objects(key.namespace)
        group, _ = parsed_group(manifest)
        await self._missing_pods.give_labels_back(group.meta.ref, group.cluster)
        observed = group_observed(manifest, objects)
        cluster = observed.cluster
        dask, answer = None, self._retirements.of(group.meta.uid)
        may_shrink = len(observed.staying) > group.replicas or renewal(observed) is not None
        if cluster is not None and may_shrink and _may_lack_scheduler(observed):
            # Without a scheduler there would be no data, and any worker could go.
            name = names.scheduler_pod_name(cluster.meta.name)
            await self._missing_pods.look_for(cluster.meta.ref, cluster.meta.name, name)
            observed = group_observed(manifest, objects)
        if cluster is not None and (may_shrink or (answer and concerns(answer, observed.workers))):
            endpoint = self._endpoint(cluster.meta.ref, observed.scheduler)
            if endpoint is not None:
                uid = group.meta.uid
                dask = self._current_states.take(key, uid, cluster.meta.uid, endpoint)
        return replace(
            self._completed(observed, [observed.ref]),
            dask=dask,
            retirement=answer,
            entropy=secrets.token_hex(16),
        )

    def _autoscaler(self, key: Key, manifest: Manifest) -> ObservedAutoscaler:
        objects = self.cache.objects(key.namespace)
        observed = autoscaler_observed(manifest, objects)
        observed = self._completed(observed, [observed.ref])
        cluster, scheduler = observed.cluster, observed.scheduler
        if cluster is None:
            return observed
        uid, every = cluster.meta.uid, float(observed.autoscaler.interval_seconds)
        idle = observed.autoscaler.meta.deleting or observed.mistakes or observed.older_autoscaler
        groups = groups_json(agent_groups(cluster, joined_groups(cluster, objects)))
        route = f"{STATE}?groups={quote(groups, safe='')}"
        ref = cluster.meta.ref
        self._follow(key, ref, scheduler, None if idle or observed.unmanaged else every, route)
        return replace(
            observed,
            dask=self.agents.state(uid) if self.agents.answered(uid, route) else None,
            silent=self.agents.silent(uid) or self._endpoint(ref, scheduler) is None,
            demands=self.agents.demands(uid),
        )

    def _completed(self, observed: Seen, owners: Iterable[ObjectRef]) -> Seen:
        """Add what no object shows: the rejections for these owners, and the platform."""
        return replace(
            observed,
            rejections=self._writer.rejections.of((ref.namespace, ref.uid) for ref in owners),
            status_rejection=self._writer.status_rejection(observed.ref),
            platform=self.platform,
        )

    def _controlled_by(self, ref: ObjectRef) -> list[ObjectRef]:
        """Return a reference and those of its dependents that have passes."""
        found = [ref]
        # Grows while iterated; hand-written ownerReferences may form a cycle.
        for one in found:
            for below in self.cache.controlled(one.namespace, one.uid):
                if below.ref.kind in names.PASS_KINDS and below.ref not in found:
                    found.append(below.ref)
        return found

    # The schedulers

    def _follow(
        self,
        key: Key,
        cluster: ObjectRef,
        scheduler: PodFacts | None,
        every: float | None,
        route: str = "",
    ) -> None:
        """Query a scheduler every N seconds for a pass; ``None``: not at all."""
        if every is None or self.cache.get(key.kind, key.namespace, key.name) is None:
            self.agents.leave(cluster.uid, key)
            return
        endpoint = self._endpoint(cluster, scheduler)
        if endpoint is None:
            # Missing or without an agent: its last answer is no longer valid.
            self.agents.forget(cluster.uid)
        else:
            self.agents.follow(cluster.uid, endpoint, key, every, route)

    def _endpoint(self, ref: ObjectRef, scheduler: PodFacts | None) -> Endpoint | None:
        """Return the endpoint of a cluster's agent; ``None`` if no scheduler runs one."""
        running = scheduler is not None and scheduler.main is not None and scheduler.main.running
        if scheduler is None or not running or not scheduler.ip or not scheduler.token:
            return None
        found = self.cache.get(ref.kind, ref.namespace, ref.name)
        if found is None or found.manifest is None:
            return None
        spec = parsed_cluster(found.manifest)[0].spec
        port = dashboard_container_port(spec.service, spec.scheduler)
        host = f"[{scheduler.ip}]" if ":" in scheduler.ip else scheduler.ip
        url = f"http://{host}:{port}{dashboard_prefix(spec.scheduler)}"
        return Endpoint(url, scheduler.token, scheduler.identity, ref.namespace)

    def _endpoint_of(self, scheduler: PodFacts) -> Endpoint | None:
        pod = self.cache.of_uid(scheduler.ref.uid)
        cluster = self.cache.owner(pod) if pod else None
        return self._endpoint(cluster.ref, scheduler) if cluster else None

    async def collect_report(self, job: ObjectRef, scheduler: PodFacts) -> None:
        """Ask the agent of a job's scheduler for its report; its answer wakes the job's pass."""
        key = Key(job.kind, job.namespace, job.name)
        self._reports.ask(key, scheduler, self._endpoint_of(scheduler), self._attempt_of(job))

    def _attempt_of(self, job: ObjectRef) -> int:
        found = self.cache.get(job.kind, job.namespace, job.name)
        return parsed_job_status(found.manifest).attempt if found and found.manifest else 0

    async def retire(self, group: ObjectRef, retire: Retire) -> None:
        """Ask the scheduler to move workers' data away; its answer wakes the group's pass."""
        endpoint = self._endpoint_of(retire.scheduler) if retire.scheduler else None
        key = Key(group.kind, group.namespace, group.name)
        self._retirements.ask(key, group.uid, endpoint, retire)

    # Writing

    async def create(self, owner: Key, manifest: Manifest) -> None:
        """Create an object; if one of this name has the same controller, that is success.

        Raises
        ------
        CreateRejected
            The server rejected the object, or its name is taken.
        """
        await self._writer.create(owner, manifest)

    def withdraw(self, owner: ObjectRef, names: Collection[str]) -> None:
        """Discard the rejections of objects that a pass does not want any more."""
        self._writer.rejections.withdraw((owner.namespace, owner.uid), names)

    async def delete(self, ref: ObjectRef) -> None:
        """Delete an object and its dependents; do nothing if it is gone or has another uid."""
        await self._writer.delete(ref)

    async def stop(self, ref: ObjectRef) -> None:
        """Stop a pod but keep its log, by a deadline that has passed."""
        await self._writer.stop(ref)

    async def patch(self, patch: Patch) -> None:
        """Merge a patch into an object; do nothing if it is gone or has another uid."""
        await self._writer.patch(patch)

    async def write_status(self, ref: ObjectRef, status: Manifest) -> None:
        """Write the whole status of an object; do nothing if it is gone.

        Raises
        ------
        StatusRejected
            The server rejected the status.
        """
        await self._writer.write_status(ref, status)

    async def emit(self, ref: ObjectRef, events: Iterable[Event]) -> None:
        """Emit Events on an object in the background, skipping recent duplicates."""
        await self._writer.emit(ref, events)


def _may_lack_scheduler(observed: ObservedGroup) -> bool:
    """Return whether a group's cluster, which is to stay, shows no scheduler."""
    cluster = observed.cluster
    if cluster is None or observed.scheduler is not None or observed.unmanaged:
        return False
    return not (cluster.meta.deleting or observed.group.meta.deleting)


def _lost_scheduler_of(observed: ObservedJob) -> ObjectRef | None:
    """Return the cluster of an attempt whose scheduler had answered and is now missing."""
    cluster, status = observed.cluster, observed.status
    if cluster is None or cluster.deleting or observed.scheduler is not None:
        return None
    return cluster.ref if status.scheduler_identity and not status.finished else None


def _job_interval(observed: ObservedJob) -> float | None:
    """Return the interval in seconds of a job's queries to its scheduler; ``None``: no queries."""
    status, policy = observed.status, observed.job.policy
    runner = observed.runner(status.attempt)
    runs = runner is not None and runner.main is not None and runner.main.running
    if status.finished or not runs or status.job_status != JobStatusWord.RUNNING:
        return None
    wishes: list[float] = []
    if policy.progress_interval_seconds:
        wishes.append(float(policy.progress_interval_seconds))
    if policy.stall_deadline_seconds is not None:
        wishes.append(min(STALL_SECONDS, max(policy.stall_deadline_seconds / 4, OFTEN_SECONDS)))
    return min(wishes, default=None)
