"""Deadlines, tasks that cannot run, and exceptions: what the status itself explains."""

from __future__ import annotations

from daskjob.core.advice import advice, split_step
from daskjob.core.reasons import Reason
from daskjob.core.why.about import DEADLINES, About, Advice

_FIELDS = {
    Reason.ATTEMPT_DEADLINE_EXCEEDED: "attemptDeadlineSeconds",
    Reason.STARTUP_DEADLINE_EXCEEDED: "startupDeadlineSeconds",
}


def deadline_reached(about: About) -> Advice | None:
    """Return the advice about a deadline whose cause is in its message."""
    if about.reason not in DEADLINES:
        return None
    field = _FIELDS.get(Reason(about.reason), about.words.job_deadline)
    step = split_step(about.message)[1].rstrip(".")
    if not step or "daskjob why" in step or step.startswith("Fix what"):
        step = f"Raise {field}, or find out what is slow"
    what = "report" if about.status.report else "events"
    return Advice(f"{step}:", about.daskjob(what))


def tasks_cannot_run(about: About) -> Advice | None:
    """Return the advice about tasks that wait for what no worker offers."""
    if about.reason not in ("NoWorkerForTasks", "NoWorkers", "NoProgress"):
        return None
    step = split_step(about.message)[1].rstrip(".")
    return Advice(f"{step or 'Look for tasks that wait for each other'}:", about.daskjob("status"))


def script_failed(about: About) -> Advice | None:
    """Return the advice about a script that ended with an error."""
    if about.reason != Reason.EXIT_CODE:
        return None
    step = advice(about.message, about.log_tail, about.words).rstrip(".")
    return Advice(f"{step}. Its log:" if step else "Read its log:", about.daskjob("logs"))
