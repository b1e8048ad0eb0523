"""Jobs that cannot start, whatever is waited for: no operator, an image that does not exist."""

from __future__ import annotations

from daskjob.core import errors
from daskjob.core.manifests import object_ref
from daskjob.integrations.airflow.errors import NotPickedUp, failure
from daskjob.submit.client.waiting import not_picked_up
from daskjob.submit.jobs import Job
from daskjob.submit.outcome import is_image_failure

#: How long an operator may take to pick a job up, by default: while it is updated, for instance.
OPERATOR_SECONDS = 60.0


def hopeless(
    job: Job, waited_seconds: float, operator_seconds: float
) -> errors.DaskJobError | None:
    """Return why the job will never run; ``None``: it may.

    ``waited_seconds`` is how long this task has waited for it.
    """
    status = job.status
    if status.finished:
        return None
    if is_image_failure(status):
        return failure(status)
    if not status.job_status and waited_seconds >= operator_seconds:
        return NotPickedUp(not_picked_up(object_ref(job.manifest), job.manifest))
    return None
