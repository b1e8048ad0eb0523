"""The DaskCluster of a job: fresh for every attempt. No I/O here."""

from __future__ import annotations

import copy

from daskjob.core import names
from daskjob.core.build.metadata import inherited, object_metadata
from daskjob.core.build.pods import with_files
from daskjob.core.manifests import Manifest
from daskjob.core.spec import DaskJob, Policy


def job_cluster(job: DaskJob, policy: Policy, attempt: int) -> Manifest:
    """Return the DaskCluster of one attempt; the job must have a cluster of its own."""
    if job.cluster is None:
        raise ValueError(f"DaskJob {job.meta.name} runs on the cluster {job.cluster_ref!r}")
    spec: Manifest = copy.deepcopy(job.cluster.raw)
    if job.files:
        config_map = names.files_name(job.meta.name)
        groups = [spec.get("worker"), *(spec.get("workerGroups") or ())]
        for group in groups:
            if isinstance(group, dict):
                group["spec"] = with_files(group["spec"], config_map)
    labels = inherited(
        job.meta.labels,
        job.cluster.labels,
        {names.LABEL_CLUSTER_NAME: names.label_value(job.meta.name)},
    )
    annotations = inherited(
        job.meta.annotations,
        job.cluster.annotations,
        {
            names.ANNOTATION_ATTEMPT: str(attempt),
            names.ANNOTATION_ON_SCHEDULER_LOSS: str(policy.on_scheduler_loss),
        },
    )
    return {
        "apiVersion": names.API_VERSION,
        "kind": str(names.Kind.CLUSTER),
        "metadata": object_metadata(job.meta.name, job.meta, labels, annotations),
        "spec": spec,
    }
