"""What a run reports at its end: the verdict, the work that was done, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from daskjob.core.decide.job_end import LEFT_OUT
from daskjob.core.quantity import format_bytes
from daskjob.core.status import JobStatus
from daskjob.submit.cli.output import duration
from daskjob.submit.jobs import JobSnapshot


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
        verdict = f"{name} failed in {duration(took)} ({status.reason}): {status.message}"
        yield EndLine(verdict, even_quiet=True)
        yield EndLine(f"for details: daskjob why {name}, daskjob logs {name}")
        return
    yield EndLine(f"{name} succeeded in {duration(took)}{_work(status)}")
    if status.message.endswith(LEFT_OUT):
        yield EndLine(status.message, even_quiet=True)
    # Without a report, such as after client.shutdown(), that is not known.
    if snapshot.desired_workers and status.report is not None and not _tasks(status):
        yield EndLine(
            "the script ran no tasks on the workers; to use them, connect with "
            "'from distributed import Client; client = Client()'"
        )


def _tasks(status: JobStatus) -> int:
    return status.progress.total if status.progress else 0


def _work(status: JobStatus) -> str:
    """Return a summary of the cluster's work."""
    parts = []
    if _tasks(status):
        parts.append(f"{_tasks(status)} task" + ("s" if _tasks(status) != 1 else ""))
    rows = ((status.report or {}).get("peakMemory") or {}).get("rows") or []
    if rows and _tasks(status):
        parts.append(f"peak worker memory {format_bytes(max(row[1] for row in rows))}")
    return f": {', '.join(parts)}" if parts else ""
