"""The runner pod: one for each attempt."""

from __future__ import annotations

from daskjob.core import names
from daskjob.core.desired.environment import add_environment
from daskjob.core.desired.metadata import inherited, object_metadata
from daskjob.core.desired.pods import (
    add_files,
    base_labels,
    main_container_annotation,
    pod_spec,
    scheduler_address,
)
from daskjob.core.manifests import Manifest
from daskjob.core.observed import Platform
from daskjob.core.spec import DaskJob, PodTemplate, Policy

#: How long the runner's client waits for the scheduler, which may be created after the runner.
CONNECT_TIMEOUT = "600s"
_TERMINATION_LOG = "/dev/termination-log"


def runner_pod(job: DaskJob, policy: Policy, attempt: int, platform: Platform) -> Manifest:
    """Return the runner pod of an attempt.

    It is never restarted in place: a retry is a new attempt, with its own pod, log and exit code
    (design §3.1).
    """
    environment = {
        names.ENV_SCHEDULER_ADDRESS: _scheduler_address(job, platform),
        names.ENV_CONNECT_TIMEOUT: CONNECT_TIMEOUT,
        names.ENV_JOB_NAME: job.meta.name,
        names.ENV_JOB_NAMESPACE: job.meta.namespace,
        names.ENV_JOB_UID: job.meta.uid,
        names.ENV_ATTEMPT: str(attempt),
        names.ENV_RESULT_FILE: _result_file(job),
    }
    spec = pod_spec(job.runner, platform, environment)
    if job.files:
        add_files(spec, names.files_name(job.meta.name))
    add_environment(spec, job.main_container, job, platform)
    _start_in_the_code(spec, job, platform)
    spec["restartPolicy"] = "Never"
    deadline = _deadline(spec.get("activeDeadlineSeconds"), policy.attempt_deadline_seconds)
    if deadline is not None:
        spec["activeDeadlineSeconds"] = deadline
    for container in spec.get("containers") or ():
        if container.get("name") == job.main_container:
            # After a failure without a result the pod's status has the last lines of the log.
            container.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    base = base_labels(platform, job.cluster_name, names.Component.RUNNER)
    labels = inherited(job.meta.labels, job.runner.labels, base)
    annotations = inherited(
        job.meta.annotations,
        job.runner.annotations,
        {
            **main_container_annotation(job.runner, "job-runner", "job"),
            names.ANNOTATION_ATTEMPT: str(attempt),
        },
    )
    name = names.runner_name(job.meta.name, attempt)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": object_metadata(name, job.meta, labels, annotations),
        "spec": spec,
    }


def _start_in_the_code(spec: Manifest, job: DaskJob, platform: Platform) -> None:
    """Make the code the main container's working directory, unless it sets one."""
    if job.code is None or not platform.pods_prepare:
        return
    for container in spec.get("containers") or ():
        if container.get("name") == job.main_container and not container.get("workingDir"):
            container["workingDir"] = names.CODE_PATH


def _scheduler_address(job: DaskJob, platform: Platform) -> str:
    scheduler = job.cluster.scheduler if job.cluster else PodTemplate()
    return scheduler_address(platform, job.cluster_name, job.meta.namespace, scheduler)


def _result_file(job: DaskJob) -> str:
    for container in job.runner.containers:
        if container.get("name") == job.main_container:
            return str(container.get("terminationMessagePath") or _TERMINATION_LOG)
    return _TERMINATION_LOG


def _deadline(own: object, policy: int | None) -> int | None:
    """Return the smaller of the user's and the policy's; ``None`` if neither is set."""
    given = [value for value in (own, policy) if isinstance(value, int)]
    return min(given) if given else None
