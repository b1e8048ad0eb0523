"""The jobs of this machine, read from the folders of their runs; cheap to import."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from daskjob.backends.local.history import read_history
from daskjob.backends.local.known_runs import find_folder, folders
from daskjob.backends.local.run_folder import RunFolder
from daskjob.backends.local.state_root import state_root
from daskjob.core.errors import NotFound, Timeout
from daskjob.core.explain import Explanation, explain
from daskjob.core.manifests import Manifest, format_time, mapping, metadata, parse_time
from daskjob.core.names import ANNOTATION_ACKNOWLEDGED
from daskjob.core.reasons import Reason
from daskjob.core.status import job_status_from
from daskjob.submit.jobs import (
    Job,
    JobEvent,
    JobRef,
    LogChunk,
    Place,
    PodImage,
    StillRunning,
)
from daskjob.submit.local_background import background_run
from daskjob.submit.local_changes import scale, suspend
from daskjob.submit.local_logs import Begin, followed, printed, tail_of, wanted_log, wanted_worker
from daskjob.submit.outcome import failure_of
from daskjob.submit.script import Backoff, ScriptOptions, script_job
from daskjob.submit.submission import submission
from daskjob.submit.worker_logs import merged

if TYPE_CHECKING:
    from daskjob.submit.local_again import EarlierRun

logger = logging.getLogger("daskjob")

#: How often to check whether a job has ended, in seconds.
POLL_SECONDS = 0.2
#: How long a job may take to end when it is deleted with ``force``.
DELETE_SECONDS = 60.0
#: Number of hex digits of a job's uid in the name of its folder.
UID_DIGITS = 8

_NAME = "this machine"

NEXT_STEPS: Mapping[str, str] = {
    Reason.EXIT_CODE: "Read the end of the log: daskjob logs {name}.",
    Reason.SCHEDULER_FAILED: "Read the scheduler's log: daskjob logs {name} --component scheduler.",
    Reason.WORKERS_FAILED: "Read the workers' logs: daskjob logs {name} --workers.",
    Reason.DEADLINE_EXCEEDED: "Raise activeDeadlineSeconds (--timeout), or find out what is slow.",
}

#: The ``progress`` of a spec that wants none reported.
_NO_PROGRESS: Manifest = {"intervalSeconds": 0}

#: No other job is queued for this machine, so a retry need not wait long.
_BACKOFF = Backoff(initial_seconds=1, max_seconds=60)


class GoneHere(NotFound):
    """A job of this machine whose folder was removed; its record is there."""


class LocalJobs:
    """The jobs of one state directory, by default the user's.

    ``command`` is the command of daskjob that asks; empty: a program does.
    """

    def __init__(self, root: Path | None = None, *, command: str = "") -> None:
        self._root = state_root() if root is None else root
        self._command = command

    @property
    def place(self) -> Place:
        """The machine that this process runs on."""
        return Place(
            name=_NAME,
            empty=f"No job has run here yet ({self._root}).",
            next_steps=NEXT_STEPS,
        )

    def __enter__(self) -> LocalJobs:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: nothing is open between two calls."""

    # Submitting

    def submit(
        self, job: Manifest, *, token: str | None = None, owned: Sequence[Manifest] = ()
    ) -> JobRef:
        """Run a DaskJob in the background, exactly once for each token; return a reference to it.

        It runs in the current folder and environment, and goes on after this process. ``owned`` are
        the Secrets and ConfigMaps that it refers to: its processes get them; no file keeps them.

        Raises
        ------
        Invalid
            With every mistake of the manifest.
        NotStarted
            This machine cannot run it.
        Conflict
            The name, or the token, belongs to a job with another spec.
        """
        # Nothing else needs it.
        from daskjob.submit.comparison.submitted import differences_from, note_on

        wanted = submission(
            job, namespace=str(metadata(job).get("namespace") or "default"), token=token
        )
        folder, existed = background_run(self._root, wanted, owned)
        job = folder.job()
        differences = differences_from(job, wanted.manifest)
        if differences:
            logger.warning(note_on(str(metadata(job)["name"]), differences))
        return replace(_ref(folder, job), existed=existed, differences=differences)

    def create_owned(self, ref: JobRef, owned: Sequence[Manifest]) -> None:
        """Do nothing: a run has what it owns from its start."""

    # Finding jobs

    def list(self, *, labels: str = "", namespace: str = "") -> tuple[Job, ...]:
        """Return all jobs, newest first; ``labels`` is such as ``team=blue,stage=test``."""
        del namespace  # there is none on this machine
        wanted = [label.strip().split("=", 1) for label in labels.split(",") if label.strip()]
        found = []
        for folder in folders(self._root):
            # Another process may delete it in the meantime.
            with suppress(NotFound):
                job = _job(folder)
                has = mapping(metadata(job.manifest).get("labels"))
                if all(has.get(key) == value for key, value in wanted):
                    found.append(job)
        return tuple(found)

    def names(self) -> tuple[str, ...]:
        """Return the names of all jobs without duplicates, newest first."""
        return tuple(dict.fromkeys(folder.name for folder in folders(self._root)))

    def find(self, name: str = "", *, exact: bool = False) -> Job:
        """Return the newest job of this name, script name, or of all; or the job of a folder."""
        try:
            return _job(find_folder(self._root, name, exact=exact))
        except NotFound:
            from daskjob.submit.local_records import RunRecords

            if name and RunRecords(self._root).of(name):
                raise GoneHere(
                    f"{name} is gone from this machine; daskjob retry {name} runs it again, from "
                    "its record"
                ) from None
            raise

    def get(self, ref: JobRef) -> Job:
        """Return the current state of the job."""
        return _job(self._folder(ref))

    def is_live(self, ref: JobRef) -> bool:
        """Return whether a process runs the job."""
        return self._folder(ref).is_live()

    def wait(
        self,
        ref: JobRef,
        *,
        timeout_seconds: float | None = None,
        raise_on_failure: bool = True,
    ) -> Job:
        """Wait until the run and all its processes have ended; return the job."""
        folder = self._folder(ref)
        if not _ended(folder, timeout_seconds):
            raise Timeout(f"{ref.name} has not ended within {timeout_seconds} s")
        job = self.get(ref)
        if raise_on_failure and not job.status.succeeded:
            raise failure_of(job.status, tail_of(folder.log(job.status.job_runner_pod_name)))
        return job

    def watch(self, ref: JobRef) -> Iterator[Job]:
        """Yield the current state of the job, then each change, up to its end."""
        before: Job | None = None
        while True:
            # Before the state: what was written until the end is read.
            ended = not self._folder(ref).is_live()
            job = self.get(ref)
            if job != before:
                yield job
            if ended or job.status.finished:
                return
            before = job
            time.sleep(POLL_SECONDS)

    # Asking about a job

    def logs(
        self,
        ref: JobRef,
        *,
        attempt: int | None = None,
        pod: str = "",
        worker: str = "",
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
    ) -> Iterator[LogChunk]:
        """Return the log of one pod, or follow the runners of all attempts."""
        folder = self._folder(ref)
        begin = Begin(tail, since)
        if worker:
            path = wanted_worker(folder, attempt, worker)
            return printed(folder, path, follow=follow, begin=begin)
        if follow and pod in ("", "runner") and attempt is None:
            return followed(folder, begin)
        if pod == "worker":
            return merged(folder, follow=follow, tail=tail, attempt=attempt, since=since)
        path = wanted_log(folder, attempt, pod)
        return printed(folder, path, follow=follow, begin=begin)

    def events(self, ref: JobRef) -> tuple[JobEvent, ...]:
        """Return the job's events, oldest first."""
        return tuple(_event(event) for event in self._folder(ref).events())

    def why(self, ref: JobRef) -> Explanation:
        """Explain the job's state, with the end of its runner's log as evidence."""
        folder = self._folder(ref)
        job = _job(folder).manifest
        status = job_status_from(job.get("status"))
        tail = tail_of(folder.log(status.job_runner_pod_name))
        found = explain(job, log_tail=tail, next_steps=NEXT_STEPS)
        if status.suspended and not status.finished:
            step = "It continues, with a new attempt, after:"
            return replace(found, next_step=step, command=f"daskjob resume {folder.name}")
        return found

    def report(self, ref: JobRef) -> Manifest | None:
        """Return the full report, or the short one of the status, with the run's history."""
        folder = self._folder(ref)
        report = folder.report() or _job(folder).status.report
        history = read_history(folder.history_file)
        return {**(report or {}), "history": history} if history else report

    def images(self, ref: JobRef) -> tuple[PodImage, ...]:
        """Return nothing: processes of this machine have no images."""
        self._folder(ref)
        return ()

    def result(self, ref: JobRef) -> object:
        """Return the result that the script wrote."""
        return self.get(ref).status.result

    # Changing a job

    def cancel(self, ref: JobRef) -> bool:
        """Ask the process that runs the job to cancel it."""
        folder = self._folder(ref)
        if not folder.is_live():
            return False
        folder.ask_to_cancel(self._canceller(ref.name))
        return True

    def _canceller(self, name: str) -> str:
        """Return what cancels a job, for its message."""
        if not self._command:
            return "JobClient"
        key = "Ctrl-C in " if self._command == "attach" else ""
        return f"{key}daskjob {self._command} {name}"

    def acknowledge(self, ref: JobRef) -> None:
        """Record that the job's end was taken, as an annotation on a cluster."""
        self._folder(ref).acknowledge(str(format_time(datetime.now(UTC))))

    def delete(self, ref: JobRef, *, force: bool = False) -> None:
        """Remove the folder of a job that has ended."""
        folder = self._folder(ref)
        if folder.is_live() and force:
            folder.ask_to_cancel(self._canceller(ref.name))
            _ended(folder, DELETE_SECONDS)
        if folder.is_live():
            raise StillRunning(f"{ref.name} is still running")
        uid = folder.path.name.rpartition(".")[2]
        folder.remove()
        from daskjob.submit.local_records import RunRecords

        RunRecords(self._root).remove(folder.name, uid)

    def suspend(self, ref: JobRef) -> None:
        """Stop the job's processes until it is resumed; its next attempt is not counted.

        Raises
        ------
        Conflict
            The job has ended, or its script cannot be read again.
        """
        suspend(self._folder(ref), wanted=True)

    def resume(self, ref: JobRef) -> None:
        """Resume a suspended job, with a new attempt.

        Raises
        ------
        Conflict
            The job has ended.
        """
        suspend(self._folder(ref), wanted=False)

    def retry(self, ref: JobRef) -> JobRef:
        """Run an ended job again in the background, as it was run; return the new job.

        Also one whose folder is gone, from its record. Until the new job ends, it is found again.

        Raises
        ------
        Conflict
            The job has not ended.
        Incomplete
            Its script or its folder is gone, or a secret value, which no record has.
        """
        new, notes = self.run_again(self.earlier_run(ref.name, ref.uid))
        for note in notes:
            logger.warning(note)
        return new

    def run_again(
        self, earlier: EarlierRun, *, token: str | None = None
    ) -> tuple[JobRef, tuple[str, ...]]:
        """Run an ended job again, as ``retry``; also return notes on what has changed since."""
        # Nothing else needs it.
        from daskjob.submit.local_again import run_again

        found = run_again(self._root, earlier, token=token)
        new = _ref(found.folder, found.folder.job())
        return replace(new, existed=found.existed), found.notes

    def earlier_run(self, name: str = "", uid: str = "") -> EarlierRun:
        """Return a job that a new one can be made from, also one whose folder is gone."""
        from daskjob.submit.local_again import earlier_run

        return earlier_run(self._root, name, uid=uid)

    def scale(self, ref: JobRef, workers: int) -> None:
        """Set the number of workers of the job's default group; data of those that go is moved.

        Raises
        ------
        Conflict
            The job has ended, or its workers are scaled automatically.
        """
        scale(self._folder(ref), workers)

    def _folder(self, ref: JobRef) -> RunFolder:
        if not ref.uid:
            return find_folder(self._root, ref.name, exact=True)
        for uid in (ref.uid[:UID_DIGITS], ref.uid):
            folder = RunFolder(self._root / f"{ref.name}.{uid}")
            if folder.is_ours():
                return folder
        raise NotFound(f"the job {ref.name} was deleted from this machine")


def _job(folder: RunFolder) -> Job:
    manifest = _with_acknowledgement(folder, _with_progress(folder, folder.job()))
    return Job(_ref(folder, manifest), manifest, details=(("Folder", str(folder.path)),))


def _with_acknowledgement(folder: RunFolder, manifest: Manifest) -> Manifest:
    time = folder.acknowledgement
    if not time:
        return manifest
    meta = metadata(manifest)
    annotations = {**mapping(meta.get("annotations")), ANNOTATION_ACKNOWLEDGED: time}
    return {**manifest, "metadata": {**meta, "annotations": annotations}}


def _with_progress(folder: RunFolder, manifest: Manifest) -> Manifest:
    """Return the manifest of a running job with the counts of its tasks as of the last second.

    A scheduler that was shut down and started again counts from 0; the status has its last counts.
    """
    status = job_status_from(manifest.get("status"))
    if status.finished or status.scheduler_was_shut_down:
        return manifest
    progress = folder.progress(status.attempt)
    if progress is None or mapping(mapping(manifest.get("spec")).get("progress")) == _NO_PROGRESS:
        return manifest
    return {**manifest, "status": {**mapping(manifest.get("status")), "progress": progress}}


def _ref(folder: RunFolder, manifest: Manifest) -> JobRef:
    """Return the reference with which the folder can be found again.

    A folder that was copied by hand has the uid of another one; then the folder's suffix counts.
    """
    meta = metadata(manifest)
    uid, suffix = str(meta.get("uid", "")), folder.path.name.rpartition(".")[2]
    known = uid[:UID_DIGITS] == suffix
    return JobRef(folder.name, str(meta.get("namespace") or "default"), uid if known else suffix)


def _event(raw: Manifest) -> JobEvent:
    return JobEvent(
        time=parse_time(raw.get("time")),
        type=str(raw.get("type", "")),
        reason=str(raw.get("reason", "")),
        message=str(raw.get("message", "")),
    )


def _ended(folder: RunFolder, timeout_seconds: float | None) -> bool:
    """Wait for the run to end; return whether it ended in time."""
    give_up = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    while folder.is_live():
        if give_up is not None and time.monotonic() >= give_up:
            return False
        time.sleep(POLL_SECONDS)
    return True


def local_script_job(command: Sequence[str], options: ScriptOptions, label: str) -> Manifest:
    """Return the DaskJob of a script with the defaults of a run in the foreground.

    Retries start after a second, and without ``retries`` any failure ends the job, even a lost
    scheduler: nothing is retried behind the user's back.
    """
    if options.retries:
        return script_job(command, replace(options, backoff=_BACKOFF), label)
    return script_job(command, replace(options, max_ignored=0), label)
