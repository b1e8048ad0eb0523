"""The display of a running job: its events as lines, and the live line.

On a terminal the live line stays below the script's output; elsewhere the progress is printed as a
line from time to time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from daskjob.core.quantity import duration
from daskjob.core.reasons import Reason
from daskjob.submit.jobs import JobSnapshot, LiveJob
from daskjob.submit.terminal.end_line import end_lines
from daskjob.submit.terminal.live_line import LineFacts, RestEstimate, live_line
from daskjob.submit.terminal.plain_screen import Lines
from daskjob.submit.terminal.worker_lines import WorkerLines

#: How often a run without a terminal prints its progress.
QUIET_SECONDS = 30.0


class View:
    """A job on a screen, or in a file."""

    def __init__(
        self,
        job: LiveJob,
        screen: Lines,
        *,
        quiet: bool,
        worker_lines: WorkerLines | None = None,
    ) -> None:
        self._job = job
        self._screen = screen
        self._quiet = quiet
        self._worker_lines = worker_lines
        self._reported: set[str] = set()
        self._started = time.monotonic()
        self._last_progress = time.monotonic()
        self._rest = RestEstimate()
        self._has_ended = False
        self._script_runs = False
        self._had_script = False

    def begin(self, notes: Iterable[str] = ()) -> None:
        """Print what the user should know before the job starts."""
        for note in notes:
            self.say(note)

    def update(self) -> None:
        """Show the current state, and what is new."""
        snapshot = self._job.snapshot()
        self._report_events(snapshot)
        self._copy_worker_lines()
        if self._screen.has_live_line:
            facts = self._facts(snapshot)
            self._screen.show(lambda width: live_line(facts, width))
        else:
            self._print_progress(snapshot)

    def end(self) -> None:
        """Report how the run ended; nothing is printed after that."""
        snapshot = self._job.snapshot()
        self._screen.hide()
        self._report_events(snapshot)
        for trouble in snapshot.troubles if self._quiet else ():
            self.say(trouble, even_quiet=True)
        if snapshot.status.finished:
            self._report_end(snapshot)
        self._has_ended = True

    def script_changed(self, *, runs: bool) -> None:
        """Follow the start and the end of the script: workers' lines are shown in between."""
        if self._script_runs and not runs:
            self._copy_worker_lines(to_the_end=True)
            self._screen.end_line()
        if runs and self._had_script and self._worker_lines is not None:
            self._worker_lines.skip()
        if runs:
            # Before the first output of the script.
            self._report_up(self._job.snapshot())
        self._script_runs = runs
        self._had_script = self._had_script or runs

    def interrupted(self, name: str, times: int) -> None:
        """Report what a signal does."""
        what = "Ctrl-C" if name == "SIGINT" else name
        if self._has_ended:
            return
        if times == 1:
            self.say(f"{what}: cancelling the job; a second one kills it at once", urgent=True)
        else:
            self.say(f"{what}: killing the job at once", urgent=True)

    def say(
        self, text: str, *, even_quiet: bool = False, style: str = "", urgent: bool = False
    ) -> None:
        """Print a message of daskjob; see ``Screen.say``."""
        if self._quiet and not even_quiet:
            return
        self._screen.say(f"daskjob: {text}", style, urgent=urgent, wrap=True)

    def _copy_worker_lines(self, *, to_the_end: bool = False) -> None:
        if self._worker_lines is None or not self._script_runs:
            return
        for line in self._worker_lines.read(to_the_end=to_the_end):
            self._screen.say(line)

    def _print_progress(self, snapshot: JobSnapshot) -> None:
        """Print the progress every ``QUIET_SECONDS``."""
        if time.monotonic() - self._last_progress < QUIET_SECONDS:
            return
        self._last_progress = time.monotonic()
        tasks = snapshot.tasks
        if tasks and tasks.total:
            workers = f"{snapshot.ready_workers} of {snapshot.desired_workers} workers"
            self.say(f"{tasks.done} of {tasks.total} tasks done, {workers}")

    def _facts(self, snapshot: JobSnapshot) -> LineFacts:
        status, tasks = snapshot.status, snapshot.tasks
        now = time.monotonic()
        phase = self._phase(snapshot)
        rest = None
        if tasks is not None:
            rest = self._rest.seconds(now, tasks.done + tasks.erred, tasks.total)
        return LineFacts(
            name=snapshot.name,
            phase=phase,
            elapsed=self._elapsed(snapshot, now),
            ready=snapshot.ready_workers,
            desired=snapshot.desired_workers,
            attempt=status.attempt,
            done=tasks.done if tasks else 0,
            total=tasks.total if tasks else 0,
            erred=tasks.erred if tasks else 0,
            stage=snapshot.stages[0][0] if snapshot.stages else "",
            rest=None if rest is None else timedelta(seconds=rest),
            memory_bytes=snapshot.memory_bytes,
        )

    def _elapsed(self, snapshot: JobSnapshot, now: float) -> timedelta:
        if snapshot.started_at is None:
            return timedelta(seconds=now - self._started)
        return datetime.now(UTC) - snapshot.started_at

    def _phase(self, snapshot: JobSnapshot) -> str:
        """Return the phase; that of the status waits for all workers, the script does not."""
        if snapshot.last_tasks:
            return "Finishing"
        phase = snapshot.status.phase or "Pending"
        if snapshot.waits_for:
            return f"{phase} ({snapshot.waits_for})"
        if self._script_runs and snapshot.status.reason == Reason.CANCELLED:
            # The verdict is there; the script has its grace period.
            return "Cancelling"
        return "Running" if self._script_runs and phase in ("Pending", "Starting") else phase

    # Reporting

    def _report_events(self, snapshot: JobSnapshot) -> None:
        status = snapshot.status
        for attempt in status.attempts if not status.finished else status.attempts[:-1]:
            if attempt.reason == Reason.SUSPENDED:
                self._report_suspension(snapshot, attempt.number)
                continue
            then = f"Retrying as attempt {attempt.number + 1}"
            if not status.finished and status.next_attempt_time:
                then += f" at {status.next_attempt_time.astimezone():%H:%M:%S}"
            reason = snapshot.words.of_reason(attempt.reason)
            self._once(
                f"attempt {attempt.number}",
                f"attempt {attempt.number} failed{reason}: {attempt.message} {then}",
                style="red",
            )
        for activity in snapshot.activities:
            self._once(f"activity {activity}", f"{snapshot.name}: {activity}")
        if status.scheduler_identity and status.attempt not in [a.number for a in status.attempts]:
            self._report_up(snapshot)
        for trouble in snapshot.troubles:
            self._once(f"trouble {trouble}", trouble)
        if snapshot.last_tasks:
            tasks = "task" if snapshot.last_tasks == 1 else "tasks"
            patience = duration(timedelta(seconds=snapshot.patience_seconds))
            self._once(
                f"last tasks {status.attempt}",
                f"the script has ended; the run waits for {snapshot.last_tasks} fire_and_forget "
                f"{tasks}, {patience} at most while none finishes",
            )
        if status.message and not status.finished and status.attempt_start_time:
            self._once(f"trouble {status.reason}", status.message)

    def _report_suspension(self, snapshot: JobSnapshot, attempt: int) -> None:
        name = snapshot.name
        if snapshot.status.suspended:
            command = f"daskjob resume {snapshot.options} {name}".replace("  ", " ")
            self._once(f"suspended {attempt}", f"{name} is suspended; it continues with: {command}")
        else:
            self._once(f"attempt {attempt}", f"attempt {attempt} was suspended")

    def _report_up(self, snapshot: JobSnapshot) -> None:
        """Report that an attempt has begun, and how far its workers are."""
        attempt, count = snapshot.status.attempt, snapshot.desired_workers
        again = f" (attempt {attempt})" if attempt else ""
        does = "is running with" if snapshot.ready_workers >= count else "is starting"
        workers = f"{count} worker" + ("s" if count != 1 else "")
        where = f", dashboard {snapshot.dashboard_url}" if snapshot.dashboard_url else ""
        if where and snapshot.options:
            # The address is one inside the cluster.
            where = f"; its dashboard: daskjob dashboard {snapshot.options} {snapshot.name}"
        self._once(f"up {attempt}", f"{snapshot.name}{again} {does} {workers}{where}")

    def _once(self, key: str, text: str, style: str = "") -> None:
        if key not in self._reported:
            self._reported.add(key)
            self.say(text, style=style)

    def _report_end(self, snapshot: JobSnapshot) -> None:
        # As other commands report it; a clock of our own would differ by a second.
        took = snapshot.status.took or timedelta(seconds=time.monotonic() - self._started)
        style = "green" if snapshot.status.succeeded else "red"
        for line in end_lines(snapshot, took):
            self.say(line.text, even_quiet=line.even_quiet, style=style)
            style = ""
