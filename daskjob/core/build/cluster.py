"""The DaskCluster of a job: fresh for every attempt. No I/O here."""

from __future__ import annotations

import copy

from daskjob.core import names
from daskjob.core.build.metadata import inherited, object_metadata
from daskjob.core.build.pods import with_files
from daskjob.core.manifests import Manifest
from daskjob.core.spec import DaskJob, Policy
from daskjob.core.spec.policy import OnSchedulerLoss, Restart


def job_cluster(job: DaskJob, policy: Policy, attempt: int) -> Manifest:
    """Return the DaskCluster of one attempt; the job must have a cluster of its own."""
    if job.cluster is None:
        raise ValueError(f"DaskJob {job.meta.name} runs on the cluster {job.cluster_ref!r}")
    spec: Manifest = copy.deepcopy(job.cluster.raw)
    if job.files:
        config_map = names.files_name(job.meta.name)
        # The scheduler too: it unpickles the graphs, and so needs the modules they name.
        parts = [spec.get("scheduler"), spec.get("worker"), *(spec.get("workerGroups") or ())]
        for part in parts:
            if isinstance(part, dict):
                part["spec"] = with_files(part["spec"], config_map)
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


def _on_scheduler_loss(policy: Policy) -> OnSchedulerLoss:
    """Return whether the cluster may replace its scheduler: needed where it outlives an attempt.

    The attempt that lost the scheduler fails all the same; the next one needs another.
    """
    if policy.restart is Restart.RUNNER:
        return OnSchedulerLoss.IGNORE
    return policy.on_scheduler_loss
