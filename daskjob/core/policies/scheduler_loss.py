"""The loss of a scheduler that had answered: with it went every task and result.

No I/O here. A restarted scheduler knows nothing of the job, so its client waits for ever; the
identity that an attempt started with (pod uid and container id) tells one life from the next.
"""

from __future__ import annotations

from daskjob.core.job_view import AttemptEnd, JobView
from daskjob.core.pods import PodFacts
from daskjob.core.reasons import Reason
from daskjob.core.spec.policy import OnSchedulerLoss


def scheduler_loss(view: JobView) -> AttemptEnd | None:
    """Say whether the attempt's scheduler is lost; ``None`` where it is not, or may be."""
    if view.policy.on_scheduler_loss is OnSchedulerLoss.IGNORE:
        return None
    if not view.attempt_runs:
        return None
    known = view.status.scheduler_identity
    what = _what_happened(view.scheduler, known) if known else _unseen(view)
    if not what:
        return None
    runner = view.runner
    exit_code = runner.main.exit_code if runner and runner.main else None
    message = (
        f"the scheduler {what}: all of its tasks and results are lost. "
        "If it ran out of memory, raise its limit or send smaller graphs."
    )
    return AttemptEnd(Reason.SCHEDULER_LOST, message, exit_code)


def _unseen(view: JobView) -> str:
    """Say what became of a scheduler that was gone before the job's status named it.

    An identity is told some seconds after the scheduler answers; its cluster has told of it before.
    """
    cluster = view.cluster
    lost = cluster is not None and cluster.scheduler_lost and not view.job.cluster_ref
    return "pod is gone" if lost and view.scheduler is None else ""


def _what_happened(scheduler: PodFacts | None, known: str) -> str:
    if scheduler is None:
        return "pod is gone"
    main = scheduler.main
    if main is not None and (main.terminated or (not main.running and main.restarts)):
        code = main.exit_code if main.terminated else main.last_exit_code
        why = main.reason if main.terminated else main.last_reason
        return f"ended with exit code {code} ({why})" if why else f"ended with exit code {code}"
    if scheduler.deleting:
        return "pod was deleted"
    if scheduler.identity != known:
        return "was started again"
    return ""
