"""Why a pod does not run, or why it ended, in words that tell a person what to do next.

No I/O here. Each ``_check`` looks for one situation in a pod's facts; the first that finds its own
answers. Kubernetes' words are kept; ours add the object and the next step.
"""

from __future__ import annotations

from dataclasses import dataclass

from daskjob.core.names import Component
from daskjob.core.pods import ContainerFacts, PodFacts
from daskjob.core.reasons import Reason

#: How long an image, a volume or a missing name is waited for: a registry may be slow, a
#: Secret may be on its way (design §3.1).
PATIENCE_SECONDS = 600
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
    def message(self) -> str:
        """All of it on one line."""
        detail = f": {self.detail}" if self.detail else ""
        step = f" {self.next_step}" if self.next_step else ""
        return f"{self.summary}{detail}.{step}".replace("..", ".")


def waiting_for(pod: PodFacts) -> Diagnosis | None:
    """Say what a pod that does not run yet waits for; ``None`` where nothing is known of it."""
    if pod.ended:
        return None
    return (
        _check_unschedulable(pod)
        or _check_image(pod)
        or _check_configuration(pod)
        or _check_volume(pod)
    )


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
        _exit_hint(code),
    )


def crash_loop(pod: PodFacts) -> Diagnosis | None:
    """Say why a pod's main container starts again and again; ``None`` where it does not."""
    main = pod.main
    if main is None or (main.restarts == 0 and not main.terminated):
        return None
    code = main.exit_code if main.terminated else main.last_exit_code
    why = main.reason if main.terminated else main.last_reason
    words = main.message if main.terminated else main.last_message
    if code is None or (code == 0 and pod.component == Component.WORKER and not main.restarts):
        return None
    out_of_memory = " (out of memory)" if why == "OOMKilled" else ""
    is_worker = pod.component == Component.WORKER
    often = "once" if main.restarts == 1 else f"{main.restarts} times"
    times = f", started again {often}" if main.restarts else ""
    return Diagnosis(
        Reason.WORKERS_FAILED if is_worker else Reason.SCHEDULER_FAILED,
        f"{pod.component} pod {pod.ref.name} exits with code {code}{out_of_memory}{times}",
        _last_line(words),
        "Look at its command and its log.",
    )


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
        if container.reason in ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"):
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
                "Correct the image's name.",
                0,
            )
    return None


def _check_configuration(pod: PodFacts) -> Diagnosis | None:
    for container in _waiting(pod):
        if container.reason == "CreateContainerConfigError":
            return Diagnosis(
                Reason.CONFIG_MISSING,
                f"container {container.name} in pod {pod.ref.name} lacks a Secret or ConfigMap",
                container.message,
                "Create what is named, in the job's namespace.",
                PATIENCE_SECONDS,
            )
    return None


def _check_volume(pod: PodFacts) -> Diagnosis | None:
    if pod.main is not None and pod.main.ever_ran:
        # The warnings of a start that went well in the end outlive it by an hour.
        return None
    for reason, message in pod.warnings:
        if reason in ("FailedMount", "FailedAttachVolume"):
            missing = "not found" in message and ("configmap" in message or "secret" in message)
            return Diagnosis(
                Reason.CONFIG_MISSING if missing else Reason.VOLUME_MOUNT,
                f"a volume of pod {pod.ref.name} cannot be mounted",
                message,
                "Create what is named, or look at the volume claim.",
                PATIENCE_SECONDS,
            )
    return None


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
    last = lines[-1] if lines else ""
    return last if len(last) <= LINE_LENGTH else last[: LINE_LENGTH - 1] + "…"
