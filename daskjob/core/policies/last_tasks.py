"""Tasks that a script promised to run, and that are dropped from outside after its end."""

from __future__ import annotations

from dataclasses import replace

from daskjob.core.job_view import AttemptEnd, JobView
from daskjob.core.reasons import Reason

#: The scheduler ended, or stopped answering, before the tasks had finished.
SCHEDULER_ENDED = AttemptEnd(
    Reason.SCHEDULER_LOST, "the scheduler was lost: all of its tasks and results are lost."
)


def with_dropped(end: AttemptEnd, view: JobView) -> AttemptEnd:
    """Return the end of an attempt whose script had ended, with the tasks that were dropped."""
    count = view.observed.promised_tasks
    what = "1 fire_and_forget task was" if count == 1 else f"{count} fire_and_forget tasks were"
    if end.reason is Reason.CANCELLED:
        # The end of a run is reported in one sentence.
        return replace(end, message=f"{end.message.rstrip('.')}; {what} dropped.")
    runner = view.words.runner
    return replace(end, message=f"{end.message} {runner.capitalize()} had ended; {what} dropped.")
