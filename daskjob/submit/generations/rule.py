"""What a try of a task does about the task's last job, as a decision about values. No I/O.

============  ================================  ==================================
the last job  its end was not taken yet         a try took it (``acknowledge``)
============  ================================  ==================================
active        adopt it                          cancel it, start the next
succeeded     take its result                   start the next: the task was reset
failed        start the next                    start the next
============  ================================  ==================================
"""

from __future__ import annotations

from enum import Enum, StrEnum, auto

from daskjob.core.manifests import Manifest, mapping, metadata
from daskjob.core.names import ANNOTATION_ACKNOWLEDGED
from daskjob.core.status import job_status_from


class Step(StrEnum):
    """What became of a try's request for a job."""

    #: A new job was started.
    CREATED = "Created"
    #: The job of an earlier try goes on.
    ADOPTED = "Adopted"
    #: The job of an earlier try has succeeded; its result is taken, and nothing was started.
    FINISHED = "Finished"


class OnConflict(StrEnum):
    """What to do about an active job with another spec."""

    #: Adopt it all the same.
    REATTACH = "reattach"
    #: Cancel it and start the next one.
    REPLACE = "replace"
    #: Raise ``Conflict``.
    FAIL = "fail"


class Action(Enum):
    """What to do about the last job of a task."""

    ADOPT = auto()
    TAKE_RESULT = auto()
    #: Start the next generation.
    NEXT = auto()
    #: Cancel this one, and start the next when it has ended.
    CANCEL = auto()
    REJECT = auto()


def action_for(job: Manifest, *, same_spec: bool, on_conflict: OnConflict) -> Action:
    """Return what to do about the last job of a task."""
    if metadata(job).get("deletionTimestamp"):
        return Action.NEXT
    status, taken = job_status_from(job.get("status")), is_acknowledged(job)
    if status.finished:
        return Action.TAKE_RESULT if status.succeeded and not taken else Action.NEXT
    # A job that is being cancelled is no one's; the next one waits for its end.
    if taken or mapping(job.get("spec")).get("cancel"):
        return Action.CANCEL
    if same_spec or on_conflict is OnConflict.REATTACH:
        return Action.ADOPT
    return Action.CANCEL if on_conflict is OnConflict.REPLACE else Action.REJECT


def is_acknowledged(job: Manifest) -> bool:
    """Return whether a try has taken the job's end."""
    return ANNOTATION_ACKNOWLEDGED in mapping(metadata(job).get("annotations"))
