"""The DaskCluster of a job: a new one for every attempt."""

from __future__ import annotations

import copy

from daskjob.core import names
from daskjob.core.desired.environment import add_environment
from daskjob.core.desired.metadata import inherited, object_metadata
from daskjob.core.desired.pods import add_files
from daskjob.core.manifests import Manifest
from daskjob.core.observed import Platform
from daskjob.core.spec import ClusterSpec, DaskJob, Policy
from daskjob.core.spec.group import DEFAULT_REPLICAS
from daskjob.core.spec.policy import OnSchedulerLoss, Restart, RunnerStart


def job_cluster(job: DaskJob, policy: Policy, attempt: int, platform: Platform) -> Manifest:
    """Return the DaskCluster of one attempt; the job must not use ``clusterRef``."""
    if job.cluster is None:
        raise ValueError(f"DaskJob {job.meta.name} runs on the cluster {job.cluster_ref!r}")
    spec: Manifest = copy.deepcopy(job.cluster.raw)
    _raise_minima(spec, policy)
    # The scheduler too: it unpickles the graphs, so it needs their modules.
    parts = [spec.get("scheduler"), spec.get("worker"), *(spec.get("workerGroups") or ())]
    for part, main in zip(parts, _main_containers(job.cluster), strict=False):
        if isinstance(part, dict):
            if job.files:
                add_files(part["spec"], names.files_name(job.meta.name))
            add_environment(part["spec"], main, job, platform)
    labels = inherited(
        job.meta.labels,
        job.cluster.labels,
        {names.LABEL_CLUSTER_NAME: names.label_value(job.meta.name)},
    )
    annotations = inherited(
        job.meta.annotations,
        job.cluster.annotations,
        {
            names.ANNOTATION_JOB_REPLICAS: str(job.cluster.worker.replicas),
            names.ANNOTATION_ATTEMPT: str(attempt),
            names.ANNOTATION_ON_SCHEDULER_LOSS: str(_on_scheduler_loss(policy)),
        },
    )
    return {
        "apiVersion": names.API_VERSION,
        "kind": str(names.Kind.CLUSTER),
        "metadata": object_metadata(job.meta.name, job.meta, labels, annotations),
        "spec": spec,
    }


def _main_containers(cluster: ClusterSpec) -> list[str]:
    """Return the main containers of the scheduler, the workers, and those of each group."""
    groups = [group.template.main_container("worker") for group in cluster.all_groups]
    return [cluster.scheduler.main_container("scheduler"), *groups]


def _raise_minima(spec: Manifest, policy: Policy) -> None:
    """Raise the minima of autoscaled groups to the number of workers that the runner waits for.

    Before the runner starts there are no tasks: the scheduler would want no workers, and both would
    wait indefinitely.
    """
    if policy.runner_start is not RunnerStart.AFTER_WORKERS or not policy.min_available_workers:
        return
    groups = [spec.get("worker") or {}, *(spec.get("workerGroups") or ())]
    missing = policy.min_available_workers - sum(
        _replicas(group) for group in groups if not group.get("autoscaling")
    )
    for group in (group for group in groups if group.get("autoscaling")):
        bounds = group["autoscaling"]
        least = max(bounds.get("minimum") or 0, min(missing, bounds["maximum"]))
        bounds["minimum"], group["replicas"] = least, max(_replicas(group), least)
        missing -= least


def _replicas(group: Manifest) -> int:
    count = group.get("replicas")
    return DEFAULT_REPLICAS if count is None else int(count)


def _on_scheduler_loss(policy: Policy) -> OnSchedulerLoss:
    """Return whether the cluster may replace its scheduler, as a cluster for several attempts must.

    The attempt that lost the scheduler fails anyway; the next one needs a new scheduler.
    """
    if policy.restart is Restart.RUNNER:
        return OnSchedulerLoss.IGNORE
    return policy.on_scheduler_loss
