"""A job of any place in the foreground: its log and its messages, up to its end.

The job is not a child of this process: only Ctrl-C cancels it. SIGQUIT, and a terminal or
a connection that is lost, leave it alone.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from daskjob.core.dask import TaskCounts
from daskjob.core.errors import DaskJobError
from daskjob.core.exit_codes import ExitCode, exit_code
from daskjob.core.manifests import mapping, metadata
from daskjob.core.status import JobStatus, Phase
from daskjob.core.wording import words_for
from daskjob.submit.jobs import Job, JobRef, Jobs, JobSnapshot, LogChunk, desired_workers
from daskjob.submit.patient_watch import states
from daskjob.submit.terminal.live import View
from daskjob.submit.terminal.live_screen import LiveScreen, screen_for
from daskjob.submit.terminal.plain_screen import PlainScreen

#: How often to look at the time.
TICK_SECONDS = 1.0
#: How long the end of the log may take after the end of the job.
LAST_LINES_SECONDS = 15.0
#: Chunks of the log that wait for the reader of our output.
MOST_CHUNKS = 64
_TERMINATED = 128 + signal.SIGTERM


#: Phases whose reason is what the job waits for, such as a pod's image.
_WAITING = (Phase.PENDING, Phase.STARTING, Phase.SUSPENDED)


@dataclass(frozen=True, slots=True)
class Followed:
    """How following a job ended: its exit code, and the job if it has ended."""

    code: int
    job: Job | None = None


@dataclass(frozen=True, slots=True)
class _End:
    """The end of one of the two sources."""

    of_log: bool
    error: Exception | None = None


def followed(
    jobs: Jobs,
    ref: JobRef,
    *,
    options: str,
    timeout_seconds: float | None = None,
    give_up: float | None = None,
    log_to_stderr: bool = False,
) -> Followed:
    """Show a job up to its end; ``options`` are those with which commands find it.

    ``timeout_seconds`` count from now on, or end at ``give_up`` by the monotonic clock.

    Raises
    ------
    DaskJobError
        Its state cannot be read any more; the job continues.
    """
    screen = screen_for(log_to_stderr=log_to_stderr)
    try:
        found = _Follower(jobs, ref, options, screen).run(timeout_seconds, give_up)
    finally:
        screen.close()
    if found.code == _TERMINATED:
        # The parent sees by what it ended.
        signal.raise_signal(signal.SIGTERM)
    return found


class _Detached(BaseException):
    """SIGQUIT came: the user left the job."""


class _Seen:
    """The job as it was last seen, for the view."""

    def __init__(self, ref: JobRef, options: str) -> None:
        self._options = options
        self.job = Job(ref, {})

    def snapshot(self) -> JobSnapshot:
        """Return the current state of the job."""
        job, status = self.job, self.job.status
        workers, progress = status.workers, status.progress
        return JobSnapshot(
            name=job.name,
            status=status,
            desired_workers=workers.desired if workers else desired_workers(job.manifest),
            ready_workers=workers.ready if workers else 0,
            dashboard_url=status.dashboard_url,
            tasks=_tasks(status) if progress else None,
            words=words_for(mapping(metadata(job.manifest).get("annotations"))),
            options=self._options,
            waits_for=status.reason if status.phase in _WAITING else "",
            started_at=status.start_time,
        )


def _tasks(status: JobStatus) -> TaskCounts:
    found = status.progress
    assert found is not None
    return TaskCounts(found.total, found.done, found.processing, erred=found.erred)


class _Terminated(BaseException):
    """SIGTERM: this process ends, as with a lost terminal; the job goes on."""


class _Follower:
    def __init__(
        self, jobs: Jobs, ref: JobRef, options: str, screen: PlainScreen | LiveScreen
    ) -> None:
        self._jobs = jobs
        self._ref = ref
        #: How commands find the job.
        self._where = f"{options} {ref.name}".strip()
        self._screen = screen
        self._seen = _Seen(ref, options)
        self._view = View(self._seen, screen, quiet=False)
        #: Its ``put`` may be called in the handler of a signal.
        self._news: SimpleQueue[LogChunk | Job | _End | str] = SimpleQueue()
        self._room = threading.Semaphore(MOST_CHUNKS)
        self._presses = 0
        self._cancelled = threading.Event()

    def run(self, timeout_seconds: float | None, give_up: float | None) -> Followed:
        if give_up is None and timeout_seconds is not None:
            give_up = time.monotonic() + timeout_seconds
        for source in (self._read_log, self._watch):
            threading.Thread(target=source, daemon=True).start()
        try:
            with self._interrupts():
                ended = self._show(give_up)
        except KeyboardInterrupt:
            return self._left()
        except _Detached:
            self._view.say(f"{self._ref.name} continues: daskjob attach {self._where}")
            return Followed(ExitCode.WAIT_TIMEOUT)
        except _Terminated:
            self._view.say(f"terminated; {self._ref.name} continues: daskjob attach {self._where}")
            return Followed(_TERMINATED)
        if not ended:
            self._view.say(
                f"{self._ref.name} has not ended within {timeout_seconds:g} s; it continues: "
                f"daskjob attach {self._where}"
            )
            return Followed(ExitCode.WAIT_TIMEOUT)
        self._view.end()
        job = self._seen.job
        return Followed(exit_code(job.status), job)

    def _left(self) -> Followed:
        name = self._ref.name
        if self._cancelled.is_set():
            self._view.say(f"{name} is being cancelled: daskjob status {self._where}")
        else:
            self._view.say(f"{name} may continue; cancel it: daskjob cancel {self._where}")
        return Followed(ExitCode.CANCELLED)

    # What comes in

    def _show(self, give_up: float | None) -> bool:
        """Show everything up to the end of the job; return whether it has ended in time."""
        has_log = True
        last_lines: float | None = None
        while last_lines is None or (has_log and time.monotonic() < last_lines):
            if last_lines is None and give_up is not None and time.monotonic() >= give_up:
                return False
            match self._next(give_up):
                case LogChunk(data=data):
                    self._screen.write(data)
                    self._room.release()
                case Job() as job:
                    self._seen.job = job
                case _End(of_log=True, error=error):
                    has_log = False
                    if error is not None:
                        self._view.say(f"the log cannot be read any more: {error}")
                case _End(error=error):
                    if error is not None:
                        raise error
                    last_lines = time.monotonic() + LAST_LINES_SECONDS
                case str() as text:
                    self._view.say(text)
            if last_lines is None:
                self._view.update()
        return True

    def _next(self, give_up: float | None) -> LogChunk | Job | _End | str | None:
        left = TICK_SECONDS if give_up is None else give_up - time.monotonic()
        try:
            return self._news.get(timeout=min(max(left, 0.01), TICK_SECONDS))
        except Empty:
            return None

    def _read_log(self) -> None:
        error: Exception | None = None
        try:
            for chunk in self._jobs.logs(self._ref, follow=True):
                self._room.acquire()
                self._news.put(chunk)
        except Exception as found:
            error = found
        except BaseException:
            # Calls are cancelled when the process ends before the job.
            return
        self._news.put(_End(of_log=True, error=error))

    def _watch(self) -> None:
        error: Exception | None = None
        try:
            for job in states(self._jobs, self._ref):
                self._news.put(job)
        except Exception as found:
            error = found
        except BaseException:
            # Calls are cancelled when the process ends before the job.
            return
        self._news.put(_End(of_log=False, error=error))

    # Ctrl-C, Ctrl-\

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Cancel the job at the first SIGINT, leave at the second; leave it alone at other signals.

        SIGQUIT leaves it, and SIGTERM ends this process. A signal that is ignored here stays so.
        """
        handlers = {
            signal.SIGINT: self._interrupted,
            signal.SIGQUIT: self._detached,
            signal.SIGTERM: self._terminated,
        }
        before = {number: signal.getsignal(number) for number in handlers}
        handled = [number for number in handlers if before[number] is not signal.SIG_IGN]
        for number in handled:
            signal.signal(number, handlers[number])
        try:
            yield
        finally:
            for number in handled:
                signal.signal(number, before[number])

    def _detached(self, number: int, frame: object) -> None:
        del number, frame
        raise _Detached

    def _terminated(self, number: int, frame: object) -> None:
        del number, frame
        raise _Terminated

    def _interrupted(self, number: int, frame: object) -> None:
        del number, frame
        self._presses += 1
        if self._presses > 1:
            raise KeyboardInterrupt
        self._news.put("Ctrl-C: cancelling the job; a second one leaves without waiting for it")
        # In a thread: the handler may have interrupted a write that waits for its reader.
        threading.Thread(target=self._cancel, daemon=True).start()

    def _cancel(self) -> None:
        try:
            self._jobs.cancel(self._ref)
            self._cancelled.set()
        except DaskJobError as error:
            self._news.put(f"{self._ref.name} could not be cancelled: {error}")
