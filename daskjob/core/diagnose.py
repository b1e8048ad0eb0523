"""Why a pod does not run, or why it ended, in words that tell a person what to do next.

No I/O here. Each ``_check`` looks for one situation in a pod's facts; the first that finds its own
answers. Kubernetes' words are kept; ours add the object and the next step.
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

#: How long an image, a volume or a missing name is waited for: a registry may be slow, a
#: Secret may be on its way (design §3.1).
PATIENCE_SECONDS = 600
#: After how long a pod that its node is still creating is asked after, and how often from then on.
SILENT_SECONDS = 30
AGAIN_SECONDS = 60
#: Events that say that a volume cannot be had, and that a node cannot make the pod.
VOLUME_WARNINGS = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"})
NODE_WARNINGS = frozenset(
    {
        "FailedCreatePodSandBox",
        "FailedCreatePodContainer",
        "FailedPrepareDynamicResources",
        "NetworkNotReady",
    }
)
TELLING_WARNINGS = VOLUME_WARNINGS | NODE_WARNINGS
#: What a container waits with whose image cannot be had, and one that its node cannot make.
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
#: What a container ended with that its node could not start at all.
_NEVER_STARTED = frozenset({"StartError", "ContainerCannotRun"})
#: What a container waits with whose pod's node is at work on it, as it should be.
_CREATING_REASONS = frozenset({"", "ContainerCreating", "PodInitializing"})
#: What of a log's last line a message quotes.
LINE_LENGTH = 400


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong, in whose words, and what to do about it."""

    reason: Reason
    summary: str
    #: Kubernetes', or this machine's, own words; may be empty.
    detail: str = ""
    next_step: str = ""
    #: Seconds after which waiting for it is given up; 0: at once; ``None``: never.
    patience_seconds: int | None = None

    @property
    def final(self) -> bool:
        """Whether the same again must come to the same: there is nothing to wait for."""
        return self.patience_seconds == 0

    @property
    def message(self) -> str:
        """All of it on one line."""
        detail = f": {self.detail}" if self.detail else ""
        step = f" {self.next_step}" if self.next_step else ""
        return f"{self.summary}{detail}.{step}".replace("..", ".")


def waiting_for(pod: PodFacts) -> Diagnosis | None:
    """Say what a pod that does not run yet waits for; ``None`` where nothing is known of it."""
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
    """Return since when a node has been making a pod; ``None``: it is not, or nothing tells."""
    return (pod.started_at or pod.created_at) if _is_being_made(pod) else None


def _is_being_made(pod: PodFacts) -> bool:
    """Say whether a pod's status says no more than that: an image comes, or a volume never does.

    Volumes and network are there before the first container runs, an init container or a sidecar.
    """
    first = next(iter(pod.starting_containers), None)
    if first is None or pod.ended or pod.deleting or not pod.scheduled:
        return False
    return not (first.running or first.terminated) and first.reason in _CREATING_REASONS


def asked_after_at(pod: PodFacts, now: datetime) -> datetime | None:
    """Return when to look for words about a pod that its node is silent about."""
    since = creating_since(pod)
    if since is None:
        return None
    first = since + timedelta(seconds=SILENT_SECONDS)
    return first if now < first else now + timedelta(seconds=AGAIN_SECONDS)


def rejected(rejections: Mapping[str, Rejection]) -> Diagnosis | None:
    """Say which object could not be made, the first by name; ``None``: all could be, or soon can.

    A name whose old holder is about to go is free in a moment.
    """
    for _, rejection in sorted(rejections.items()):
        reason = _REJECTED.get(rejection.kind)
        if reason is not None:
            return Diagnosis(reason, f"{rejection.name} could not be created", rejection.message)
    return None


def ended_by(pod: PodFacts) -> Diagnosis | None:
    """Say who or what stopped a pod from outside; ``None`` where it ended by itself."""
    reason = pod.stop_reason
    words = pod.message or pod.disruption
    if reason == "DeadlineExceeded":
        return Diagnosis(
            Reason.ATTEMPT_DEADLINE_EXCEEDED,
            f"pod {pod.ref.name} was stopped after {pod.active_deadline_seconds} s",
            next_step="Raise attemptDeadlineSeconds, or find out what takes so long.",
        )
    if reason in ("NodeLost", "DeletionByTaintManager", "DeletionByPodGC", "NodeShutdown"):
        return Diagnosis(
            Reason.NODE_LOST,
            f"the node of pod {pod.ref.name} was lost",
            words,
            "Look at the node: kubectl describe node.",
        )
    if reason == "Deleted":
        return Diagnosis(
            Reason.RUNNER_LOST,
            f"pod {pod.ref.name} was deleted while it ran",
            words,
            "Find out who deletes pods; to stop a job, use daskjob cancel.",
        )
    if reason:
        return Diagnosis(
            Reason.EVICTED,
            f"pod {pod.ref.name} was evicted ({reason})",
            words,
            "Request what the pod really needs, or give it a higher priority.",
        )
    return None


def container_end(pod: PodFacts, container: ContainerFacts) -> Diagnosis:
    """Say why a container ended with something else than success, of its own accord."""
    code = container.exit_code if container.exit_code is not None else -1
    is_main = pod.main is not None and container.name == pod.main.name
    who = "the runner" if is_main else f"init container {container.name}"
    if container.reason == "OOMKilled":
        return Diagnosis(
            Reason.OOM_KILLED,
            f"{who} ran out of memory (pod {pod.ref.name})",
            container.message,
            "Raise resources.limits.memory, or let the workers hold the data.",
        )
    if container.reason == "ContainerStatusUnknown":
        # The kubelet found no container to ask after: its code 137 is made up.
        return Diagnosis(
            Reason.RUNNER_LOST,
            f"{who} was lost with its exit code (pod {pod.ref.name})",
            container.message,
            "Look at the node: kubectl describe node.",
        )
    return Diagnosis(
        Reason.EXIT_CODE,
        f"{who} exited with code {code}{_signal(code)} (pod {pod.ref.name})",
        _last_line(container.message),
        _exit_hint(126 if container.reason in _NEVER_STARTED else code),
    )


def crash_loop(pod: PodFacts) -> Diagnosis | None:
    """Say why what a pod has to run starts again and again; ``None`` where it does not."""
    found = _looping(pod)
    if found is None:
        return None
    code = found.exit_code if found.terminated else found.last_exit_code
    why = found.reason if found.terminated else found.last_reason
    words = found.message if found.terminated else found.last_message
    is_worker = pod.component == Component.WORKER
    if code is None or (code == 0 and is_worker and not found.restarts):
        return None
    out_of_memory = " (out of memory)" if why == "OOMKilled" else ""
    often = "once" if found.restarts == 1 else f"{found.restarts} times"
    times = f", started again {often}" if found.restarts else ""
    is_main = pod.main is not None and found.name == pod.main.name
    what = "exits" if is_main else f"has an init container {found.name} that exits"
    return Diagnosis(
        Reason.WORKERS_FAILED if is_worker else Reason.SCHEDULER_FAILED,
        f"{pod.component} pod {pod.ref.name} {what} with code {code}{out_of_memory}{times}",
        _last_line(words),
        "Look at its command and its log.",
    )


def _looping(pod: PodFacts) -> ContainerFacts | None:
    """Return the container that failed and has to run for the pod to go on."""
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
        f"pod {pod.ref.name} fits no node",
        pod.unschedulable,
        "Ask for less, add nodes, or wait: a queue is no failure.",
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
                f"the image of container {container.name} in pod {pod.ref.name} has no valid name",
                container.message,
                "Correct the image's name and submit it again.",
                0,
            )
    return None


def _check_configuration(pod: PodFacts) -> Diagnosis | None:
    for container in _waiting(pod):
        if container.reason != "CreateContainerConfigError":
            continue
        if _is_of_something_missing(container.message):
            return Diagnosis(
                Reason.CONFIG_MISSING,
                f"container {container.name} in pod {pod.ref.name} lacks a Secret or ConfigMap",
                container.message,
                "Create what is named, in the job's namespace.",
                PATIENCE_SECONDS,
            )
        return Diagnosis(
            Reason.CONTAINER_FAILED,
            f"container {container.name} in pod {pod.ref.name} cannot be made as it is specified",
            container.message,
            "Correct the container's spec, or what it refers to.",
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
                "Look at its command, its spec and its node: kubectl describe pod.",
                PATIENCE_SECONDS,
            )
    return None


def _check_warnings(pod: PodFacts) -> Diagnosis | None:
    """Say what Kubernetes' Events tell of a pod whose status tells nothing.

    The warnings of a start that went well in the end outlive it by an hour.
    """
    if not _is_being_made(pod):
        return None
    for reason, message in pod.warnings:
        if reason in VOLUME_WARNINGS:
            missing = _is_of_something_missing(message)
            return Diagnosis(
                Reason.CONFIG_MISSING if missing else Reason.VOLUME_MOUNT,
                f"a volume of pod {pod.ref.name} cannot be mounted",
                message,
                "Create what is named, or look at the volume claim.",
                PATIENCE_SECONDS,
            )
        if reason in NODE_WARNINGS:
            return Diagnosis(
                Reason.CONTAINER_FAILED,
                f"the node of pod {pod.ref.name} cannot make it ({reason})",
                message,
                "Look at the node and its network: kubectl describe node.",
                PATIENCE_SECONDS,
            )
    return None


def _is_of_something_missing(words: str) -> bool:
    """Say whether Kubernetes' words are of a Secret or ConfigMap, or a key of it, that is not."""
    lowered = words.lower()
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
        return "Something killed it, most often for its memory."
    return ""


def _last_line(text: str) -> str:
    """Return the last line of a message; a result that was written before a failure is none."""
    if text.lstrip().startswith(("{", "[")):
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return cut(lines[-1], LINE_LENGTH) if lines else ""
