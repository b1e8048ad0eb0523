"""All objects that a job creates at its start, as one list, for ``daskjob render``."""

from __future__ import annotations

from daskjob.core import names
from daskjob.core.desired.cluster import job_cluster
from daskjob.core.desired.environment import environment_config_map, is_prepared
from daskjob.core.desired.files import files_config_map
from daskjob.core.desired.group import worker_group
from daskjob.core.desired.runner import runner_pod
from daskjob.core.desired.scheduler import scheduler_pod
from daskjob.core.desired.service import scheduler_service
from daskjob.core.desired.workers import worker_pods
from daskjob.core.manifests import Manifest
from daskjob.core.observed import Platform
from daskjob.core.spec import DaskCluster, DaskJob, GroupSpec, read_cluster, read_group

#: Placeholder for the scheduler's random token.
TOKEN = "TOKEN"


def desired_objects(job: DaskJob, platform: Platform | None = None) -> list[Manifest]:
    """Return the objects of a job's first attempt, owners before the objects they own.

    Tokens and workers' names are random in a pass; here they are ``TOKEN`` and ascending numbers,
    so that equal jobs give equal objects.
    """
    platform = platform or Platform()
    files = [files_config_map(job)] if job.files else []
    if is_prepared(job, platform):
        files.append(environment_config_map(job, platform))
    runner = runner_pod(job, job.policy, 0, platform)
    if job.cluster is None:
        return [*files, runner]
    manifest = job_cluster(job, job.policy, 0, platform)
    cluster = read_cluster(manifest, [])
    scheduler = [scheduler_pod(cluster, platform, TOKEN), scheduler_service(cluster)]
    groups = [
        made
        for group in cluster.spec.all_groups
        for made in _group_objects(cluster, group, platform)
    ]
    return [*files, runner, manifest, *scheduler, *groups]


def _group_objects(cluster: DaskCluster, spec: GroupSpec, platform: Platform) -> list[Manifest]:
    """Return a worker group and its workers."""
    manifest = worker_group(cluster, spec)
    group = read_group(manifest, [])
    workers = [names.worker_name(group.meta.name, f"{n:010x}") for n in range(spec.replicas)]
    return [manifest, *worker_pods(group, cluster, workers, platform)]
