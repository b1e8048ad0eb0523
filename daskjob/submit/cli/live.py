"""What a run looks like while it runs: the runner's log, and one line of how it stands.

On a terminal the line stays at the bottom and the log streams above it; elsewhere the turns of
the job's life are told as lines. The script's output goes to standard output unchanged, byte by
byte, so that ``daskjob run script.py > file`` writes what ``python script.py > file`` would.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import TextIO

from daskjob.core.decide.job_end import LEFT_OUT
from daskjob.core.errors import ApiError
from daskjob.core.quantity import format_bytes
from daskjob.core.status import JobStatus
from daskjob.submit.cli.output import duration
from daskjob.submit.jobs import JobSnapshot, LiveJob

#: How often a run without a terminal says how its tasks stand.
QUIET_SECONDS = 30.0


class View:
    """A job on a screen, or in a file."""

    def __init__(self, job: LiveJob, *, quiet: bool, log: TextIO) -> None:
        self._job = job
        self._quiet = quiet
        self._log = log
        self._told: set[str] = set()
        self._started = time.monotonic()
        self._last_progress = time.monotonic()
        self._ends_line = True

    def begin(self, notes: Iterable[str] = ()) -> None:
        """Print what the user should know before the job starts."""
        for note in notes:
            self.say(note)

    def update(self) -> None:
        """Pass on what the script has said, and say how the run stands."""
        snapshot = self._job.snapshot()
        self._pass_on()
        self._tell_turns(snapshot)
        self.draw(snapshot)

    def end(self) -> None:
        """Pass on the last of the log and say how the run ended."""
        snapshot = self._job.snapshot()
        while self._pass_on():
            continue
        self.finish()
        self._tell_turns(snapshot)
        for trouble in snapshot.troubles:
            self.say(trouble, even_quiet=True)
        if snapshot.status.finished:
            self._tell_end(snapshot)

    def interrupted(self, name: str, times: int) -> None:
        """Say what a signal does."""
        what = "Ctrl-C" if name == "SIGINT" else name
        if times == 1:
            self.say(f"{what}: cancelling; a second one kills at once")
        else:
            self.say(f"{what}: killing")

    def say(self, text: str, *, even_quiet: bool = False) -> None:
        """Print a line of daskjob's own."""
        if self._quiet and not even_quiet:
            return
        self.write_line(f"daskjob: {text}")

    # What a terminal does otherwise

    def write_log(self, data: bytes) -> None:
        """Write the script's output, byte by byte."""
        self._ends_line = data.endswith(b"\n")
        write_all(self._log, data)

    def write_line(self, line: str) -> None:
        """Write a line of daskjob's own to standard error."""
        if not self._ends_line and self._log is sys.stderr:
            line = "\n" + line
            self._ends_line = True
        print(line, file=sys.stderr, flush=True)

    def draw(self, snapshot: JobSnapshot) -> None:
        """Say how the tasks stand, now and then."""
        if time.monotonic() - self._last_progress < QUIET_SECONDS:
            return
        self._last_progress = time.monotonic()
        tasks = snapshot.tasks
        if tasks and tasks.total:
            workers = f"{snapshot.ready_workers} of {snapshot.desired_workers} workers"
            self.say(f"{tasks.done} of {tasks.total} tasks done, {workers}")

    def finish(self) -> None:
        """Clear what is drawn."""

    # How a run is told

    def _pass_on(self) -> bool:
        data = self._job.log()
        if data:
            self.write_log(data)
        return bool(data)

    def _tell_turns(self, snapshot: JobSnapshot) -> None:
        status = snapshot.status
        if status.scheduler_identity:
            self._once(f"up {status.attempt}", self._up(snapshot))
        for attempt in status.attempts if not status.finished else status.attempts[:-1]:
            then = f"Attempt {attempt.number + 1} follows"
            if not status.finished and status.next_attempt_time:
                then += f" at {status.next_attempt_time.astimezone():%H:%M:%S}"
            self._once(
                f"attempt {attempt.number}",
                f"attempt {attempt.number} failed ({attempt.reason}): {attempt.message} {then}",
            )
        if status.message and not status.finished and status.attempt_start_time:
            self._once(f"trouble {status.reason}", status.message)

    def _up(self, snapshot: JobSnapshot) -> str:
        again = f" (attempt {snapshot.status.attempt})" if snapshot.status.attempt else ""
        count = snapshot.desired_workers
        workers = f"{count} worker" + ("s" if count != 1 else "")
        name = snapshot.name
        return f"{name}{again} runs with {workers}, dashboard {snapshot.status.dashboard_url}"

    def _once(self, key: str, text: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self.say(text)

    def _tell_end(self, snapshot: JobSnapshot) -> None:
        status, name = snapshot.status, snapshot.name
        took = duration(timedelta(seconds=time.monotonic() - self._started))
        if status.succeeded:
            self.say(f"{name} succeeded in {took}{_work(status)}")
            if status.message.endswith(LEFT_OUT):
                self.say(status.message, even_quiet=True)
            if snapshot.desired_workers and not _tasks(status):
                self.say(
                    "its cluster ran no task: a script uses the workers after "
                    "'from distributed import Client; client = Client()'"
                )
            return
        self.say(f"{name} failed in {took} ({status.reason}): {status.message}", even_quiet=True)
        self.say(f"more: daskjob why {name}, daskjob logs {name}")


class TerminalView(View):
    """A run on a terminal: the log streams above one line that stays."""

    def __init__(self, job: LiveJob, *, log: TextIO) -> None:
        super().__init__(job, quiet=False, log=log)
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._rest = b""

    def begin(self, notes: Iterable[str] = ()) -> None:
        """Begin to draw."""
        self._live.start()
        super().begin(notes)

    def write_log(self, data: bytes) -> None:
        """Write whole lines above the line that stays; a line that is not whole waits."""
        if not self._log.isatty():
            write_all(self._log, data)
            return
        whole, newline, rest = (self._rest + data).rpartition(b"\n")
        self._rest = rest
        if newline:
            self._console.out(whole.decode(errors="replace"))

    def write_line(self, line: str) -> None:
        """Write a line of daskjob's own above the line that stays."""
        self._console.out(line, style="dim")

    def draw(self, snapshot: JobSnapshot) -> None:
        """Draw the line: phase, workers, a bar of tasks."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        status = snapshot.status
        grid = Table.grid(padding=(0, 1))
        attempt = f" attempt {status.attempt}" if status.attempt else ""
        clock = duration(timedelta(seconds=time.monotonic() - self._started))
        cells: list[object] = [
            f"[bold]{snapshot.name}[/bold] {status.phase or 'Pending'}{attempt} {clock}",
            f"{snapshot.ready_workers}/{snapshot.desired_workers} workers",
        ]
        tasks = snapshot.tasks
        if tasks and tasks.total:
            cells.append(ProgressBar(total=tasks.total, completed=tasks.done, width=30))
            erred = f" [red]{tasks.erred} erred[/red]" if tasks.erred else ""
            cells.append(f"{tasks.done}/{tasks.total} tasks{erred}")
        grid.add_row(*cells)  # type: ignore[arg-type]
        self._live.update(grid, refresh=True)

    def finish(self) -> None:
        """Clear the line, and write what the script left without a newline."""
        self._live.stop()
        if self._rest:
            self._console.out(self._rest.decode(errors="replace"))
            self._rest = b""


def view_of(job: LiveJob, *, quiet: bool, log_to_stderr: bool) -> View:
    """Return the view that fits where the output goes."""
    log = sys.stderr if log_to_stderr else sys.stdout
    if sys.stderr.isatty() and not quiet and os.environ.get("TERM") != "dumb":
        return TerminalView(job, log=log)
    return View(job, quiet=quiet, log=log)


def write_all(stream: TextIO, data: bytes) -> None:
    """Write bytes through a text stream as they are; bytes are what a script prints.

    Raises
    ------
    BrokenPipeError
        Whoever read it has gone.
    ApiError
        The disk that it goes to is full.
    """
    try:
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ApiError(f"what the script prints cannot be written: {error.strerror}") from error


def _tasks(status: JobStatus) -> int:
    return status.progress.total if status.progress else 0


def _work(status: JobStatus) -> str:
    """Return what the cluster did, for the last line."""
    parts = []
    if _tasks(status):
        parts.append(f"{_tasks(status)} tasks")
    rows = ((status.report or {}).get("peakMemory") or {}).get("rows") or []
    if rows and _tasks(status):
        parts.append(f"at most {format_bytes(max(row[1] for row in rows))} in a worker")
    return f": {', '.join(parts)}" if parts else ""
