"""What manifests of our four kinds, and pods, say: read once for each state of an object.

No I/O here. A pass reads its object, what that owns and what owns it, and most of it stands as it
stood in the pass before. Nobody may change a manifest that was read here.
"""

from __future__ import annotations

from daskjob.core.caching import cached_by_identity
from daskjob.core.errors import FieldError
from daskjob.core.manifests import Manifest
from daskjob.core.pods import PodFacts, pod_facts
from daskjob.core.spec import (
    DaskAutoscaler,
    DaskCluster,
    DaskJob,
    DaskWorkerGroup,
    read_autoscaler,
    read_cluster,
    read_group,
    read_job,
)
from daskjob.core.status import (
    AutoscalerStatus,
    ClusterStatus,
    GroupStatus,
    JobStatus,
    autoscaler_status_from,
    cluster_status_from,
    group_status_from,
    job_status_from,
)


@cached_by_identity
def parsed_job(manifest: Manifest) -> tuple[DaskJob, tuple[FieldError, ...]]:
    """Return a job, with defaults where its manifest is wrong, and every mistake of that."""
    mistakes: list[FieldError] = []
    return read_job(manifest, mistakes), tuple(mistakes)


@cached_by_identity
def parsed_job_status(manifest: Manifest) -> JobStatus:
    """Return the status that stands in a job's manifest."""
    return job_status_from(manifest.get("status"))


@cached_by_identity
def parsed_cluster(manifest: Manifest) -> tuple[DaskCluster, tuple[FieldError, ...]]:
    """Return a cluster, with defaults where its manifest is wrong, and every mistake of that."""
    mistakes: list[FieldError] = []
    return read_cluster(manifest, mistakes), tuple(mistakes)


@cached_by_identity
def parsed_cluster_status(manifest: Manifest) -> ClusterStatus:
    """Return the status that stands in a cluster's manifest."""
    return cluster_status_from(manifest.get("status"))


@cached_by_identity
def parsed_group(manifest: Manifest) -> tuple[DaskWorkerGroup, tuple[FieldError, ...]]:
    """Return a worker group, with defaults where its manifest is wrong, and every mistake."""
    mistakes: list[FieldError] = []
    return read_group(manifest, mistakes), tuple(mistakes)


@cached_by_identity
def parsed_group_status(manifest: Manifest) -> GroupStatus:
    """Return the status that stands in a worker group's manifest."""
    return group_status_from(manifest.get("status"))


@cached_by_identity
def parsed_autoscaler(manifest: Manifest) -> tuple[DaskAutoscaler, tuple[FieldError, ...]]:
    """Return an autoscaler, with defaults where its manifest is wrong, and every mistake."""
    mistakes: list[FieldError] = []
    return read_autoscaler(manifest, mistakes), tuple(mistakes)


@cached_by_identity
def parsed_autoscaler_status(manifest: Manifest) -> AutoscalerStatus:
    """Return the status that stands in an autoscaler's manifest."""
    return autoscaler_status_from(manifest.get("status"))


@cached_by_identity
def parsed_pod(manifest: Manifest) -> PodFacts:
    """Return the facts of a pod."""
    return pod_facts(manifest)
