"""The facts that a pass uses of a pod, parsed from the pod as the API returns it.

Raw dictionaries stop here (design §5.1): all other code uses ``PodFacts``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from daskjob.core import names
from daskjob.core.caching import shared
from daskjob.core.image_volumes import image_volumes
from daskjob.core.manifests import (
    Manifest,
    ObjectRef,
    controller,
    integer,
    mapping,
    mappings,
    metadata,
    object_ref,
    parse_time,
    whole_number,
)
from daskjob.core.spec.pod import PodTemplate


class ContainerState(StrEnum):
    """The three states of a container."""

    WAITING = "waiting"
    RUNNING = "running"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """One container: its current state, and how it ended the last time."""

    name: str
    state: ContainerState = ContainerState.WAITING
    #: Kubernetes' reason for waiting or ending: ``ImagePullBackOff``, ``OOMKilled``.
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    container_id: str = ""
    restarts: int = 0
    ready: bool = False
    last_exit_code: int | None = None
    #: When its previous run began; ``None`` if it has not been restarted.
    last_started_at: datetime | None = None
    last_reason: str = ""
    last_message: str = ""
    last_container_id: str = ""

    @property
    def terminated(self) -> bool:
        """Whether it has ended and was not restarted."""
        return self.state is ContainerState.TERMINATED

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self.state is ContainerState.RUNNING

    @property
    def ever_ran(self) -> bool:
        """Whether it has ever run."""
        return self.running or self.terminated or self.restarts > 0


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod created by daskjob."""

    ref: ObjectRef
    #: uid of the controller owner, which decides to which object the pod belongs.
    owner_uid: str = ""
    owner_kind: str = ""
    owner_name: str = ""
    component: str = ""
    #: Name of the worker group in the pod's label; empty for others.
    group: str = ""
    #: The attempt of a runner; ``None`` if unknown.
    attempt: int | None = None
    phase: str = "Pending"
    #: Kubernetes' restart policy of its containers; empty if unknown.
    restart_policy: str = ""
    reason: str = ""
    message: str = ""
    created_at: datetime | None = None
    #: When the kubelet first saw the pod: ``activeDeadlineSeconds`` counts from here.
    started_at: datetime | None = None
    #: When the deletion was requested; ``None`` if it was not.
    deletion_asked_at: datetime | None = None
    active_deadline_seconds: int | None = None
    scheduled: bool = False
    #: The kube-scheduler's message on why no node fits; empty if one does.
    unschedulable: str = ""
    #: ``DisruptionTarget``'s reason and time: preemption, taint, API eviction.
    disruption: str = ""
    disrupted_at: datetime | None = None
    ready: bool = False
    #: Since when it has been ready or not ready; ``None`` if unknown.
    ready_changed_at: datetime | None = None
    ip: str = ""
    main: ContainerFacts | None = None
    init_containers: tuple[ContainerFacts, ...] = ()
    #: Fingerprint of the template that it was created from; empty if unknown.
    template: str = ""
    token: str = ""
    #: The names and the images of its image volumes.
    image_volumes: tuple[tuple[str, str], ...] = ()
    #: Warnings about the pod that only Kubernetes' Events report, such as FailedMount.
    warnings: tuple[tuple[str, str], ...] = ()

    @property
    def deleting(self) -> bool:
        """Whether the pod is terminating."""
        return self.deletion_asked_at is not None

    @property
    def ended(self) -> bool:
        """Whether all of the pod's containers have ended for good."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def alive(self) -> bool:
        """Whether a container of the pod may still run."""
        return not self.ended

    def was_ready_for(self, seconds: int, now: datetime) -> bool:
        """Return whether it has been ready for this long, now or in its last run.

        Without a readiness probe, a container in a crash loop is ready for a moment in each run.
        """
        main, changed = self.main, self.ready_changed_at
        if main is None or changed is None:
            return False
        starts = [start for start in (main.started_at, main.last_started_at) if start is not None]
        if self.ready:
            began = max([changed, *starts])
            return now - began >= timedelta(seconds=seconds)
        return any(changed - start >= timedelta(seconds=seconds) for start in starts)

    @property
    def main_ended(self) -> bool:
        """Whether its main container has ended for good, regardless of its other containers.

        Our runners are never restarted in place; those created by dask-kubernetes are.
        """
        if self.main is None or not self.main.terminated:
            return False
        if self.ended or self.restart_policy not in ("Always", "OnFailure"):
            return True
        return self.restart_policy == "OnFailure" and self.main.exit_code == 0

    @property
    def stop_asked(self) -> bool:
        """Whether it was asked to stop and keep its log (``activeDeadlineSeconds: 1``)."""
        return self.active_deadline_seconds is not None and self.active_deadline_seconds <= 1

    @property
    def starting_containers(self) -> tuple[ContainerFacts, ...]:
        """The containers that must still run before the pod has started, in order."""
        left = [c for c in self.init_containers if not (c.terminated and c.exit_code == 0)]
        main = () if self.main is None or self.main.ever_ran else (self.main,)
        return (*left, *main) if main else ()

    @property
    def restarts(self) -> int:
        """The number of restarts of its main container, or of the containers before it."""
        before = max((c.restarts for c in self.starting_containers), default=0)
        return max(self.main.restarts if self.main else 0, before)

    @property
    def counted_at(self) -> tuple[datetime, ...]:
        """The times at which the number of pods changed by it."""
        ended = self.main.finished_at if self.main and self.ended else None
        moments = (self.created_at, self.deletion_asked_at, ended)
        return tuple(moment for moment in moments if moment is not None)

    @property
    def moved_at(self) -> tuple[datetime, ...]:
        """The times of changes that a status counts or reports."""
        moments = (self.ready_changed_at, self.main.started_at if self.main else None)
        return (*self.counted_at, *(moment for moment in moments if moment is not None))

    @property
    def identity(self) -> str:
        """The identity of one run of the main container: pod uid and container id."""
        container = self.main.container_id if self.main else ""
        return f"{self.ref.uid}/{container}"

    def exited_with_0(self, identity: str) -> bool:
        """Return whether the run of its main container that had this identity exited with 0.

        It does not count if Kubernetes or daskjob stopped the pod: most programs that handle
        SIGTERM exit with 0.
        """
        main = self.main
        if main is None or not self.last_exited_with_0:
            return False
        container = main.container_id if main.terminated else main.last_container_id
        return f"{self.ref.uid}/{container}" == identity

    @property
    def last_exited_with_0(self) -> bool:
        """Whether the last run of its main container that ended exited with 0 by itself."""
        if self.main is None or self.stop_reason:
            return False
        code = self.main.exit_code if self.main.terminated else self.main.last_exit_code
        return code == 0

    @property
    def stop_reason(self) -> str:
        """Why Kubernetes or daskjob stopped the pod; empty if neither did."""
        if self.reason in ("DeadlineExceeded", "Evicted", "Preempting", "NodeLost", "Terminated"):
            return self.reason
        if self.disruption:
            return self.disruption
        return "Deleted" if self.deleting else ""

    @property
    def stopped_at(self) -> datetime | None:
        """When the pod was stopped; ``None`` if it was not, or the time is unknown."""
        if self.reason == "DeadlineExceeded":
            if self.started_at is None or self.active_deadline_seconds is None:
                return None
            return self.started_at + timedelta(seconds=self.active_deadline_seconds)
        if self.disrupted_at is not None:
            return self.disrupted_at
        # The time of a deletion after an eviction is not the time of the eviction.
        return None if self.stop_reason == self.reason else self.deletion_asked_at


#: Ignore absurd grace periods; subtracting them would overflow the date.
_LONGEST_GRACE_SECONDS = 10**10

#: As plain strings: an operator reads them at every change of every pod, and looking up the member
#: of an enum takes ten times as long.
_STATES = [(str(state), state) for state in ContainerState]


def pod_facts(pod: Manifest, warnings: Sequence[tuple[str, str]] = ()) -> PodFacts:
    """Return the facts of a pod as the API (or a backend in the API's shape) returns it."""
    meta = metadata(pod)
    labels, annotations = mapping(meta.get("labels")), mapping(meta.get("annotations"))
    spec, status = mapping(pod.get("spec")), mapping(pod.get("status"))
    template = PodTemplate(spec=spec, annotations=annotations)
    main = template.main_container("job-runner", "job", "scheduler", "worker")
    containers = {c.name: c for c in _containers(status, "containerStatuses")}
    attempt = str(annotations.get(names.ANNOTATION_ATTEMPT, ""))
    conditions = {str(c.get("type")): c for c in mappings(status.get("conditions"))}
    scheduled = conditions.get("PodScheduled", {})
    disruption = conditions.get("DisruptionTarget", {})
    disrupted = disruption.get("status") == "True"
    ready = conditions.get("Ready", {})
    owner = controller(pod)
    deadline = spec.get("activeDeadlineSeconds")
    return PodFacts(
        ref=object_ref({**pod, "kind": "Pod"}),
        owner_uid=shared(str(owner.get("uid", ""))),
        owner_kind=shared(str(owner.get("kind", ""))),
        owner_name=shared(str(owner.get("name", ""))),
        component=shared(str(labels.get(names.LABEL_COMPONENT, ""))),
        group=shared(str(labels.get(names.LABEL_WORKERGROUP_NAME, ""))),
        attempt=whole_number(attempt),
        phase=shared(str(status.get("phase") or "Pending")),
        restart_policy=shared(str(spec.get("restartPolicy") or "")),
        reason=str(status.get("reason") or ""),
        message=str(status.get("message") or ""),
        created_at=parse_time(meta.get("creationTimestamp")),
        started_at=parse_time(status.get("startTime")),
        deletion_asked_at=_deletion_asked_at(meta),
        active_deadline_seconds=deadline if isinstance(deadline, int) else None,
        scheduled=bool(spec.get("nodeName")) or scheduled.get("status") == "True",
        unschedulable=str(scheduled.get("message") or "")
        if scheduled.get("status") == "False"
        else "",
        disruption=str(disruption.get("reason") or "") if disrupted else "",
        disrupted_at=parse_time(disruption.get("lastTransitionTime")) if disrupted else None,
        ready=ready.get("status") == "True",
        ready_changed_at=parse_time(ready.get("lastTransitionTime")),
        ip=str(status.get("podIP") or ""),
        main=containers.get(main, ContainerFacts(main) if main else None),
        init_containers=tuple(_containers(status, "initContainerStatuses")),
        template=shared(str(annotations.get(names.ANNOTATION_TEMPLATE, ""))),
        token=_environment_value(template, names.ENV_AGENT_TOKEN),
        image_volumes=image_volumes(spec),
        warnings=tuple(warnings),
    )


def _deletion_asked_at(meta: Manifest) -> datetime | None:
    """Return when the deletion was requested: the timestamp minus the grace period."""
    due = parse_time(meta.get("deletionTimestamp"))
    grace = meta.get("deletionGracePeriodSeconds")
    if due is None:
        return None
    if not isinstance(grace, int) or grace > _LONGEST_GRACE_SECONDS:
        return due
    return due - timedelta(seconds=grace)


def _containers(status: Manifest, key: str) -> Iterator[ContainerFacts]:
    for raw in mappings(status.get(key)):
        kind, now = _state(mapping(raw.get("state")))
        last = mapping(mapping(raw.get("lastState")).get("terminated"))
        restarts = raw.get("restartCount")
        yield ContainerFacts(
            name=shared(str(raw.get("name", ""))),
            state=kind,
            reason=str(now.get("reason") or ""),
            message=str(now.get("message") or ""),
            exit_code=integer(now.get("exitCode")),
            started_at=parse_time(now.get("startedAt")),
            finished_at=parse_time(now.get("finishedAt")),
            container_id=str(raw.get("containerID") or ""),
            restarts=restarts if isinstance(restarts, int) else 0,
            ready=raw.get("ready") is True,
            last_exit_code=integer(last.get("exitCode")),
            last_started_at=parse_time(last.get("startedAt")),
            last_reason=str(last.get("reason") or ""),
            last_message=str(last.get("message") or ""),
            last_container_id=str(last.get("containerID") or ""),
        )


def _state(state: Manifest) -> tuple[ContainerState, Manifest]:
    """Return the state of a container, and the fields of that state."""
    for word, kind in _STATES:
        if state.get(word) is not None:
            return kind, mapping(state[word])
    return ContainerState.WAITING, {}


def _environment_value(template: PodTemplate, name: str) -> str:
    for container in template.containers:
        for variable in mappings(container.get("env")):
            if variable.get("name") == name:
                return str(variable.get("value") or "")
    return ""
