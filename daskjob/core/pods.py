"""What a pass sees of a pod: facts with names, made from the pod as the world returns it.

No I/O here. Raw dictionaries stop here (design §5.1): everything above speaks of ``PodFacts``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from daskjob.core import names
from daskjob.core.caching import shared
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
    """One container: its state now, and how it ended the last time."""

    name: str
    state: ContainerState = ContainerState.WAITING
    #: Kubernetes' word for why it waits or ended: ``ImagePullBackOff``, ``OOMKilled``.
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    container_id: str = ""
    restarts: int = 0
    ready: bool = False
    last_exit_code: int | None = None
    last_reason: str = ""
    last_message: str = ""

    @property
    def terminated(self) -> bool:
        """Whether it has ended and was not started again."""
        return self.state is ContainerState.TERMINATED

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self.state is ContainerState.RUNNING

    @property
    def ever_ran(self) -> bool:
        """Whether it ran at any time."""
        return self.running or self.terminated or self.restarts > 0


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod of ours."""

    ref: ObjectRef
    #: uid of the controller owner: what decides to whom the pod belongs.
    owner_uid: str = ""
    owner_kind: str = ""
    owner_name: str = ""
    component: str = ""
    #: Name of the worker group in the pod's label; empty for others.
    group: str = ""
    #: The attempt of a runner; ``None`` where nothing says so.
    attempt: int | None = None
    phase: str = "Pending"
    #: Kubernetes' restart policy of its containers; empty where nothing says so.
    restart_policy: str = ""
    reason: str = ""
    message: str = ""
    created_at: datetime | None = None
    #: When the kubelet saw the pod: its ``activeDeadlineSeconds`` count from here.
    started_at: datetime | None = None
    #: When somebody asked for the deletion; ``None`` while nobody has.
    deletion_asked_at: datetime | None = None
    active_deadline_seconds: int | None = None
    scheduled: bool = False
    #: The scheduler's words on why no node will do; empty where one was found.
    unschedulable: str = ""
    #: ``DisruptionTarget``'s reason and time: preemption, taint, API eviction.
    disruption: str = ""
    disrupted_at: datetime | None = None
    ready: bool = False
    #: Since when it is ready, or is not; ``None`` where nothing tells the time.
    ready_changed_at: datetime | None = None
    ip: str = ""
    main: ContainerFacts | None = None
    init_containers: tuple[ContainerFacts, ...] = ()
    #: Fingerprint of the template that it was made from; empty where nothing says so.
    template: str = ""
    token: str = ""
    #: Warnings about the pod that only Kubernetes' Events tell, such as FailedMount.
    warnings: tuple[tuple[str, str], ...] = ()

    @property
    def deleting(self) -> bool:
        """Whether the pod is on its way out."""
        return self.deletion_asked_at is not None

    @property
    def ended(self) -> bool:
        """Whether all of the pod's containers have ended for good."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def alive(self) -> bool:
        """Whether something of the pod may still run."""
        return not self.ended

    @property
    def main_ended(self) -> bool:
        """Whether its main container has ended for good, whatever its other containers do.

        Runners of ours are never restarted in place; those that dask-kubernetes made are.
        """
        if self.main is None or not self.main.terminated:
            return False
        if self.ended or self.restart_policy not in ("Always", "OnFailure"):
            return True
        return self.restart_policy == "OnFailure" and self.main.exit_code == 0

    @property
    def stop_asked(self) -> bool:
        """Whether the pod was told to stop while its log stays (``activeDeadlineSeconds: 1``)."""
        return self.active_deadline_seconds is not None and self.active_deadline_seconds <= 1

    @property
    def starting_containers(self) -> tuple[ContainerFacts, ...]:
        """The containers that still have to run for the pod to start, in their order."""
        left = [c for c in self.init_containers if not (c.terminated and c.exit_code == 0)]
        main = () if self.main is None or self.main.ever_ran else (self.main,)
        return (*left, *main) if main else ()

    @property
    def restarts(self) -> int:
        """How often what has to run was started again: its main container, or what precedes it."""
        before = max((c.restarts for c in self.starting_containers), default=0)
        return max(self.main.restarts if self.main else 0, before)

    @property
    def counted_at(self) -> tuple[datetime, ...]:
        """When it came to be one more pod, or one fewer."""
        ended = self.main.finished_at if self.main and self.ended else None
        moments = (self.created_at, self.deletion_asked_at, ended)
        return tuple(moment for moment in moments if moment is not None)

    @property
    def moved_at(self) -> tuple[datetime, ...]:
        """When something of it changed that a status counts or tells."""
        moments = (self.ready_changed_at, self.main.started_at if self.main else None)
        return (*self.counted_at, *(moment for moment in moments if moment is not None))

    @property
    def identity(self) -> str:
        """What tells one life of the main container from the next: pod uid and container id."""
        container = self.main.container_id if self.main else ""
        return f"{self.ref.uid}/{container}"

    @property
    def stop_reason(self) -> str:
        """Why Kubernetes, or we, stopped the pod; empty where nobody did."""
        if self.reason in ("DeadlineExceeded", "Evicted", "Preempting", "NodeLost", "Terminated"):
            return self.reason
        if self.disruption:
            return self.disruption
        return "Deleted" if self.deleting else ""

    @property
    def stopped_at(self) -> datetime | None:
        """When the stop came; ``None`` where nobody stopped the pod or nothing tells the time."""
        if self.reason == "DeadlineExceeded":
            if self.started_at is None or self.active_deadline_seconds is None:
                return None
            return self.started_at + timedelta(seconds=self.active_deadline_seconds)
        if self.disrupted_at is not None:
            return self.disrupted_at
        # A deletion after an eviction says nothing of when the eviction was.
        return None if self.stop_reason == self.reason else self.deletion_asked_at


#: Of a pod that has three centuries to end nobody needs to know when it was asked to.
_LONGEST_GRACE_SECONDS = 10**10

#: As plain words: an operator reads them of every change of every pod, and to look an enum's member
#: up takes ten times as long.
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
        warnings=tuple(warnings),
    )


def _deletion_asked_at(meta: Manifest) -> datetime | None:
    """Return when the deletion was asked for: the timestamp is that plus the grace period."""
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
            last_reason=str(last.get("reason") or ""),
            last_message=str(last.get("message") or ""),
        )


def _state(state: Manifest) -> tuple[ContainerState, Manifest]:
    """Return which of its three states a container is in, and what is said of it."""
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
