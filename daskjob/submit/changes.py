"""The fields of a DaskJob by which clients change it (design §3.1). No I/O.

Each function returns the merge patch, or ``None`` where there is nothing to change. So a repeated
change is no write, nor is a cancellation after the end: a write to an ended job causes an Event.
"""

from __future__ import annotations

from datetime import datetime

from daskjob.core.errors import Conflict
from daskjob.core.manifests import Manifest, format_time, mapping, object_ref
from daskjob.core.names import ANNOTATION_ACKNOWLEDGED
from daskjob.core.status import job_status_from


def cancellation(job: Manifest) -> Manifest | None:
    """Return the patch that cancels a job."""
    if has_ended(job) or _spec(job).get("cancel"):
        return None
    return {"spec": {"cancel": True}}


def acknowledgement(job: Manifest, at: datetime) -> Manifest | None:
    """Return the patch that records that a job's end was taken."""
    if ANNOTATION_ACKNOWLEDGED in mapping(mapping(job.get("metadata")).get("annotations")):
        return None
    return {"metadata": {"annotations": {ANNOTATION_ACKNOWLEDGED: format_time(at)}}}


def suspension(job: Manifest, *, suspend: bool) -> Manifest | None:
    """Return the patch that suspends or resumes a job.

    Only an explicit ``false`` resumes.

    Raises
    ------
    Conflict
        The job has ended.
    """
    if has_ended(job):
        verb = "suspended" if suspend else "resumed"
        raise Conflict(f"{_name(job)} has ended and cannot be {verb}; retry runs it again")
    if _spec(job).get("suspend") is suspend:
        return None
    return {"spec": {"suspend": suspend}}


def scaling(job: Manifest, workers: int) -> Manifest | None:
    """Return the patch that sets the number of workers of a job's default group.

    Raises
    ------
    Conflict
        The job has ended, or its workers are not its own.
    ValueError
        The number is negative.
    """
    if workers < 0:
        raise ValueError(f"{workers} workers are not possible")
    if has_ended(job):
        raise Conflict(f"{_name(job)} has ended and has no workers")
    if cluster := mapping(_spec(job).get("clusterRef")).get("name"):
        raise Conflict(f"{_name(job)} runs on DaskCluster {cluster}; scale that")
    group = mapping(mapping(mapping(_spec(job).get("cluster")).get("spec")).get("worker"))
    if group.get("autoscaling"):
        raise Conflict(
            f"the workers of {_name(job)} are scaled automatically; change "
            "spec.cluster.spec.worker.autoscaling"
        )
    if group.get("replicas") == workers:
        return None
    return count_of_workers(workers)


def count_of_workers(workers: int) -> Manifest:
    """Return the patch with a number of workers of the default group."""
    return {"spec": {"cluster": {"spec": {"worker": {"replicas": workers}}}}}


def check_ended(job: Manifest) -> None:
    """Reject a retry of a job that has not ended.

    Raises
    ------
    Conflict
        The job has not ended.
    """
    if not has_ended(job):
        raise Conflict(f"{_name(job)} has not ended; cancel it first")


def has_ended(job: Manifest) -> bool:
    """Return whether a job has ended."""
    return job_status_from(job.get("status")).finished


def _spec(job: Manifest) -> Manifest:
    return mapping(job.get("spec"))


def _name(job: Manifest) -> str:
    return object_ref(job).name
