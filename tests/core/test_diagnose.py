"""Diagnoses from pod statuses as Kubernetes writes them."""

from __future__ import annotations

from typing import Any

import pytest

from daskjob.core.diagnose import container_end, crash_loop, ended_by, waiting_for
from daskjob.core.image_volumes import NEEDS
from daskjob.core.manifests import Manifest
from daskjob.core.pods import PodFacts, pod_facts
from daskjob.core.reasons import Reason

RUN_AT = "2026-01-01T12:00:00Z"
SCHEDULED = {"type": "PodScheduled", "status": "True"}


def seen(
    *, component: str = "job-runner", spec: Manifest | None = None, meta: Manifest | None = None,
    warnings: tuple[tuple[str, str], ...] = (), **status: Any
) -> PodFacts:  # fmt: skip
    """Return the facts of a pod with a status as kubectl prints it."""
    manifest = {
        "metadata": {
            "name": "sums-runner",
            "namespace": "default",
            "uid": "u",
            "labels": {"dask.org/component": component},
            **(meta or {}),
        },
        "spec": {"containers": [{"name": "job", "image": "i"}], **(spec or {})},
        "status": {"phase": "Pending", "conditions": [SCHEDULED], **status},
    }
    return pod_facts(manifest, warnings)


def waits(reason: str, message: str) -> list[Manifest]:
    """Return the status of a waiting container."""
    return [{"name": "job", "state": {"waiting": {"reason": reason, "message": message}}}]


def ends(code: int, reason: str = "Error", **more: Any) -> list[Manifest]:
    """Return the status of a terminated container."""
    state = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": RUN_AT, **more}}
    return [{"name": "job", "state": state}]


BACK_OFF = 'Back-off pulling image "ghcr.io/dask/daks:latest"'
NOT_FOUND = (
    'failed to pull and unpack image "ghcr.io/dask/daks:latest": failed to resolve reference '
    '"ghcr.io/dask/daks:latest": ghcr.io/dask/daks:latest: not found'
)
INVALID = (
    'Failed to apply default image tag "Dask:": couldn\'t parse image name "Dask:": '
    "invalid reference format"
)
NO_NODE = "0/3 nodes are available: 3 Insufficient cpu."
NO_VICTIM = " preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
#: A pod with an image volume; what a runtime without them says, and a kubelet.
CODE: Manifest = {
    "volumes": [{"name": "daskjob-code", "image": {"reference": "team/code"}}],
    "containers": [{"name": "job", "image": "i"}],
}
NO_CODE = 'failed to pull and unpack image "docker.io/team/code:latest": not found'
NO_SOURCE = (
    'failed to generate container "8642" spec: failed to generate spec: failed to mkdir "": '
    "mkdir : no such file or directory"
)
NO_HOST_PATH = "mount.HostPath is empty"
NO_PLUGIN = (
    "Unable to attach or mount volumes: unmounted volumes=[daskjob-code], unattached volumes=[], "
    'failed to process volumes=[daskjob-code]: failed to get Plugin from volumeSpec for volume "'
    'daskjob-code" err=no volume plugin matched'
)
MOUNT = 'MountVolume.SetUp failed for volume "data" : mount failed: exit status 32'
NO_MAP = 'MountVolume.SetUp failed for volume "c" : configmap "settings" not found'
ATTACH = 'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) other'


def unschedulable(message: str) -> list[Manifest]:
    """Return the conditions of a pod that the kube-scheduler cannot place."""
    found = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return [{**found, "message": message}]


@pytest.mark.parametrize(
    "tried",
    [
        NO_VICTIM,
        f" no new claims to deallocate,{NO_VICTIM}",
        ", no new claims to deallocate.",
        "",
    ],
)
def test_a_pod_that_fits_on_no_node_has_the_reasons_of_the_nodes_only(tried: str) -> None:
    found = waiting_for(seen(conditions=unschedulable(f"{NO_NODE.rstrip('.')}.{tried}")))
    assert found is not None
    assert found.message == (
        "pod sums-runner does not fit on any node: 0/3 nodes are available: 3 Insufficient cpu. "
        "Request less, add nodes, or wait for resources."
    )


def test_a_claim_that_does_not_exist_is_named_with_its_namespace_and_nothing_else() -> None:
    text = '0/1 nodes are available: persistentvolumeclaim "nope" not found. not found.'
    found = waiting_for(seen(conditions=unschedulable(text)))
    assert found is not None
    assert found.reason is Reason.UNSCHEDULABLE
    assert found.message == (
        "PersistentVolumeClaim nope does not exist in namespace default. Create it, or correct its "
        "name."
    )


@pytest.mark.parametrize(
    ("pod", "reason", "text", "patience"),
    [
        (
            seen(containerStatuses=waits("ImagePullBackOff", BACK_OFF)),
            Reason.IMAGE_PULL,
            BACK_OFF,
            600,
        ),
        (
            seen(containerStatuses=waits("ErrImagePull", NOT_FOUND)),
            Reason.IMAGE_PULL,
            NOT_FOUND,
            600,
        ),
        (seen(containerStatuses=waits("InvalidImageName", INVALID)), Reason.IMAGE_PULL, INVALID, 0),
        (
            seen(containerStatuses=waits("CreateContainerConfigError", 'secret "s3" not found')),
            Reason.CONFIG_MISSING,
            'secret "s3" not found',
            600,
        ),
        (
            seen(
                containerStatuses=waits(
                    "CreateContainerConfigError", "couldn't find key password in Secret default/s3"
                )
            ),
            Reason.CONFIG_MISSING,
            "couldn't find key password in Secret default/s3",
            600,
        ),
        (
            seen(conditions=unschedulable(f"{NO_NODE}{NO_VICTIM}")),
            Reason.UNSCHEDULABLE,
            NO_NODE,
            None,
        ),
        (seen(warnings=(("FailedMount", MOUNT),)), Reason.VOLUME_MOUNT, MOUNT, 600),
        (seen(warnings=(("FailedAttachVolume", ATTACH),)), Reason.VOLUME_MOUNT, ATTACH, 600),
        (seen(warnings=(("FailedMount", NO_MAP),)), Reason.CONFIG_MISSING, NO_MAP, 600),
        (
            seen(spec=CODE, containerStatuses=waits("ErrImagePull", NO_CODE)),
            Reason.IMAGE_PULL,
            "the image of the code in pod sums-runner cannot be pulled: failed to pull",
            600,
        ),
        (
            seen(spec=CODE, containerStatuses=waits("ErrImagePull", NOT_FOUND)),
            Reason.IMAGE_PULL,
            "the image of container job in pod sums-runner cannot be pulled: failed to pull",
            600,
        ),
        (
            seen(spec=CODE, containerStatuses=waits("CreateContainerError", NO_SOURCE)),
            Reason.CONTAINER_FAILED,
            f"{NO_SOURCE}. {NEEDS}",
            600,
        ),
        (
            seen(spec=CODE, containerStatuses=waits("CreateContainerError", NO_HOST_PATH)),
            Reason.CONTAINER_FAILED,
            f"{NO_HOST_PATH}. {NEEDS}",
            600,
        ),
        (
            seen(spec=CODE, warnings=(("FailedMount", NO_PLUGIN),)),
            Reason.VOLUME_MOUNT,
            f"{NO_PLUGIN}. {NEEDS}",
            600,
        ),
        (
            seen(
                initContainerStatuses=[
                    {
                        "name": "fetch",
                        "state": {"waiting": {"reason": "ErrImagePull", "message": NOT_FOUND}},
                    }
                ],
                containerStatuses=waits("PodInitializing", ""),
            ),
            Reason.IMAGE_PULL,
            "fetch",
            600,
        ),
    ],
    ids=[
        "ImagePullBackOff",
        "ErrImagePull",
        "InvalidImageName",
        "missing Secret",
        "missing key",
        "Unschedulable",
        "FailedMount",
        "Multi-Attach",
        "missing ConfigMap volume",
        "image of the code",
        "own image beside that of the code",
        "containerd without image volumes",
        "CRI-O without image volumes",
        "kubelet without image volumes",
        "image of an init container",
    ],
)
def test_a_waiting_pods_diagnosis_has_kubernetes_message_and_a_patience(
    pod: PodFacts, reason: Reason, text: str, patience: int | None
) -> None:
    found = waiting_for(pod)
    assert found is not None
    assert found.reason is reason
    assert text in found.message
    assert "sums-runner" in found.message
    assert found.next_step
    assert found.patience_seconds == patience


RUNS: list[Manifest] = [{"name": "job", "state": {"running": {"startedAt": RUN_AT}}}]


@pytest.mark.parametrize(
    "pod",
    [
        seen(),
        seen(containerStatuses=waits("ContainerCreating", "")),
        seen(phase="Running", containerStatuses=RUNS),
        seen(phase="Running", containerStatuses=RUNS, warnings=(("FailedMount", MOUNT),)),
        seen(phase="Failed", containerStatuses=waits("ImagePullBackOff", BACK_OFF)),
        seen(warnings=(("Unhealthy", "Readiness probe failed"),)),
    ],
    ids=[
        "new",
        "creating",
        "running",
        "running after a mount that failed at first",
        "ended",
        "another warning",
    ],
)
def test_a_healthy_pod_has_no_diagnosis(pod: PodFacts) -> None:
    assert waiting_for(pod) is None


DELETED = {"deletionTimestamp": "2026-01-01T12:00:30Z", "deletionGracePeriodSeconds": 30}


def disrupted(reason: str, message: str) -> list[Manifest]:
    """Return the condition with which Kubernetes announces a disruption."""
    return [
        SCHEDULED,
        {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": reason,
            "message": message,
            "lastTransitionTime": RUN_AT,
        },
    ]


@pytest.mark.parametrize(
    ("pod", "reason", "text"),
    [
        (
            seen(
                phase="Failed",
                reason="Evicted",
                message="The node was low on resource: memory. Threshold quantity: 100Mi",
            ),
            Reason.EVICTED,
            "The node was low on resource: memory",
        ),
        (
            seen(
                phase="Failed",
                reason="DeadlineExceeded",
                message="Pod was active on the node longer than the specified deadline",
                spec={"activeDeadlineSeconds": 60},
            ),
            Reason.ATTEMPT_DEADLINE_EXCEEDED,
            "after 60 s",
        ),
        (
            seen(
                phase="Failed",
                conditions=disrupted(
                    "PreemptionByScheduler",
                    "default-scheduler: preempting to accommodate a higher priority pod",
                ),
                meta=DELETED,
            ),
            Reason.EVICTED,
            "PreemptionByScheduler",
        ),
        (
            seen(
                conditions=disrupted(
                    "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"
                ),
                meta=DELETED,
            ),
            Reason.NODE_LOST,
            "node",
        ),
        (
            seen(conditions=disrupted("EvictionByEvictionAPI", "Eviction API: evicting")),
            Reason.EVICTED,
            "EvictionByEvictionAPI",
        ),
        (seen(phase="Failed", reason="NodeLost"), Reason.NODE_LOST, "was lost"),
        (seen(phase="Running", meta=DELETED), Reason.RUNNER_LOST, "was deleted"),
        (
            seen(
                phase="Failed",
                reason="Terminated",
                message="Pod was terminated in response to imminent node shutdown.",
            ),
            Reason.EVICTED,
            "imminent node shutdown",
        ),
    ],
    ids=[
        "evicted for memory",
        "deadline",
        "preempted",
        "taint",
        "eviction API",
        "node lost",
        "deleted",
        "node shutdown",
    ],
)
def test_the_cause_of_a_stop_is_reported(pod: PodFacts, reason: Reason, text: str) -> None:
    found = ended_by(pod)
    assert found is not None
    assert found.reason is reason
    assert text in found.message
    assert found.next_step


def test_a_pod_that_ended_by_itself_has_no_stop_cause() -> None:
    assert ended_by(seen(phase="Failed", containerStatuses=ends(1))) is None


@pytest.mark.parametrize(
    ("pod", "at"),
    [
        (seen(meta=DELETED), "2026-01-01T12:00:00+00:00"),
        (
            seen(reason="DeadlineExceeded", startTime=RUN_AT, spec={"activeDeadlineSeconds": 60}),
            "2026-01-01T12:01:00+00:00",
        ),
        (seen(conditions=disrupted("X", "")), "2026-01-01T12:00:00+00:00"),
        (seen(), None),
    ],
    ids=["30 s before the deletion is due", "60 s after the start", "disruption", "never"],
)
def test_the_time_of_a_stop(pod: PodFacts, at: str | None) -> None:
    assert (pod.stopped_at.isoformat() if pod.stopped_at else None) == at


TRACEBACK = "Traceback (most recent call last):\n  File\nValueError: no such column\n\n"
NO_COMMAND = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
    'exec: "pyhton": executable file not found in $PATH: unknown'
)


@pytest.mark.parametrize(
    ("statuses", "reason", "text"),
    [
        (ends(137, "OOMKilled"), Reason.OOM_KILLED, "resources.limits.memory"),
        (ends(3), Reason.EXIT_CODE, "exited with code 3"),
        (ends(1, message=TRACEBACK), Reason.EXIT_CODE, "ValueError: no such column"),
        (ends(137), Reason.EXIT_CODE, "SIGKILL"),
        (ends(143), Reason.EXIT_CODE, "SIGTERM"),
        (ends(139), Reason.EXIT_CODE, "SIGSEGV"),
        (ends(127), Reason.EXIT_CODE, "check command and args"),
        (ends(128, "StartError", message=NO_COMMAND), Reason.EXIT_CODE, 'exec: "pyhton"'),
        (
            ends(
                137,
                "ContainerStatusUnknown",
                message="The container could not be located when the pod was terminated",
            ),
            Reason.RUNNER_LOST,
            "could not be located",
        ),
    ],
    ids=["OOM", "3", "traceback", "137", "143", "139", "127", "no command", "status unknown"],
)
def test_the_cause_of_a_containers_end_is_reported(
    statuses: list[Manifest], reason: Reason, text: str
) -> None:
    pod = seen(phase="Failed", containerStatuses=statuses)
    assert pod.main is not None
    found = container_end(pod, pod.main)
    assert found.reason is reason
    assert text in found.message


def looping(restarts: int, component: str, reason: str = "Error") -> PodFacts:
    """Return a pod that its kubelet keeps restarting."""
    status = {
        **waits("CrashLoopBackOff", "back-off 5m0s restarting failed container=job")[0],
        "restartCount": restarts,
        "lastState": {"terminated": {"exitCode": 1, "reason": reason, "message": TRACEBACK}},
    }
    return seen(component=component, phase="Running", containerStatuses=[status])


@pytest.mark.parametrize(
    ("component", "reason"),
    [
        ("scheduler", Reason.SCHEDULER_FAILED),
        ("worker", Reason.WORKERS_FAILED),
    ],
)
def test_a_crash_loop_is_reported_with_the_last_output(component: str, reason: Reason) -> None:
    found = crash_loop(looping(4, component))
    assert found is not None
    assert found.reason is reason
    assert "restarted 4 times" in found.message
    assert "ValueError: no such column" in found.message


def test_an_out_of_memory_crash_loop_is_reported_as_such() -> None:
    found = crash_loop(looping(2, "worker", "OOMKilled"))
    assert found is not None
    assert "(out of memory)" in found.message


def test_a_pod_without_restarts_is_not_in_a_crash_loop() -> None:
    assert crash_loop(seen(phase="Running", containerStatuses=RUNS)) is None


def test_a_worker_that_retired_with_0_is_not_in_a_crash_loop() -> None:
    pod = seen(component="worker", phase="Succeeded", containerStatuses=ends(0, "Completed"))
    assert crash_loop(pod) is None
