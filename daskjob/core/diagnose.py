"""Why a pod does not run, or why it ended, as a message with the next step.

Each ``_check`` looks for one situation in a pod's facts; the first match is the diagnosis. It
quotes the message of Kubernetes, and adds the object and the next step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from daskjob.core.errors import RejectionKind
from daskjob.core.messages import cut
from daskjob.core.names import Component
from daskjob.core.observed import Rejection
from daskjob.core.pods import ContainerFacts, PodFacts
from daskjob.core.reasons import Reason

#: How long to wait for an image, a volume or a missing name: a registry may be slow, a Secret
#: may be created later (design §3.1).
PATIENCE_SECONDS = 600
#: When to read the Events of a pod that its node is still creating, and the interval after that.
SILENT_SECONDS = 30
AGAIN_SECONDS = 60
#: Events for a volume that cannot be mounted, and for a pod that its node cannot create.
VOLUME_WARNINGS = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"})
NODE_WARNINGS = frozenset(
    {
        "FailedCreatePodSandBox",
        "FailedCreatePodContainer",
        "FailedPrepareDynamicResources",
        "NetworkNotReady",
    }
)
STARTUP_WARNINGS = VOLUME_WARNINGS | NODE_WARNINGS
#: Waiting reasons of a container whose image cannot be pulled, or that cannot be created.
_IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_CONTAINER_REASONS = frozenset(
    {
        "CreateContainerError",
        "RunContainerError",
        "PreCreateHookError",
        "PreStartHookError",
        "PostStartHookError",
    }
)
_REJECTED = {
    RejectionKind.QUOTA: Reason.QUOTA_EXCEEDED,
    RejectionKind.REJECTED: Reason.REJECTED,
    RejectionKind.UNREACHED: Reason.REJECTED,
    RejectionKind.INVALID: Reason.INVALID_SPEC,
    RejectionKind.CONFLICT: Reason.NAME_CONFLICT,
}
#: Terminated reasons of a container that its node could not start at all.
_NEVER_STARTED = frozenset({"StartError", "ContainerCannotRun"})
#: Waiting reasons of a container while its pod's node is creating it normally.
_CREATING_REASONS = frozenset({"", "ContainerCreating", "PodInitializing"})
#: Maximum length of the quoted last line of a log.
LINE_LENGTH = 400


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A problem, the message that reports it, and what to do."""

    reason: Reason
    summary: str
    #: The message of Kubernetes or this machine; may be empty.
    detail: str = ""
    next_step: str = ""
    #: Seconds after which the wait is given up; 0: at once; ``None``: never.
    patience_seconds: int | None = None

    @property
    def final(self) -> bool:
        """Whether a retry would fail the same way, so that waiting is useless."""
        return self.patience_seconds == 0

    @property
    def message(self) -> str:
        """The whole diagnosis on one line."""
        detail = f": {self.detail}" if self.detail else ""
        step = f" {self.next_step}" if self.next_step else ""
        return f"{self.summary}{detail}.{step}".replace("..", ".")


def waiting_for(pod: PodFacts) -> Diagnosis | None:
    """Return the problem of a pod that does not run yet; ``None`` if none is known."""
    if pod.ended or pod.ready:
        return None
    return (
        _check_unschedulable(pod)
        or _check_image(pod)
        or _check_configuration(pod)
        or _check_container(pod)
        or _check_warnings(pod)
    )


def creating_since(pod: PodFacts) -> datetime | None:
    """Return since when a node has been creating a pod; ``None``: it is not, or unknown."""
    return (pod.started_at or pod.created_at) if _is_being_created(pod) else None


def _is_being_created(pod: PodFacts) -> bool:
    """Return whether a pod is being created; its status does not show whether it is stuck.

    Volumes and network are ready before the first container, also an init container, runs.
    """
    first = next(iter(pod.starting_containers), None)
    if first is None or pod.ended or pod.deleting or not pod.scheduled:
        return False
    return not (first.running or first.terminated) and first.reason in _CREATING_REASONS


def events_due_at(pod: PodFacts, now: datetime) -> datetime | None:
    """Return when to read the Events of a pod whose status does not show a problem."""
    since = creating_since(pod)
    if since is None:
        return None
    first = since + timedelta(seconds=SILENT_SECONDS)
    return first if now < first else now + timedelta(seconds=AGAIN_SECONDS)


def rejected(rejections: Mapping[str, Rejection]) -> Diagnosis | None:
    """Return why an object cannot be created, the first by name; ``None`` if there is none.

    A name whose previous object is terminating does not count: it will soon be free.
    """
    for _, rejection in sorted(rejections.items()):
        reason = _REJECTED.get(rejection.kind)
        if reason is not None:
            return Diagnosis(reason, f"{rejection.name} could not be created", rejection.message)
    return None


def ended_by(pod: PodFacts) -> Diagnosis | None:
    """Return what stopped a pod from outside; ``None`` if it ended by itself."""
    reason = pod.stop_reason
    detail = pod.message or pod.disruption
    if reason == "DeadlineExceeded":
        return Diagnosis(
            Reason.ATTEMPT_DEADLINE_EXCEEDED,
            f"pod {pod.ref.name} was stopped after {pod.active_deadline_seconds} s",
            next_step="Raise attemptDeadlineSeconds, or find out what is slow.",
        )
    if reason in ("NodeLost", "DeletionByTaintManager", "DeletionByPodGC", "NodeShutdown"):
        return Diagnosis(
            Reason.NODE_LOST,
            f"the node of pod {pod.ref.name} was lost",
            detail,
            "Check the node: kubectl describe node.",
        )
    if reason == "Deleted":
        return Diagnosis(
            Reason.RUNNER_LOST,
            f"pod {pod.ref.name} was deleted while it ran",
            detail,
            "Find out who deletes pods; to stop a job, use daskjob cancel.",
        )
    if reason:
        return Diagnosis(
            Reason.EVICTED,
            f"pod {pod.ref.name} was evicted ({reason})",
            detail,
            "Request the resources that the pod needs, or give it a higher priority.",
        )
    return None


def container_end(pod: PodFacts, container: ContainerFacts) -> Diagnosis:
    """Return why a container failed by itself."""
    code = container.exit_code if container.exit_code is not None else -1
    is_main = pod.main is not None and container.name == pod.main.name
    who = "the runner" if is_main else f"init container {container.name}"
    if container.reason == "OOMKilled":
        return Diagnosis(
            Reason.OOM_KILLED,
            f"{who} ran out of memory (pod {pod.ref.name})",
            container.message,
            "Raise resources.limits.memory, or keep the data on the workers.",
        )
    if container.reason == "ContainerStatusUnknown":
        # The kubelet did not find the container; it makes up the exit code 137.
        return Diagnosis(
            Reason.RUNNER_LOST,
            f"{who} was lost and its exit code is unknown (pod {pod.ref.name})",
            container.message,
            "Check the node: kubectl describe node.",
        )
    return Diagnosis(
        Reason.EXIT_CODE,
        f"{who} exited with code {code}{_signal(code)} (pod {pod.ref.name})",
        _last_line(container.message),
        _exit_hint(126 if container.reason in _NEVER_STARTED else code),
    )


def crash_loop(pod: PodFacts) -> Diagnosis | None:
    """Return why a container of a scheduler or worker pod crashes; ``None`` if none does."""
    found = _looping(pod)
    if found is None:
        return None
    code = found.exit_code if found.terminated else found.last_exit_code
    why = found.reason if found.terminated else found.last_reason
    text = found.message if found.terminated else found.last_message
    is_worker = pod.component == Component.WORKER
    if code is None or (code == 0 and is_worker and not found.restarts):
        return None
    out_of_memory = " (out of memory)" if why == "OOMKilled" else ""
    count = "once" if found.restarts == 1 else f"{found.restarts} times"
    restarts = f", restarted {count}" if found.restarts else ""
    is_main = pod.main is not None and found.name == pod.main.name
    what = "exits" if is_main else f"has an init container {found.name} that exits"
    return Diagnosis(
        Reason.WORKERS_FAILED if is_worker else Reason.SCHEDULER_FAILED,
        f"{pod.component} pod {pod.ref.name} {what} with code {code}{out_of_memory}{restarts}",
        _last_line(text),
        "Check its command and its log.",
    )


def _looping(pod: PodFacts) -> ContainerFacts | None:
    """Return the failed container without which the pod cannot continue."""
    main = pod.main
    if main is None:
        return None
    if main.ever_ran:
        return main if main.restarts or main.terminated else None
    failed = [c for c in pod.starting_containers if c.terminated or c.restarts]
    return failed[0] if failed else None


def _check_unschedulable(pod: PodFacts) -> Diagnosis | None:
    if pod.scheduled or not pod.unschedulable:
        return None
    return Diagnosis(
        Reason.UNSCHEDULABLE,
        f"pod {pod.ref.name} does not fit on any node",
        pod.unschedulable,
        "Request less, add nodes, or wait for resources.",
    )


def _check_image(pod: PodFacts) -> Diagnosis | None:
    for container in _waiting(pod):
        if container.reason in _IMAGE_REASONS:
            return Diagnosis(
                Reason.IMAGE_PULL,
                f"the image of container {container.name} in pod {pod.ref.name} cannot be pulled",
                container.message,
                "Check the image's name and the imagePullSecrets.",
                PATIENCE_SECONDS,
            )
        if container.reason == "InvalidImageName":
            return Diagnosis(
                Reason.IMAGE_PULL,
                f"the image name of container {container.name} in pod {pod.ref.name} is invalid",
                container.message,
                "Correct the image's name and submit it again.",
                0,
            )
    return None


def _check_configuration(pod: PodFacts) -> Diagnosis | None:
    for container in _waiting(pod):
        if container.reason != "CreateContainerConfigError":
            continue
        if _reports_missing(container.message):
            return Diagnosis(
                Reason.CONFIG_MISSING,
                f"container {container.name} in pod {pod.ref.name} lacks a Secret or ConfigMap",
                container.message,
                "Create it in the job's namespace.",
                PATIENCE_SECONDS,
            )
        return Diagnosis(
            Reason.CONTAINER_FAILED,
            f"container {container.name} in pod {pod.ref.name} cannot be created",
            container.message,
            "Correct the container's spec, or the objects that it refers to.",
            PATIENCE_SECONDS,
        )
    return None


def _check_container(pod: PodFacts) -> Diagnosis | None:
    for container in _waiting(pod):
        if container.reason in _CONTAINER_REASONS:
            return Diagnosis(
                Reason.CONTAINER_FAILED,
                f"container {container.name} in pod {pod.ref.name} cannot be started "
                f"({container.reason})",
                container.message,
                "Check its command, its spec and its node: kubectl describe pod.",
                PATIENCE_SECONDS,
            )
    return None


def _check_warnings(pod: PodFacts) -> Diagnosis | None:
    """Return a problem that only Kubernetes' Events report, while a pod is being created.

    Later they do not count: warnings of a start that succeeded in the end are kept for an hour.
    """
    if not _is_being_created(pod):
        return None
    for reason, message in pod.warnings:
        if reason in VOLUME_WARNINGS:
            missing = _reports_missing(message)
            return Diagnosis(
                Reason.CONFIG_MISSING if missing else Reason.VOLUME_MOUNT,
                f"a volume of pod {pod.ref.name} cannot be mounted",
                message,
                "Create the missing object, or check the volume claim.",
                PATIENCE_SECONDS,
            )
        if reason in NODE_WARNINGS:
            return Diagnosis(
                Reason.CONTAINER_FAILED,
                f"the node of pod {pod.ref.name} cannot create it ({reason})",
                message,
                "Check the node and its network: kubectl describe node.",
                PATIENCE_SECONDS,
            )
    return None


def _reports_missing(message: str) -> bool:
    """Return whether a message of Kubernetes reports a missing Secret, ConfigMap or key."""
    lowered = message.lower()
    named = "secret" in lowered or "configmap" in lowered or "config key" in lowered
    return named and any(w in lowered for w in ("not found", "couldn't find", "non-existent"))


def _waiting(pod: PodFacts) -> list[ContainerFacts]:
    containers = [*pod.init_containers, *([pod.main] if pod.main else [])]
    return [c for c in containers if not c.running and not c.terminated]


def _signal(code: int) -> str:
    names = {130: " (SIGINT)", 134: " (SIGABRT)", 137: " (SIGKILL)", 139: " (SIGSEGV)"}
    names |= {143: " (SIGTERM)"}
    return names.get(code, "")


def _exit_hint(code: int) -> str:
    if code in (126, 127):
        return "The command was not found or is not executable: check command and args."
    if code == 137:
        return "It was killed, most often because it used too much memory."
    return ""


def _last_line(text: str) -> str:
    """Return the last line of a message; a result written before a failure does not count."""
    if text.lstrip().startswith(("{", "[")):
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return cut(lines[-1], LINE_LENGTH) if lines else ""
