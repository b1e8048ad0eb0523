"""The observed state of a pass: it observes once, then decides on these values alone.

A backend gathers raw objects and calls ``job_observed``, ``cluster_observed``, ``group_observed``
or ``autoscaler_observed``; no layer above reads a raw object again. The uid of its controller owner
decides whose object it is, never a label (design §4.8).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeAlias, TypeVar

from daskjob.core import names
from daskjob.core.dask import DaskState, Retirement
from daskjob.core.demand import Demand, Demands
from daskjob.core.errors import FieldError, RejectionKind
from daskjob.core.fields import Reader
from daskjob.core.lookup import Lookup
from daskjob.core.manifests import (
    Manifest,
    ObjectRef,
    controller_uid,
    format_time,
    mapping,
    metadata,
    object_ref,
    whole_number,
)
from daskjob.core.parsed import (
    parsed_autoscaler,
    parsed_autoscaler_status,
    parsed_cluster,
    parsed_cluster_status,
    parsed_group,
    parsed_group_status,
    parsed_job,
    parsed_job_status,
)
from daskjob.core.pods import PodFacts
from daskjob.core.spec import (
    DaskAutoscaler,
    DaskCluster,
    DaskJob,
    DaskWorkerGroup,
    Meta,
)
from daskjob.core.spec.code import CODE, read_code
from daskjob.core.spec.environment import Environment, thawed_environment
from daskjob.core.spec.policy import (
    FROZEN_CODE,
    FROZEN_ENVIRONMENT,
    FROZEN_SUBMISSION_ID,
    frozen_cluster_ref,
    frozen_text,
)
from daskjob.core.status import (
    AutoscalerStatus,
    ClusterPhase,
    ClusterStatus,
    Conditions,
    GroupStatus,
    JobStatus,
)
from daskjob.core.upstream import deployed, unmanaged


@dataclass(frozen=True, slots=True)
class Rejection:
    """An object that could not be created: why, and since when."""

    kind: RejectionKind
    name: str
    message: str
    first_at: datetime
    last_at: datetime
    tries: int = 1


@dataclass(frozen=True, slots=True)
class CollectedReport:
    """The agent's report at an attempt's end; ``report`` is ``None`` if it did not answer."""

    report: Manifest | None
    #: The attempt that ended: with ``restart: Runner`` several end on the same scheduler.
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Platform:
    """The properties of a backend that desired objects depend on."""

    #: Source of the scheduler agent (design §5.4); empty: schedulers have none.
    agent: str = ""
    #: Source of ``in_pod.py``, which prepares pods (design §5.7).
    installer: str = ""
    #: Whether pods prepare themselves, in an init container; this machine does it for them.
    pods_prepare: bool = True
    #: ``host:port`` of this backend's only scheduler; empty: each has its Service's address.
    comm: str = ""
    dashboard: str = ""
    #: Whether ``dask-worker …`` is run as ``dask worker …``: distributed 2026.6 lacks the former.
    legacy_commands: bool = True
    #: Whether pods are kept out of an Istio mesh, as upstream does.
    istio_excluded: bool = True
    #: The number of workers of a group that are created together; 0: all missing ones.
    worker_batch_size: int = 0
    #: The time between two such batches; Kubernetes' creation times have whole seconds.
    worker_batch_seconds: int = 1
    #: After which time without any work of the workers their tasks are reported as not moving.
    quiet_seconds: int = 60
    #: Memory of the one machine that all workers share; 0: there is no such machine.
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ClusterOfJob:
    """The DaskCluster that a job runs on."""

    ref: ObjectRef
    #: The attempt for which it was created; ``None`` for a cluster that is not the job's.
    attempt: int | None
    deleting: bool
    created_at: datetime | None
    #: The workers of all its groups together, as in their specs now.
    desired_workers: int
    #: The last count of workers that was passed on from the job's spec.
    asked_replicas: int
    deletes_workers: bool
    #: Consecutive failures of workers, in the group with the fewest.
    worker_failures: int = 0
    #: Whether dask-kubernetes created it: then its scheduler and workers are unknown.
    unmanaged: bool = False
    #: Whether its status reports the loss of a scheduler that was ready.
    scheduler_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedObject:
    """The observed state that passes over all kinds have in common."""

    #: Errors in the parts of the spec that daskjob itself relies on.
    mistakes: tuple[FieldError, ...] = ()
    rejections: Mapping[str, Rejection] = field(default_factory=dict)
    #: The rejection of the object's own status; ``None`` while it can be written.
    status_rejection: Rejection | None = None
    #: The scheduler's last answer; ``None``: it does not respond, or was not polled yet.
    dask: DaskState | None = None
    platform: Platform = Platform()

    @property
    def meta(self) -> Meta:
        """The metadata of the object that the pass is about."""
        raise NotImplementedError

    @property
    def ref(self) -> ObjectRef:
        """The object that the pass is about."""
        return self.meta.ref


@dataclass(frozen=True, slots=True)
class ObservedJob(ObservedObject):
    """The observed state of a DaskJob."""

    job: DaskJob
    status: JobStatus
    #: Every runner pod that this job's uid controls, by attempt.
    runners: tuple[PodFacts, ...] = ()
    #: The job's own cluster (controlled by its uid), or the one that ``clusterRef`` names.
    cluster: ClusterOfJob | None = None
    #: The scheduler pod that this cluster's uid controls.
    scheduler: PodFacts | None = None
    #: The worker pods of the groups that this cluster's uid controls.
    workers: tuple[PodFacts, ...] = ()
    #: Whether dask-kubernetes started the job, and daskjob has not taken it over yet.
    from_dask_kubernetes: bool = False
    #: Objects of an earlier cluster of this name, which garbage collection will remove.
    leftovers: tuple[ObjectRef, ...] = ()
    #: Whether the ConfigMap with the job's files exists.
    files_exist: bool = False
    #: Whether the ConfigMap of its pods' preparation exists.
    environment_exists: bool = False
    report: CollectedReport | None = None
    #: When the runner last wrote to its log; only where reading that is free (on this machine).
    last_log_at: datetime | None = None
    #: Tasks that the ended script promised to run (``fire_and_forget``) and that have not finished.
    promised_tasks: int = 0

    @property
    def meta(self) -> Meta:
        """The metadata of the job."""
        return self.job.meta

    def runner(self, attempt: int) -> PodFacts | None:
        """Return the runner pod of an attempt."""
        return next((pod for pod in self.runners if pod.attempt == attempt), None)


@dataclass(frozen=True, slots=True)
class GroupOfCluster:
    """A worker group as its cluster's pass observes it."""

    ref: ObjectRef
    replicas: int
    deleting: bool
    #: Its raw ``spec.worker``.
    worker: Manifest = field(default_factory=dict)
    #: The fingerprint of the cluster's template that it has; empty if unknown.
    template: str = ""
    #: The last count that it and its cluster agreed on; ``None`` if unknown.
    synced_replicas: int | None = None
    #: The conditions of its own status.
    conditions: Conditions = ()


@dataclass(frozen=True, slots=True)
class ObservedCluster(ObservedObject):
    """The observed state of a DaskCluster."""

    cluster: DaskCluster
    status: ClusterStatus
    scheduler: PodFacts | None = None
    #: Scheduler pods of this name that a Deployment created, as dask-kubernetes' does.
    deployed: tuple[PodFacts, ...] = ()
    #: Whether the cluster is managed by dask-kubernetes.
    unmanaged: bool = False
    #: The Service that this cluster's uid controls.
    service: ObjectRef | None = None
    #: The groups that this cluster's uid controls.
    groups: tuple[GroupOfCluster, ...] = ()
    #: The autoscalers that this cluster's uid controls.
    autoscalers: tuple[DaskAutoscaler, ...] = ()
    workers: tuple[PodFacts, ...] = ()
    #: Whether a job that uses the cluster has not ended, or its runner is alive: such a cluster is
    #: never idle.
    in_use: bool = False
    #: Since when changes of clusters are seen without a gap; ``None``: always.
    followed_since: datetime | None = None
    #: Fresh randomness: the agent's token of a scheduler to be created.
    entropy: str = ""

    @property
    def meta(self) -> Meta:
        """The metadata of the cluster."""
        return self.cluster.meta


@dataclass(frozen=True, slots=True)
class ObservedGroup(ObservedObject):
    """The observed state of a DaskWorkerGroup."""

    group: DaskWorkerGroup
    status: GroupStatus
    #: The cluster in its spec; ``None``: it does not exist (yet).
    cluster: DaskCluster | None = None
    #: Whether that cluster is managed by dask-kubernetes.
    unmanaged: bool = False
    #: The scheduler pod of that cluster.
    scheduler: PodFacts | None = None
    #: Whether that cluster's Service exists: workers connect to it as soon as they start.
    service_exists: bool = False
    #: The worker pods that this group's uid controls.
    workers: tuple[PodFacts, ...] = ()
    retirement: Retirement | None = None
    #: Fresh randomness for new names, so that the decision stays a pure function.
    entropy: str = ""

    @property
    def meta(self) -> Meta:
        """The metadata of the group."""
        return self.group.meta

    @property
    def staying(self) -> list[PodFacts]:
        """The worker pods that have not ended and are not being deleted."""
        return [pod for pod in self.workers if pod.alive and not pod.deleting]


@dataclass(frozen=True, slots=True)
class ObservedAutoscaler(ObservedObject):
    """The observed state of a DaskAutoscaler."""

    autoscaler: DaskAutoscaler
    status: AutoscalerStatus
    #: The cluster in its spec; ``None``: it does not exist (yet).
    cluster: DaskCluster | None = None
    #: Whether that cluster is managed by dask-kubernetes.
    unmanaged: bool = False
    #: The scheduler pod of that cluster.
    scheduler: PodFacts | None = None
    #: The group that it scales; ``None``: it does not exist (yet).
    group: DaskWorkerGroup | None = None
    #: The name of an older autoscaler of the same group, which scales it; empty: none.
    older_autoscaler: str = ""
    #: Whether the scheduler was polled and did not respond.
    silent: bool = False
    #: The scheduler's demand for each group, over time.
    demands: Demands = field(default_factory=dict)

    @property
    def meta(self) -> Meta:
        """The metadata of the autoscaler."""
        return self.autoscaler.meta

    @property
    def demand(self) -> Demand | None:
        """The demand for the group that it scales; ``None``: the scheduler does not report it."""
        return self.demands.get(self.autoscaler.group_name)


Observed: TypeAlias = ObservedJob | ObservedCluster | ObservedGroup | ObservedAutoscaler
Seen = TypeVar("Seen", ObservedJob, ObservedCluster, ObservedGroup, ObservedAutoscaler)


def job_observed(manifest: Manifest, objects: Lookup) -> ObservedJob:
    """Return the observed state of a job; the caller adds what is not in ``objects``."""
    given, mistakes = parsed_job(manifest)
    status = parsed_job_status(manifest)
    job = _as_begun(given, status)
    cluster = objects.named(names.Kind.CLUSTER, job.cluster_name)
    if cluster is not None and not job.cluster_ref and controller_uid(cluster) != job.meta.uid:
        cluster = None
    cluster_uid = object_ref(cluster).uid if cluster else ""
    runners = _pods(objects.pods(job.meta.uid), names.Component.RUNNER)
    config_maps = {ref.name for ref in objects.references("ConfigMap", job.meta.uid)}
    return ObservedJob(
        job=job,
        status=status,
        mistakes=mistakes,
        runners=_by_attempt(job, runners),
        cluster=_cluster_of_job(job, cluster, objects) if cluster else None,
        scheduler=_scheduler(job.cluster_name, cluster_uid, objects),
        workers=_workers_of_cluster(cluster_uid, objects),
        from_dask_kubernetes=_is_from_dask_kubernetes(job, status, runners, cluster),
        leftovers=() if job.cluster_ref else _leftovers(job.cluster_name, objects),
        files_exist=names.files_name(job.meta.name) in config_maps,
        environment_exists=names.environment_name(job.meta.name) in config_maps,
    )


def _with_first_environment(job: DaskJob, status: JobStatus) -> DaskJob:
    """Return the job with the packages and the code with which it began.

    Absent in the frozen policy: it began with none. Updates through older types drop both fields.
    """
    if not status.started:
        return job
    fields = mapping((status.policy or {}).get(FROZEN_ENVIRONMENT))
    frozen = (status.policy or {}).get(FROZEN_CODE)
    environment = thawed_environment(fields, job.environment) if fields else Environment()
    code = read_code(Reader({CODE.name: frozen}, "status.policy", [])) if frozen else None
    # The same object if nothing differs: what is computed of it is cached.
    if code == job.code and (
        environment == job.environment or not (fields or job.environment.wanted)
    ):
        return job
    return replace(job, environment=environment, code=code)


def _as_begun(job: DaskJob, status: JobStatus) -> DaskJob:
    """Return the job on the cluster with which it began; CRDs before this rule let it change.

    The new one has none of the attempt's objects, and the old one would be left running.
    """
    ref = frozen_cluster_ref(status.policy)
    token = frozen_text(status.policy, FROZEN_SUBMISSION_ID)
    if token is not None and token != job.submission_id:
        job = replace(job, submission_id=token)
    job = _with_first_environment(job, status)
    if ref is None or ref == job.cluster_ref:
        return job
    return replace(job, cluster_ref=ref, cluster=None if ref else job.cluster)


def _by_attempt(job: DaskJob, runners: Iterable[PodFacts]) -> tuple[PodFacts, ...]:
    """Return runners in the order of their attempts.

    Without the annotation, which dask-kubernetes does not write, the name contains the attempt.
    """
    numbered = [
        replace(pod, attempt=names.attempt_of(job.meta.name, pod.ref.name))
        if pod.attempt is None
        else pod
        for pod in runners
    ]
    return tuple(sorted(numbered, key=lambda pod: pod.attempt or 0))


def _is_from_dask_kubernetes(
    job: DaskJob, status: JobStatus, runners: Iterable[PodFacts], cluster: Manifest | None
) -> bool:
    """Return whether a job without a status of daskjob has objects that dask-kubernetes created."""
    if status.started or status.job_status is None or job.cluster_ref:
        return False
    annotations = metadata(cluster or {}).get("annotations") or {}
    made_cluster = cluster is not None and names.ANNOTATION_ATTEMPT not in annotations
    return made_cluster or any(pod.attempt is None for pod in runners)


def _leftovers(cluster: str, objects: Lookup) -> tuple[ObjectRef, ...]:
    """Return the objects of an earlier cluster of this name that still exist.

    Until they are gone their names are taken, and a new scheduler next to an old one would share
    its Service.
    """
    schedulers = _deployed(cluster, objects)
    return (*objects.orphans(cluster), *(pod.ref for pod in schedulers))


def _cluster_of_job(job: DaskJob, manifest: Manifest, objects: Lookup) -> ClusterOfJob:
    cluster, mistakes = parsed_cluster(manifest)
    phase = parsed_cluster_status(manifest).phase
    groups = objects.controlled(names.Kind.GROUP, cluster.meta.uid)
    counts = [parsed_group(group)[0].replicas for group in groups]
    number = whole_number(cluster.meta.annotations.get(names.ANNOTATION_ATTEMPT, ""))
    # A job's own cluster from dask-kubernetes has no annotation: it has only one attempt.
    default = 0 if cluster.meta.owner_uid == job.meta.uid else None
    asked = whole_number(cluster.meta.annotations.get(names.ANNOTATION_JOB_REPLICAS, ""))
    return ClusterOfJob(
        ref=cluster.meta.ref,
        attempt=default if number is None else number,
        deleting=cluster.meta.deleting,
        created_at=cluster.meta.created_at,
        desired_workers=sum(counts) if counts else cluster.spec.desired_workers,
        asked_replicas=cluster.spec.worker.replicas if asked is None else asked,
        deletes_workers=cluster.deletes_workers,
        worker_failures=min((parsed_group_status(group).failures for group in groups), default=0),
        unmanaged=_is_unmanaged(manifest, cluster, objects),
        scheduler_lost=phase is ClusterPhase.ERROR and not mistakes,
    )


def _is_unmanaged(manifest: Manifest, cluster: DaskCluster, objects: Lookup) -> bool:
    name = cluster.meta.name
    if names.ANNOTATION_ATTEMPT in cluster.meta.annotations:
        # A job of daskjob created it.
        return False
    schedulers = _deployed(name, objects)
    status = parsed_cluster_status(manifest)
    return unmanaged(status, cluster.meta.created_at, schedulers)


def _deployed(cluster: str, objects: Lookup) -> tuple[PodFacts, ...]:
    return deployed(objects.labelled_schedulers(cluster), cluster)


def _workers_of_cluster(cluster_uid: str, objects: Lookup) -> tuple[PodFacts, ...]:
    return tuple(
        pod
        for group in objects.controlled(names.Kind.GROUP, cluster_uid)
        for pod in _workers_of_group(group, objects)
    )


def _workers_of_group(group: Manifest, objects: Lookup) -> list[PodFacts]:
    ref = object_ref(group)
    label = names.label_value(ref.name)
    pods = _pods(objects.pods(ref.uid), names.Component.WORKER)
    return [pod if pod.group == label else replace(pod, group=label) for pod in pods]


def _scheduler(cluster_name: str, cluster_uid: str, objects: Lookup) -> PodFacts | None:
    name = names.scheduler_pod_name(cluster_name)
    pods = _pods(objects.pods(cluster_uid), names.Component.SCHEDULER)
    return next((pod for pod in pods if pod.ref.name == name), None)


def _pods(pods: Iterable[PodFacts], component: str) -> list[PodFacts]:
    """Return the pods of one owner, with the component that follows from the owner.

    A user may remove the label: the runner would count as lost, and a second one would be created.
    """
    return [
        pod if pod.component == component else replace(pod, component=component) for pod in pods
    ]


def cluster_observed(manifest: Manifest, objects: Lookup) -> ObservedCluster:
    """Return the observed state of a cluster; the caller adds what is not in ``objects``."""
    cluster, mistakes = parsed_cluster(manifest)
    uid = cluster.meta.uid
    services = objects.references("Service", uid)
    return ObservedCluster(
        cluster=cluster,
        status=parsed_cluster_status(manifest),
        mistakes=mistakes,
        scheduler=_scheduler(cluster.meta.name, uid, objects),
        deployed=_deployed(cluster.meta.name, objects),
        unmanaged=_is_unmanaged(manifest, cluster, objects),
        service=services[0] if services else None,
        groups=tuple(
            _group_of_cluster(group) for group in objects.controlled(names.Kind.GROUP, uid)
        ),
        autoscalers=tuple(
            parsed_autoscaler(item)[0] for item in objects.controlled(names.Kind.AUTOSCALER, uid)
        ),
        workers=_workers_of_cluster(uid, objects),
        in_use=any(pod.alive for pod in _runners_on(cluster, objects))
        or any(not parsed_job_status(job).finished for job in _jobs_on(cluster, objects)),
    )


def _group_of_cluster(manifest: Manifest) -> GroupOfCluster:
    group, _ = parsed_group(manifest)
    spec = manifest.get("spec")
    worker = spec.get("worker") if isinstance(spec, dict) else None
    return GroupOfCluster(
        ref=group.meta.ref,
        replicas=group.replicas,
        deleting=group.meta.deleting,
        worker=worker if isinstance(worker, dict) else {},
        template=group.meta.annotations.get(names.ANNOTATION_TEMPLATE, ""),
        synced_replicas=whole_number(
            group.meta.annotations.get(names.ANNOTATION_SYNCED_REPLICAS, "")
        ),
        conditions=parsed_group_status(manifest).conditions,
    )


def _jobs_on(cluster: DaskCluster, objects: Lookup) -> Iterator[Manifest]:
    """Yield the job that owns a cluster, and the jobs that refer to it, unless being deleted.

    A job that is queued, or waits for its next attempt, has no runner, and needs its cluster.
    """
    owner = objects.named(names.Kind.JOB, cluster.meta.owner_name)
    owned = owner is not None and object_ref(owner).uid == cluster.meta.owner_uid
    for job in (
        *([owner] if owner is not None and owned else []),
        *objects.referring_to(names.Kind.JOB, cluster.meta.name),
    ):
        if not metadata(job).get("deletionTimestamp"):
            yield job


def _runners_on(cluster: DaskCluster, objects: Lookup) -> list[PodFacts]:
    """Return the runners that use a cluster: its job's, and those of jobs that refer to it.

    The latter are known by their label only: enough to keep a cluster, not to delete a pod.
    """
    own = _pods(objects.pods(cluster.meta.owner_uid), names.Component.RUNNER)
    return [*own, *objects.labelled_runners(cluster.meta.name)]


def group_observed(manifest: Manifest, objects: Lookup) -> ObservedGroup:
    """Return the observed state of a group; the caller adds what is not in ``objects``."""
    group, mistakes = parsed_group(manifest)
    found = objects.named(names.Kind.CLUSTER, group.cluster)
    cluster = parsed_cluster(found)[0] if found else None
    uid = cluster.meta.uid if cluster else ""
    workers = _workers_of_group(manifest, objects)
    return ObservedGroup(
        group=group,
        status=parsed_group_status(manifest),
        mistakes=mistakes,
        cluster=cluster,
        unmanaged=bool(found and cluster and _is_unmanaged(found, cluster, objects)),
        scheduler=_scheduler(group.cluster, uid, objects),
        service_exists=bool(objects.references("Service", uid)),
        workers=tuple(sorted(workers, key=lambda pod: pod.ref.name)),
    )


def autoscaler_observed(manifest: Manifest, objects: Lookup) -> ObservedAutoscaler:
    """Return the observed state of an autoscaler; the caller adds what is not in ``objects``."""
    autoscaler, mistakes = parsed_autoscaler(manifest)
    found = objects.named(names.Kind.CLUSTER, autoscaler.cluster)
    cluster = parsed_cluster(found)[0] if found else None
    group = objects.named(names.Kind.GROUP, autoscaler.group_name)
    uid = cluster.meta.uid if cluster else ""
    return ObservedAutoscaler(
        autoscaler=autoscaler,
        status=parsed_autoscaler_status(manifest),
        mistakes=mistakes,
        cluster=cluster,
        unmanaged=bool(found and cluster and _is_unmanaged(found, cluster, objects)),
        scheduler=_scheduler(autoscaler.cluster, uid, objects),
        group=parsed_group(group)[0] if group else None,
        older_autoscaler=_older_autoscaler(autoscaler, objects),
    )


def _older_autoscaler(autoscaler: DaskAutoscaler, objects: Lookup) -> str:
    """Return the name of the oldest autoscaler of the same group; empty if it is this one."""
    rivals = [autoscaler]
    for item in objects.referring_to(names.Kind.AUTOSCALER, autoscaler.cluster):
        other, mistakes = parsed_autoscaler(item)
        if other.group_name == autoscaler.group_name and not mistakes and not other.meta.deleting:
            rivals.append(other)
    oldest = min(rivals, key=lambda one: (format_time(one.meta.created_at) or "", one.meta.name))
    return "" if oldest.meta.name == autoscaler.meta.name else oldest.meta.name


def joined_groups(cluster: DaskCluster, objects: Lookup) -> list[DaskWorkerGroup]:
    """Return the valid groups that refer to a cluster without being owned by it."""
    joined: list[DaskWorkerGroup] = []
    for item in objects.referring_to(names.Kind.GROUP, cluster.meta.name):
        group, mistakes = parsed_group(item)
        if not mistakes and group.meta.owner_uid != cluster.meta.uid and not group.meta.deleting:
            joined.append(group)
    return sorted(joined, key=lambda group: group.meta.name)
