"""The state of pods that run as processes, and their status as a kubelet writes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from daskjob.backends.local.deaths import Death, Deaths
from daskjob.core import names
from daskjob.core.manifests import Manifest, format_time
from daskjob.core.pods import pod_facts


@dataclass(slots=True)
class Container:
    """The state of one container of a pod."""

    manifest: Manifest
    init: bool = False
    running: bool = False
    starting: bool = False
    started_at: datetime | None = None
    pid: int = 0
    restarts: int = 0
    ended: Manifest | None = None
    last: Manifest | None = None
    restart_at: datetime | None = None
    stop_sent: float | None = None
    memory_limit_bytes: int = 0
    out_of_memory: bool = False
    #: Deaths of its workers that their nannies report.
    deaths: Deaths | None = None
    #: The last of them since the container's process started.
    death: Death | None = None

    @property
    def name(self) -> str:
        """The container's name in its pod."""
        return str(self.manifest["name"])


@dataclass(slots=True)
class Pod:
    """The state of one pod."""

    uid: str
    containers: list[Container]
    scratch: Path
    started_at: datetime | None = None
    #: Why the pod is being stopped permanently: a pod reason of Kubernetes.
    stopped: str = ""
    #: Whether it is ready, and when that last changed.
    ready: bool = False
    ready_changed_at: datetime | None = None

    def process(self, container: Container) -> str:
        """Return the name under which the supervisor knows a container's process."""
        return f"{self.uid}+{container.name}"


def ended_by(death: Death, container: Container) -> Manifest:
    """Return a death as the state of an ended container."""
    return {
        "exitCode": death.exit_code,
        "reason": death.reason,
        "message": death.message,
        "startedAt": format_time(container.started_at),
        "finishedAt": format_time(death.at),
        "containerID": container_id(container),
    }


def container_id(container: Container) -> str:
    """Return the id of a container's process, which no other one has had."""
    return f"process://{container.pid}-{container.restarts}"


def pod_status(manifest: Manifest, pod: Pod, *, known_ready: bool, now: datetime) -> Manifest:
    """Return the status of a pod; ``known_ready`` counts for a scheduler or a worker."""
    main = [c for c in pod.containers if not c.init]
    running = any(c.running for c in main)
    over = not any(c.running or c.starting or c.restart_at for c in pod.containers)
    failed_init = any(
        c.init and c.ended and c.ended["exitCode"] and not c.restart_at for c in pod.containers
    )
    ended = over and (all(c.ended for c in main) or failed_init or bool(pod.stopped))
    component = pod_facts(manifest).component
    ready = running and (
        known_ready or component not in (names.Component.SCHEDULER, names.Component.WORKER)
    )
    if ready is not pod.ready or pod.ready_changed_at is None:
        pod.ready, pod.ready_changed_at = ready, now
    phase = "Running" if running or any(c.ended or c.last for c in main) else "Pending"
    status: Manifest = {
        "phase": phase,
        "podIP": "127.0.0.1",
        "startTime": format_time(pod.started_at),
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {
                "type": "Ready",
                "status": "True" if ready else "False",
                "lastTransitionTime": format_time(pod.ready_changed_at),
            },
        ],
        "containerStatuses": [_container_status(c, ready=ready) for c in main],
    }
    init = [_container_status(c, ready=False) for c in pod.containers if c.init]
    if init:
        status["initContainerStatuses"] = init
    if ended:
        good = not pod.stopped and all(c.ended and c.ended["exitCode"] == 0 for c in main)
        status["phase"] = "Succeeded" if good else "Failed"
        if pod.stopped and pod.stopped != "Deleted":
            status["reason"] = pod.stopped
    return status


def _container_status(container: Container, *, ready: bool) -> Manifest:
    status: Manifest = {
        "name": container.name,
        "ready": ready and container.running,
        "restartCount": container.restarts,
    }
    if container.running:
        status["state"] = {"running": {"startedAt": format_time(container.started_at)}}
        status["containerID"] = container_id(container)
    elif container.ended is not None and container.restart_at is None:
        status["state"] = {"terminated": container.ended}
        status["containerID"] = container.ended["containerID"]
    elif container.ended is not None:
        status["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    else:
        status["state"] = {"waiting": {"reason": "ContainerCreating"}}
    last = container.ended if container.restart_at is not None else container.last
    if last is not None:
        status["lastState"] = {"terminated": last}
    return status
