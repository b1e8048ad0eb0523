"""What a run reports at its end: the verdict, the work that was done, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from daskjob.core.decide.job_end import LEFT_OUT
from daskjob.core.manifests import integer, mapping
from daskjob.core.quantity import duration, format_peak
from daskjob.core.reasons import Reason
from daskjob.core.status import JobStatus
from daskjob.core.work import Work, work_from
from daskjob.submit.jobs import JobSnapshot

_OWN_CLUSTER = re.compile(r"^[^#\n]*\b(LocalCluster|SpecCluster)\(", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class EndLine:
    """One line at the end of a run."""

    text: str
    #: Whether ``--quiet`` prints it too.
    even_quiet: bool = False


def end_lines(snapshot: JobSnapshot, took: timedelta) -> Iterator[EndLine]:
    """Yield the last lines of a run that has ended."""
    status, name = snapshot.status, snapshot.name
    if not status.succeeded:
        yield EndLine(_failure(snapshot, took), even_quiet=True)
        work = _work_done(status)
        if work and status.reason != Reason.CANCELLED:
            yield EndLine(work)
        where = f"{snapshot.options} {name}".strip()
        yield EndLine(f"for details: daskjob why {where}, daskjob logs {where}")
        return
    done = _work_done(status)
    yield EndLine(f"{name} succeeded in {duration(took)}" + (f": {done}" if done else ""))
    if status.message.endswith(LEFT_OUT):
        yield EndLine(status.message, even_quiet=True)
    if undone := _work(status).undone:
        tasks = "1 task was" if undone == 1 else f"{undone} tasks were"
        why = "the script ended without waiting; call wait() or gather() on the futures"
        if given_up := snapshot.given_up_tasks:
            count = (
                "1 fire_and_forget task" if given_up == 1 else f"{given_up} fire_and_forget tasks"
            )
            why = f"the run gave up waiting for {count}"
        yield EndLine(f"{tasks} left undone: {why}")
    if hint := _unused(snapshot):
        yield EndLine(hint)


def _failure(snapshot: JobSnapshot, took: timedelta) -> str:
    status, after = snapshot.status, duration(took)
    if status.reason == Reason.CANCELLED and snapshot.words.is_script:
        by = status.message.removeprefix("the job was cancelled").rstrip(".")
        by, _, dropped = by.partition("; ")
        end = f": {dropped}" if dropped else ""
        return f"{snapshot.name} was cancelled{by}, after {after}{end}"
    reason = "" if snapshot.words.is_script else f" ({status.reason})"
    return f"{snapshot.name} failed in {after}{reason}: {status.message}"


def _unused(snapshot: JobSnapshot) -> str:
    """Return how to use the workers if the script did not.

    Without a report, such as after ``client.shutdown()``, that is not known.
    """
    report = snapshot.status.report
    if not snapshot.desired_workers or report is None or _work(snapshot.status).total:
        return ""
    if integer(report.get("clients")):
        return (
            "the script ran no task on the workers, although its client is connected: what Dask "
            "computes after Client() runs there, other code runs in the script"
        )
    if _OWN_CLUSTER.search(_text(snapshot.script)):
        return (
            "the script ran no task on the job's workers: it made a cluster of its own; "
            "Client() without LocalCluster connects to the job's workers"
        )
    return (
        "the script ran no tasks on the workers; to use them, connect with "
        "'from distributed import Client; client = Client()'"
    )


def _text(script: str) -> str:
    with suppress(OSError):
        return Path(script).read_text(errors="replace") if script else ""
    return ""


def _work(status: JobStatus) -> Work:
    """Return the work of the last attempt; without a report, of the last progress."""
    if status.report is not None and status.report.get("tasks"):
        return work_from(mapping(status.report.get("tasks")))
    progress = status.progress
    if progress is None:
        return Work()
    undone = max(progress.total - progress.done - progress.erred, 0)
    return Work(progress.done, progress.erred, undone)


def _work_done(status: JobStatus) -> str:
    """Return a summary of the cluster's work."""
    work, workers = _work(status), mapping((status.report or {}).get("workers"))
    parts = []
    if work.total and work.done == work.total:
        parts.append(f"{work.total} task" + ("s" if work.total != 1 else ""))
    elif work.total:
        parts.append(work.text(" task" if work.total == 1 else " tasks"))
    if lost := integer(workers.get("lost")):
        parts.append("1 worker was lost" if lost == 1 else f"{lost} workers were lost")
    if work.total and (peak := _peak_memory(status)):
        parts.append(f"peak worker memory {peak}")
    return ", ".join(parts)


def _peak_memory(status: JobStatus) -> str:
    memory = mapping((status.report or {}).get("peakMemory"))
    rows = memory.get("rows")
    found = rows if isinstance(rows, list) else []
    peaks = [row[1] for row in found if isinstance(row, list) and len(row) > 1]
    peak = max((peak for peak in peaks if isinstance(peak, int)), default=0)
    least = integer(memory.get("atLeast")) or 0
    return format_peak(peak, least) if peak or least else ""
