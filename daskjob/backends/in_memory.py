"""The common part of backends without an API server: an object store for the passes.

Subclasses run the pods and ask the schedulers.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from daskjob.backends.rejections import counted
from daskjob.backends.store import ObjectStore
from daskjob.core import names
from daskjob.core.dask import DaskState, Retirement, retirement_from
from daskjob.core.decision import Event, Patch, Retire
from daskjob.core.demand import Demands, demands_after
from daskjob.core.errors import Conflict, CreateRejected, NotFound
from daskjob.core.lookup import ListLookup
from daskjob.core.manifests import Key, Manifest, ObjectRef, object_ref
from daskjob.core.observed import (
    CollectedReport,
    Observed,
    ObservedAutoscaler,
    ObservedCluster,
    ObservedGroup,
    ObservedJob,
    Platform,
    Rejection,
    Seen,
    autoscaler_observed,
    cluster_observed,
    group_observed,
    job_observed,
)
from daskjob.core.pod_warnings import PodWarning, silent_pods, with_warnings
from daskjob.core.pods import PodFacts
from daskjob.core.status import job_status_from


@dataclass(frozen=True, slots=True)
class EmittedEvent:
    """An event that a pass emitted, and its object."""

    at: datetime
    ref: ObjectRef
    event: Event


class InMemoryBackend:
    """A backend over an object store."""

    def __init__(self, clock: Callable[[], datetime], platform: Platform) -> None:
        self.clock = clock
        self.platform = platform
        self.store = ObjectStore(clock)
        self._watchers: list[Callable[[], None]] = []
        self.store.watch(lambda _old, _new: self.changed())
        self.events: list[EmittedEvent] = []
        self.rejections: dict[tuple[str, str], Rejection] = {}
        #: By the object's uid.
        self.status_rejections: dict[str, Rejection] = {}
        #: Each scheduler's last answer, by its cluster's uid.
        self.dask: dict[str, DaskState] = {}
        #: The schedulers' recent demands, and the unresponsive schedulers, by the same uid.
        self.demands: dict[str, Demands] = {}
        self.unresponsive: set[str] = set()
        self.reports: dict[str, CollectedReport] = {}
        self.retirements: dict[str, Retirement] = {}
        #: Warnings of Events about stuck pods, by the pod's uid.
        self.pod_warnings: dict[str, PodWarning] = {}

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call the watcher after every change that a pass may observe."""
        self._watchers.append(watcher)

    def changed(self) -> None:
        """Notify every watcher of a change."""
        for watcher in self._watchers:
            watcher()

    async def observe(self, key: Key) -> Observed | None:
        """Return the observed state of an object."""
        item = self.store.get(key)
        if item is None:
            return None
        objects = ListLookup(self.store.all(key.namespace))
        match key.kind:
            case names.Kind.JOB:
                return self._with_warnings(self._job(job_observed(item, objects)))
            case names.Kind.CLUSTER:
                return self._with_warnings(self._cluster(cluster_observed(item, objects)))
            case names.Kind.GROUP:
                return self._with_warnings(self._group(group_observed(item, objects)))
            case names.Kind.AUTOSCALER:
                return self._autoscaler(autoscaler_observed(item, objects))
        return None

    def _with_warnings(self, observed: Observed) -> Observed:
        """Add the warnings of Events about the pods whose status explains nothing."""
        if not self.pod_warnings:
            return observed
        silent = {pod.ref.uid for pod in silent_pods(observed, self.clock())}
        warnings = {uid: found for uid, found in self.pod_warnings.items() if uid in silent}
        return with_warnings(observed, warnings)

    def _job(self, observed: ObservedJob) -> ObservedJob:
        cluster, scheduler = observed.cluster, observed.scheduler
        report = self.reports.get(scheduler.ref.uid) if scheduler else None
        return replace(self._completed(observed, cluster.ref.uid if cluster else ""), report=report)

    def _cluster(self, observed: ObservedCluster) -> ObservedCluster:
        return replace(self._completed(observed, observed.meta.uid), entropy=self.entropy())

    def _group(self, observed: ObservedGroup) -> ObservedGroup:
        uid = observed.cluster.meta.uid if observed.cluster else ""
        retirement = self.retirements.get(observed.meta.uid)
        return replace(
            self._completed(observed, uid), retirement=retirement, entropy=self.entropy()
        )

    def _autoscaler(self, observed: ObservedAutoscaler) -> ObservedAutoscaler:
        uid = observed.cluster.meta.uid if observed.cluster else ""
        demands = self.demands.get(uid, {})
        return replace(
            self._completed(observed, uid), silent=uid in self.unresponsive, demands=demands
        )

    def _completed(self, observed: Seen, cluster_uid: str) -> Seen:
        """Add the observed state that every pass needs and no object holds."""
        return replace(
            observed,
            rejections=self._rejections(observed.meta.namespace),
            status_rejection=self.status_rejections.get(observed.meta.uid),
            dask=self.dask.get(cluster_uid),
            platform=self.platform,
        )

    def answered(self, cluster_uid: str, state: DaskState) -> None:
        """Record the answer of a cluster's scheduler."""
        before = self.demands.get(cluster_uid, {})
        self.dask[cluster_uid] = replace(state, at=self.clock())
        self.demands[cluster_uid] = demands_after(before, state.targets, self.clock())
        self.unresponsive.discard(cluster_uid)

    def not_answered(self, cluster_uid: str) -> None:
        """Record that a cluster's scheduler does not answer: its demand is unknown."""
        if cluster_uid not in self.unresponsive:
            self.unresponsive.add(cluster_uid)
            self.demands.pop(cluster_uid, None)
            self.changed()

    def entropy(self) -> str:
        """Return fresh randomness."""
        return secrets.token_hex(16)

    def _rejections(self, namespace: str) -> dict[str, Rejection]:
        return {name: r for (where, name), r in self.rejections.items() if where == namespace}

    async def create(self, owner: Key, manifest: Manifest) -> None:  # noqa: ARG002
        """Create an object, or record its rejection."""
        ref = object_ref(manifest)
        where = (ref.namespace, f"{ref.kind}/{ref.name}")
        try:
            self.store.create(manifest)
        except CreateRejected as error:
            self.rejections[where] = counted(self.rejections.get(where), error, self.clock())
            raise
        self.rejections.pop(where, None)

    def withdraw(self, owner: ObjectRef, names: Collection[str]) -> None:
        """Discard the rejections of objects that a pass does not want any more."""
        for name in names:
            self.rejections.pop((owner.namespace, name), None)

    async def delete(self, ref: ObjectRef) -> None:
        """Delete an object and its dependents."""
        self.store.delete(ref)

    async def stop(self, ref: ObjectRef) -> None:
        """Stop a pod but keep its log, as on Kubernetes: by a deadline that has passed."""
        try:
            self.store.patch(ref, {"spec": {"activeDeadlineSeconds": 1}})
        except NotFound:
            return

    async def patch(self, patch: Patch) -> None:
        """Merge a patch into an object."""
        try:
            self.store.patch(patch.ref, patch.body)
        except (NotFound, Conflict):
            return

    async def retire(self, group: ObjectRef, retire: Retire) -> None:
        """Ask the scheduler of a group's cluster to move its workers' data away."""
        raise NotImplementedError

    def retired(self, group: ObjectRef, retire: Retire, answer: Manifest | None) -> None:
        """Record a scheduler's answer to ``retire``; ``None``: there was none."""
        if self.store.found(group) is not None:
            found = retirement_from(answer, retire.addresses, self.clock())
            self.retirements[group.uid] = found
            self.changed()

    async def collect_report(self, job: ObjectRef, scheduler: PodFacts) -> None:
        """Ask the agent of a job's scheduler for its report."""
        raise NotImplementedError

    def attempt_of(self, job: ObjectRef) -> int:
        """Return the attempt of a job whose report is collected."""
        return job_status_from((self.store.found(job) or {}).get("status")).attempt

    def collected(self, scheduler: PodFacts, report: Manifest | None, attempt: int) -> None:
        """Record the report of an attempt's scheduler; ``None``: there was none."""
        self.reports[scheduler.ref.uid] = CollectedReport(report, attempt)
        self.changed()

    async def write_status(self, ref: ObjectRef, status: Manifest) -> None:
        """Write the whole status of an object."""
        self.store.write_status(ref, status)
        self.status_rejections.pop(ref.uid, None)

    async def emit(self, ref: ObjectRef, events: Iterable[Event]) -> None:
        """Record events of an object."""
        now = self.clock()
        self.events += [EmittedEvent(now, ref, event) for event in events]

    def subjects(self) -> list[Key]:
        """Return the keys of all objects that have passes, owners first."""
        found = [object_ref(item) for item in self.store.all()]
        refs = [ref for kind in names.PASS_KINDS for ref in found if ref.kind == kind]
        return [Key(ref.kind, ref.namespace, ref.name) for ref in refs]
