"""The display of a running job: the runner's log, and one line with the current state.

On a terminal the line stays at the bottom and the log streams above it; elsewhere each event of
the job is printed as a line. The script's output goes to standard output unchanged, byte by byte,
so that ``daskjob run script.py > file`` writes what ``python script.py > file`` would.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import TextIO

from daskjob.core.errors import ApiError
from daskjob.submit.cli.end_line import end_lines
from daskjob.submit.cli.output import duration
from daskjob.submit.jobs import JobSnapshot, LiveJob

#: How often a run without a terminal prints its progress.
QUIET_SECONDS = 30.0
#: The longest line that is kept until its newline comes.
OPEN_LINE_BYTES = 64 * 1024


class View:
    """A job on a screen, or in a file."""

    def __init__(self, job: LiveJob, *, quiet: bool, log: TextIO) -> None:
        self._job = job
        self._quiet = quiet
        self._log = log
        self._reported: set[str] = set()
        self._started = time.monotonic()
        self._last_progress = time.monotonic()
        self._ends_line = True

    def begin(self, notes: Iterable[str] = ()) -> None:
        """Print what the user should know before the job starts."""
        for note in notes:
            self.say(note)

    def update(self) -> None:
        """Copy new output of the script, and show the current state."""
        snapshot = self._job.snapshot()
        self._copy_log()
        self._report_events(snapshot)
        self.draw(snapshot)

    def end(self) -> None:
        """Copy the rest of the log and report how the run ended."""
        snapshot = self._job.snapshot()
        while self._copy_log():
            continue
        self.finish()
        self._report_events(snapshot)
        for trouble in snapshot.troubles:
            self.say(trouble, even_quiet=True)
        if snapshot.status.finished:
            self._report_end(snapshot)

    def interrupted(self, name: str, times: int) -> None:
        """Report what a signal does."""
        what = "Ctrl-C" if name == "SIGINT" else name
        if times == 1:
            self.say(f"{what}: cancelling the job; a second one kills it at once")
        else:
            self.say(f"{what}: killing the job")

    def say(self, text: str, *, even_quiet: bool = False) -> None:
        """Print a message of daskjob."""
        if self._quiet and not even_quiet:
            return
        self.write_line(f"daskjob: {text}")

    # Overridden for a terminal

    def write_log(self, data: bytes) -> None:
        """Write the script's output, byte by byte."""
        self._ends_line = data.endswith(b"\n")
        write_all(self._log, data)

    def write_line(self, line: str) -> None:
        """Write a line of daskjob to standard error."""
        if not self._ends_line and self._log is sys.stderr:
            line = "\n" + line
            self._ends_line = True
        print(line, file=sys.stderr, flush=True)

    def draw(self, snapshot: JobSnapshot) -> None:
        """Print the progress every ``QUIET_SECONDS``."""
        if time.monotonic() - self._last_progress < QUIET_SECONDS:
            return
        self._last_progress = time.monotonic()
        tasks = snapshot.tasks
        if tasks and tasks.total:
            workers = f"{snapshot.ready_workers} of {snapshot.desired_workers} workers"
            self.say(f"{tasks.done} of {tasks.total} tasks done, {workers}")

    def finish(self) -> None:
        """Clear the drawing."""

    # Reporting

    def _copy_log(self) -> bool:
        data = self._job.log()
        if data:
            self.write_log(data)
        return bool(data)

    def _report_events(self, snapshot: JobSnapshot) -> None:
        status = snapshot.status
        if status.scheduler_identity:
            self._once(f"up {status.attempt}", self._up(snapshot))
        for attempt in status.attempts if not status.finished else status.attempts[:-1]:
            then = f"Retrying as attempt {attempt.number + 1}"
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
        return f"{name}{again} is running with {workers}, dashboard {snapshot.status.dashboard_url}"

    def _once(self, key: str, text: str) -> None:
        if key not in self._reported:
            self._reported.add(key)
            self.say(text)

    def _report_end(self, snapshot: JobSnapshot) -> None:
        took = timedelta(seconds=time.monotonic() - self._started)
        for line in end_lines(snapshot, took):
            self.say(line.text, even_quiet=line.even_quiet)


class TerminalView(View):
    """A run on a terminal: the log streams above a fixed line."""

    def __init__(self, job: LiveJob, *, log: TextIO) -> None:
        super().__init__(job, quiet=False, log=log)
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._line = OpenLine()

    def begin(self, notes: Iterable[str] = ()) -> None:
        """Start drawing."""
        self._live.start()
        super().begin(notes)

    def write_log(self, data: bytes) -> None:
        """Write complete lines above the fixed line; what follows them is drawn with it."""
        if not self._log.isatty():
            write_all(self._log, data)
            return
        lines = self._line.completed_by(data)
        if lines is not None:
            self._console.out(lines.decode(errors="replace"), highlight=False)

    def write_line(self, line: str) -> None:
        """Write a line of daskjob above the fixed line."""
        self._console.out(line, style="dim")

    def draw(self, snapshot: JobSnapshot) -> None:
        """Draw the line: phase, workers, a bar of tasks."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

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
        shown: list[object] = [grid]
        if self._line.text:
            open_line = Text.from_ansi(self._line.text.decode(errors="replace"))
            open_line.no_wrap, open_line.overflow = True, "crop"
            shown.insert(0, open_line)
        self._live.update(Group(*shown), refresh=True)  # type: ignore[arg-type]

    def finish(self) -> None:
        """Clear the line, and write output that ended without a newline."""
        self._live.stop()
        if self._line.text:
            self._console.out(self._line.text.decode(errors="replace"), highlight=False)
            self._line = OpenLine()


class OpenLine:
    """The last line of an output, which has no newline yet: a prompt, or a progress bar.

    A progress bar returns to the start of its line and writes it again; like a terminal, this keeps
    what it wrote last.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    @property
    def text(self) -> bytes:
        """What a terminal would show of it."""
        return _last_written(b"".join(self._pieces)).rstrip(b"\r")

    def completed_by(self, data: bytes) -> bytes | None:
        """Append output; return the lines that it completes, or ``None`` if there is none."""
        lines, newline, rest = data.rpartition(b"\n")
        done: bytes | None = None
        if newline:
            done = b"".join([*self._pieces, lines])
            self._pieces, self._size = [], 0
        self._append(rest)
        if done is None and self._size > OPEN_LINE_BYTES:
            # Not a line of text: it is broken here, so that it does not grow without limit.
            done = b"".join(self._pieces)
            self._pieces, self._size = [], 0
        return done

    def _append(self, data: bytes) -> None:
        if b"\r" in data:
            data = _last_written(b"".join([*self._pieces, data]))
            self._pieces, self._size = [], 0
        if data:
            self._pieces.append(data)
            self._size += len(data)


def _last_written(line: bytes) -> bytes:
    """Return the text after the last return to the start of a line, with a return at its end."""
    end = len(line.rstrip(b"\r"))
    return line[line.rfind(b"\r", 0, end) + 1 :]


def view_of(job: LiveJob, *, quiet: bool, log_to_stderr: bool) -> View:
    """Return the view for a terminal, or the one for files and pipes."""
    log = sys.stderr if log_to_stderr else sys.stdout
    if sys.stderr.isatty() and not quiet and os.environ.get("TERM") != "dumb":
        return TerminalView(job, log=log)
    return View(job, quiet=quiet, log=log)


def write_all(stream: TextIO, data: bytes) -> None:
    """Write bytes through a text stream unchanged: a script may print any bytes.

    Raises
    ------
    BrokenPipeError
        The reader is gone.
    ApiError
        The write failed: for example, the disk is full.
    """
    try:
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ApiError(f"cannot write the script's output: {error.strerror}") from error
