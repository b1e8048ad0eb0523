"""The folder of one run: the records of its job, for later commands.

A run's folder holds the job with its status, its events, its logs and its full report. The process
that runs the job holds the folder's lock: a job that is "running" in an unlocked folder was killed,
and the first process that reads it writes its final status.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from daskjob.backends.local.full_disk import NO_SPACE
from daskjob.backends.local.killed_run import killed
from daskjob.backends.local.own_files import is_own_folder, own_file
from daskjob.backends.local.scratch_mark import is_scratch
from daskjob.backends.local.state_root import check_root
from daskjob.core.errors import NotFound
from daskjob.core.manifests import Manifest, metadata
from daskjob.core.status import Progress, job_status_from

#: Space that a run reserves beside its spec's, to write how it ended when the disk is full.
RESERVED_BYTES = 24 * 1024


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @property
    def name(self) -> str:
        """The job's name."""
        return self.path.name.rpartition(".")[0]

    @property
    def logs(self) -> Path:
        """The folder of the pods' logs."""
        return self.path / "logs"

    @property
    def report_file(self) -> Path:
        """The agent's report of the last attempt, in full."""
        return self.path / "report.json"

    @property
    def history_file(self) -> Path:
        """What the workers did over time."""
        return self.path / "history.jsonl"

    @property
    def arrivals(self) -> Path:
        """When the lines of the workers' logs were written."""
        return self.logs / "arrivals"

    @property
    def cancel_file(self) -> Path:
        """If it exists, the process that runs the job cancels it."""
        return self.path / "cancel"

    @property
    def acknowledgement(self) -> str:
        """When an orchestrator's task took the job's end; empty: not yet."""
        try:
            return self._acknowledgement_file.read_text()
        except OSError:
            return ""

    @property
    def _acknowledgement_file(self) -> Path:
        return self.path / "acknowledged"

    def acknowledge(self, time: str) -> None:
        """Record that the job's end was taken; a repetition keeps the first time.

        Apart from the job's file, which the process that runs the job writes.

        Raises
        ------
        OSError
            The disk is full, or the folder is gone.
        """
        if self.acknowledgement:
            return
        temporary = self.path / f".acknowledged.{os.getpid()}.new"
        temporary.write_text(time)
        temporary.replace(self._acknowledgement_file)

    def is_ours(self) -> bool:
        """Return whether it is a folder of this user that no other user can write.

        What a folder of a run contains is believed: which files to remove, whom to end.
        """
        try:
            return is_own_folder(self.path)
        except OSError:
            return False

    def remember_scratch(self, scratch: Path) -> None:
        """Record where the run's processes write, for the process that cleans up a killed run.

        Raises
        ------
        OSError
            The disk is full, or the folder is gone.
        """
        self._scratch_note.write_text(str(scratch))

    @property
    def _scratch_note(self) -> Path:
        return self.path / "scratch"

    def remove_scratch(self) -> None:
        """Remove the temporary files of a run that is over.

        A note of any other folder is not believed: what it names is deleted.
        """
        try:
            scratch = Path(self._scratch_note.read_text())
        except OSError:
            return
        if is_scratch(scratch):
            shutil.rmtree(scratch, ignore_errors=True)
        if not (is_scratch(scratch) and scratch.exists()):
            self._scratch_note.unlink(missing_ok=True)

    def log(self, pod: str, container: str = "") -> Path:
        """Return the log of a pod's main container, or of a named one."""
        return self.logs / (f"{pod}.{container}.log" if container else f"{pod}.log")

    def worker_logs(self) -> list[Path]:
        """Return the logs of the workers that have started, in the order of their names."""
        return sorted(path for path in self.logs.glob("*.log") if "-worker-" in path.stem)

    def write_job(self, manifest: Manifest) -> None:
        """Write the job atomically: readers see the old one or the new one.

        Raises
        ------
        OSError
            The disk is full, or the folder is gone.
        """
        try:
            self.write("job.json", manifest)
        except OSError as error:
            if error.errno not in NO_SPACE or not self._write_into_reserve(manifest):
                raise

    def reserve(self, size: int) -> None:
        """Take the space for the job with its final status, which a full disk must not prevent.

        Raises
        ------
        OSError
            The disk is full.
        """
        with self._reserve_file.open("wb") as reserve:
            reserve.write(b" " * size)

    def release_reserve(self) -> None:
        """Give the space back: the final status is written."""
        self._reserve_file.unlink(missing_ok=True)

    @property
    def _reserve_file(self) -> Path:
        return self.path / "reserve"

    def _write_into_reserve(self, manifest: Manifest) -> bool:
        """Write a final status into the reserve and make that the job's file; needs no new space.

        A status that is not final is not worth it: the next one may be, and there is one reserve.
        """
        if not job_status_from(manifest.get("status")).finished:
            return False
        text = json.dumps(manifest).encode()
        try:
            with self._reserve_file.open("r+b") as reserve:
                size = reserve.seek(0, os.SEEK_END)
                if len(text) > size:
                    return False
                reserve.seek(0)
                # Spaces after a JSON value belong to it; cutting the file could fail.
                reserve.write(text.ljust(size))
            self._reserve_file.replace(self.path / "job.json")
        except OSError:
            return False
        # In the space of the file that was replaced; another status may follow.
        with suppress(OSError):
            self.reserve(size)
        return True

    def write(self, name: str, content: object) -> None:
        """Write a JSON file atomically: readers see the old one or the new one.

        Raises
        ------
        OSError
            The disk is full, or the folder is gone.
        """
        temporary = self.path / f".{name}.new"
        try:
            temporary.write_text(json.dumps(content, indent=1))
            temporary.replace(self.path / name)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise

    def job(self) -> Manifest:
        """Return the job as last written; if its run was killed, with its final status.

        The first reader also ends what is left of a killed run: processes, temporary files.

        Raises
        ------
        NotFound
            The folder holds no readable job.
        """
        manifest = self.read_job()
        if self._is_settled(manifest) or self.is_live():
            return manifest
        # It may have ended and been unlocked since it was read.
        manifest = self.read_job()
        if self._is_settled(manifest):
            return manifest
        status = job_status_from(manifest.get("status"))
        if not status.finished:
            manifest["status"] = killed(status, self._last_sign(datetime.now(UTC))).to_manifest()
        try:
            with self.held():
                self._sweep(manifest)
                self.write_job(manifest)
                self.release_reserve()
                self.remove_scratch()
        except (OSError, BlockingIOError):
            # Returned all the same; a process that can write will save it.
            return manifest
        return manifest

    def show_life(self) -> None:
        """Record that the process that runs the job is alive, in case it is killed."""
        with suppress(OSError):
            os.utime(self.path / "job.json")

    def _last_sign(self, now: datetime) -> datetime:
        """Return when the run last wrote to its folder: about when it was killed."""
        files = (self.path / "job.json", self.path / "progress.json", *self.logs.glob("*"))
        times = []
        for file in files:
            with suppress(OSError):
                times.append(file.stat().st_mtime)
        return min(now, datetime.fromtimestamp(max(times), UTC)) if times else now

    def _is_settled(self, manifest: Manifest) -> bool:
        """Return whether nothing of the run is left: it removes its temporary files last."""
        finished = job_status_from(manifest.get("status")).finished
        return finished and not self._scratch_note.exists()

    def _sweep(self, manifest: Manifest) -> None:
        """Kill the processes of a killed run: none, unless its supervisor was killed with it."""
        # Imported here, so that other commands do not load psutil and asyncio.
        from daskjob.backends.local.processes import sweep

        uid = str(metadata(manifest).get("uid", ""))
        if uid:
            sweep(run_marker(uid))

    def read_job(self) -> Manifest:
        """Return the job as last written, even if its run was killed.

        Raises
        ------
        NotFound
            The folder holds no readable job.
        """
        try:
            manifest = json_object((self.path / "job.json").read_bytes())
        except OSError as error:
            raise NotFound(f"{self.path} holds no readable job: {error}") from error
        if manifest is None:
            raise NotFound(f"{self.path} holds no readable job")
        return manifest

    def is_live(self) -> bool:
        """Return whether a process is running the job."""
        try:
            with self.held():
                return False
        except BlockingIOError:
            return True
        except OSError:
            return False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder's lock; it is released when the process ends, however it ends.

        Raises
        ------
        BlockingIOError
            Another process holds it.
        """
        with own_file(self.path / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield

    def write_progress(self, attempt: int, progress: Progress) -> None:
        """Write the counts of tasks, apart from the status: they change every second.

        Raises
        ------
        OSError
            The disk is full, or the folder is gone.
        """
        self.write("progress.json", {"attempt": attempt, **progress.to_manifest()})

    def progress(self, attempt: int) -> Manifest | None:
        """Return the counts of tasks of this attempt; ``None`` if they are of another one."""
        try:
            found = json_object((self.path / "progress.json").read_bytes())
        except OSError:
            return None
        if found is None or found.pop("attempt", None) != attempt:
            return None
        return found

    def append_event(self, event: Manifest) -> None:
        """Append an event of the job.

        Raises
        ------
        OSError
            The disk is full, or the folder is gone.
        """
        path = self.path / "events.jsonl"
        with path.open("ab") as events:
            if events.tell() and not _ends_line(path):
                # Half a line, from when the disk was full, must not spoil this one.
                events.write(b"\n")
            events.write(json.dumps(event).encode() + b"\n")

    def events(self) -> list[Manifest]:
        """Return the job's events, oldest first, without lines that were not written whole."""
        try:
            lines = (self.path / "events.jsonl").read_bytes().splitlines()
        except OSError:
            return []
        return [event for line in lines if (event := json_object(line)) is not None]

    def report(self) -> Manifest | None:
        """Return the full report, or ``None`` where there is none."""
        try:
            return json_object(self.report_file.read_bytes())
        except OSError:
            return None

    def ask_to_cancel(self, by: str) -> None:
        """Ask the process that runs the job to cancel it; ``by`` is what asks, for its message.

        Raises
        ------
        OSError
            The folder cannot be written.
        """
        written = self.cancel_file.with_suffix(f".{os.getpid()}")
        written.write_text(by)
        written.replace(self.cancel_file)

    def cancelled_by(self) -> str | None:
        """Return what asks to cancel the job; ``None``: nothing does."""
        try:
            return self.cancel_file.read_text(errors="replace")
        except FileNotFoundError:
            return None

    def remove(self) -> None:
        """Remove the folder and all its content, and what is left of a killed run.

        The folder has the only marker by which the processes of that run are found.
        """
        with suppress(NotFound):
            self.job()
        self.remove_scratch()
        shutil.rmtree(self.path, ignore_errors=True)


def json_object(text: bytes) -> Manifest | None:
    """Return a JSON object of a file; ``None`` for anything else: the disk may have been full."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def run_marker(uid: str) -> str:
    """Return the marker in the environment of the processes of a job's run."""
    return f"daskjob-{uid}"


def new_folder(root: Path, name: str, uid: str, *, size: int = 0) -> RunFolder:
    """Create the folder of a new run, readable by its owner only.

    ``size`` is that of the job's manifest: space for it is reserved.

    Raises
    ------
    OSError
        The state directory cannot be written, or other users can write it.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_root(root)
    path = root / f"{name}.{uid[:8]}"
    path.mkdir(mode=0o700)
    folder = RunFolder(path)
    try:
        if not folder.is_ours():
            # On some network drives every file belongs to one user.
            raise PermissionError(errno.EPERM, "what is created there belongs to another user")
        folder.logs.mkdir()
        folder.reserve(size + RESERVED_BYTES)
    except OSError:
        shutil.rmtree(path, ignore_errors=True)
        raise
    return folder
