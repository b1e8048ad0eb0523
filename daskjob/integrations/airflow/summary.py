"""What Airflow gets to know of a job: the XCom ``daskjob``, and the event of a trigger. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from daskjob.core.manifests import Manifest, format_time, mapping
from daskjob.core.messages import cut
from daskjob.core.status import JobStatus, job_status_from
from daskjob.submit.jobs import Job, JobRef

#: Characters of a message in an event, which is at most 64 KB with everything.
MESSAGE_LIMIT = 4000
#: The fields of a status that show how a job ended.
_OF_AN_END = ("jobStatus", "phase", "reason", "message", "exitCode", "startTime", "endTime")


def summary_of(job: Job) -> dict[str, Any]:
    """Return the XCom ``daskjob``."""
    status = job.status
    return {
        "name": job.ref.name,
        "namespace": job.ref.namespace,
        "uid": job.ref.uid,
        "phase": status.phase,
        "reason": status.reason,
        "message": cut(status.message, MESSAGE_LIMIT),
        "started_at": _text(status.start_time),
        "ended_at": _text(status.end_time),
        "exit_code": status.exit_code,
        "attempts": status.attempts_begun,
        "dashboard_url": status.dashboard_url,
        "workers": job.workers,
        "tasks": _tasks(job),
    }


def _tasks(job: Job) -> dict[str, int] | None:
    """Return the counts of tasks: of the last attempt's scheduler, as far as it reported."""
    progress = job.status.progress
    if progress is None:
        return None
    return {"total": progress.total, "done": progress.done, "erred": progress.erred}


def _text(time: datetime | None) -> str | None:
    return None if time is None else format_time(time)


def event_of(job: Job, kind: str) -> dict[str, Any]:
    """Return the event of a trigger: all that its task needs of a job that may be gone by then."""
    status = mapping(job.manifest.get("status"))
    kept: Manifest = {key: status[key] for key in _OF_AN_END if key in status}
    if "message" in kept:
        kept["message"] = cut(str(kept["message"]), MESSAGE_LIMIT)
    attempts = status.get("attempts")
    if isinstance(attempts, list):
        kept["attempts"] = attempts[-1:]
    return {
        "status": kind,
        "daskjob": summary_of(job),
        "job_status": kept,
        "result": job.status.result,
    }


def failed_event(ref: JobRef, kind: str, message: str, *, error: str = "") -> dict[str, Any]:
    """Return the event of a trigger that has not seen the end of its job."""
    known = {"name": ref.name, "namespace": ref.namespace, "uid": ref.uid}
    return {
        "status": kind,
        "daskjob": known,
        "message": cut(message, MESSAGE_LIMIT),
        "error": error,
    }


def ref_of(known: Mapping[str, Any]) -> JobRef:
    """Return the job that a mapping names."""
    name, namespace, uid = (str(known.get(key) or "") for key in ("name", "namespace", "uid"))
    return JobRef(name, namespace, uid)


def ref_in(event: Mapping[str, Any]) -> JobRef:
    """Return the job of an event."""
    known = mapping(event.get("daskjob"))
    return ref_of(known)


def status_in(event: Mapping[str, Any]) -> JobStatus:
    """Return how the job of an event ended."""
    return job_status_from(event.get("job_status"))


class Progress:
    """Lines about the progress of a job: of its state, its workers and its tasks."""

    def __init__(self) -> None:
        self._shown = ""
        self._tasks_at = -60.0

    def line(self, job: Job, now: float) -> str:
        """Return a line if there is something new; at most one in 10 s about tasks alone."""
        status = job.status
        state = status.phase or "submitted"
        if status.reason and not status.finished:
            state += f" ({status.reason}: {status.message})"
        if status.workers and not status.finished:
            state += f", workers {status.workers}"
        counts = status.progress
        is_new = state != self._shown
        if not is_new and (counts is None or now - self._tasks_at < 10):
            return ""
        text = f"{job.name}: {state}"
        if counts is not None and counts.total:
            text += f", tasks {counts}"
            if counts.erred:
                text += f" ({counts.erred} erred)"
        if not is_new and text == getattr(self, "_line", ""):
            return ""
        self._shown, self._tasks_at, self._line = state, now, text
        return text
