"""The records of the jobs of this machine: one folder each, for later commands.

A run's folder holds the job with its status, its events, its logs and its full report. The process
that runs the job holds the folder's lock: a job that is "running" in an unlocked folder was killed,
and the first process that reads it writes its final status.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from daskjob.core.errors import NotFound
from daskjob.core.manifests import Manifest, metadata, parse_time, whole_seconds
from daskjob.core.names import generated_prefix
from daskjob.core.reasons import Reason
from daskjob.core.status import (
    ConditionType,
    JobStatus,
    JobStatusWord,
    derived_phase,
    job_status_from,
)

#: Prefix of the names of folders in the system's temporary folder.
SCRATCH_PREFIX = "daskjob-"
#: A file that marks such a folder elsewhere: it may be deleted.
SCRATCH_MARK = ".daskjob-scratch"


def state_root() -> Path:
    """Return the folder of all jobs: ``$DASKJOB_STATE_DIR``, else the user's state directory."""
    own = os.environ.get("DASKJOB_STATE_DIR")
    if own:
        return Path(own)
    base = os.environ.get("XDG_STATE_HOME")
    try:
        home = Path(base) if base else Path.home() / ".local" / "state"
    except RuntimeError:
        home = _temporary_home()
    return home / "daskjob" / "jobs"


@cache
def _temporary_home() -> Path:
    """Return a folder for a user without a home directory: one that nobody else can write.

    Its usual name is known to all users of the machine. If another one has taken it, the jobs of
    this process are in a new folder, where later commands do not find them.
    """
    path = Path(tempfile.gettempdir()) / f"daskjob-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        facts = path.lstat()
        ours = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid()
        if ours and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            path.chmod(0o700)
            return path
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix=f"{SCRATCH_PREFIX}state-"))


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
    def cancel_file(self) -> Path:
        """If it exists, the process that runs the job cancels it."""
        return self.path / "cancel"

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
        if _is_scratch(scratch):
            shutil.rmtree(scratch, ignore_errors=True)
        if not (_is_scratch(scratch) and scratch.exists()):
            self._scratch_note.unlink(missing_ok=True)

    def log(self, pod: str, container: str = "") -> Path:
        """Return the log of a pod's main container, or of a named one."""
        return self.logs / (f"{pod}.{container}.log" if container else f"{pod}.log")

    def write_job(self, manifest: Manifest) -> None:
        """Write the job atomically: readers see the old one or the new one.

        Raises
        ------
        OSError
            The disk is full, or the folder is gone.
        """
        self.write("job.json", manifest)

    def write(self, name: str, content: object) -> None:
        """Write a JSON file atomically: readers see the old one or the new one.

        Raises
        ------
        OSError
            The disk is full, or the folder is gone.
        """
        temporary = self.path / f".{name}.new"
        temporary.write_text(json.dumps(content, indent=1))
        temporary.replace(self.path / name)

    def job(self) -> Manifest:
        """Return the job as last written; if its run was killed, with its final status.

        The first reader also ends what is left of a killed run: processes, temporary files.

        Raises
        ------
        NotFound
            The folder holds no readable job.
        """
        manifest = self._read_job()
        if self._is_settled(manifest) or self.is_live():
            return manifest
        # It may have ended and been unlocked since it was read.
        manifest = self._read_job()
        if self._is_settled(manifest):
            return manifest
        status = job_status_from(manifest.get("status"))
        if not status.finished:
            manifest["status"] = killed(status, datetime.now(UTC)).to_manifest()
        try:
            with self.held():
                self._sweep(manifest)
                self.write_job(manifest)
                self.remove_scratch()
        except (OSError, BlockingIOError):
            # Returned all the same; a process that can write will save it.
            return manifest
        return manifest

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

    def _read_job(self) -> Manifest:
        try:
            manifest = _object((self.path / "job.json").read_bytes())
        except OSError as error:
            raise NotFound(f"{self.path} holds no readable job: {error}") from error
        if manifest is None:
            raise NotFound(f"{self.path} holds no readable job")
        return manifest

    @property
    def generated_from(self) -> str:
        """The job's generateName; empty where the user gave the name."""
        try:
            return str(metadata(self._read_job()).get("generateName") or "")
        except NotFound:
            return ""

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
        with (self.path / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield

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
        return [event for line in lines if (event := _object(line)) is not None]

    def report(self) -> Manifest | None:
        """Return the full report, or ``None`` where there is none."""
        try:
            return _object(self.report_file.read_bytes())
        except OSError:
            return None

    def ask_to_cancel(self) -> None:
        """Ask the process that runs the job to cancel it.

        Raises
        ------
        OSError
            The folder cannot be written.
        """
        self.cancel_file.touch()

    def remove(self) -> None:
        """Remove the folder and all its content, and what is left of a killed run.

        The folder has the only marker by which the processes of that run are found.
        """
        with suppress(NotFound):
            self.job()
        self.remove_scratch()
        shutil.rmtree(self.path, ignore_errors=True)


def _is_scratch(path: Path) -> bool:
    """Return whether a path is a folder that a run made for its temporary files.

    In a folder that Dask's configuration names, it has a mark.
    """
    marked = path.is_absolute() and (path / SCRATCH_MARK).is_file()
    known = marked or path.parent == Path(tempfile.gettempdir())
    return known and path.name.startswith(SCRATCH_PREFIX) and not path.is_symlink()


def _object(text: bytes) -> Manifest | None:
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


def killed(status: JobStatus, now: datetime) -> JobStatus:
    """Return the status of a job whose ``daskjob run`` was killed before it could write one."""
    now = whole_seconds(now)
    message = (
        "the daskjob process that ran the job was killed; all of the job's processes ended with it."
    )
    ended = replace(
        status,
        job_status=JobStatusWord.FAILED,
        end_time=now,
        start_time=status.start_time or now,
        reason=str(Reason.RUNNER_LOST),
        message=message,
        attempt_start_time=None,
        next_attempt_time=None,
    ).with_condition(
        ConditionType.FAILED, status=True, reason=Reason.RUNNER_LOST, message=message, now=now
    )
    return replace(ended, phase=str(derived_phase(ended)))


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Be the only process that takes a name in the state directory; waits briefly for others.

    Raises
    ------
    OSError
        The state directory cannot be written.
    """
    with (root / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def new_folder(root: Path, name: str, uid: str) -> RunFolder:
    """Create the folder of a new run, readable by its owner only.

    Raises
    ------
    OSError
        The state directory cannot be written.
    """
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"{name}.{uid[:8]}"
    path.mkdir(mode=0o700)
    (path / "logs").mkdir()
    return RunFolder(path)


def folders_of(root: Path, name: str) -> list[RunFolder]:
    """Return the runs of exactly this name, in any order; reads no other run's files."""
    found = [RunFolder(path) for path in root.glob(f"{glob.escape(name)}.*")]
    return [run for run in found if run.name == name and (run.path / "job.json").exists()]


def folders(root: Path) -> list[RunFolder]:
    """Return the readable folders of runs, newest first."""
    if not root.is_dir():
        return []
    found = []
    for path in root.iterdir():
        created = _created(path)
        if created is not None:
            found.append((created, path.name, RunFolder(path)))
    return [folder for _, _, folder in sorted(found, key=lambda item: item[:2], reverse=True)]


def _created(path: Path) -> tuple[float, float] | None:
    """Return when a folder's job was created; ``None`` where the folder holds none.

    A manifest has whole seconds; the time of the lock orders jobs of the same second.
    """
    try:
        manifest = _object((path / "job.json").read_bytes())
    except OSError:
        return None
    if manifest is None:
        return None
    created = parse_time(metadata(manifest).get("creationTimestamp"))
    try:
        locked = (path / "lock").stat().st_mtime
    except OSError:
        locked = 0.0
    return (created.timestamp() if created else 0.0, locked)


def find_folder(root: Path, name: str = "", *, exact: bool = False) -> RunFolder:
    """Return the newest run of a name, or the one whose folder's name begins with it.

    Unless ``exact``, a script's name stands for the newest run whose name was generated from it,
    and no name for the newest run of all.

    Raises
    ------
    NotFound
        There is no such run; the message lists the existing jobs.
    """
    known = folders(root)
    if not name and known and not exact:
        return known[0]
    for folder in known:
        if folder.name == name:
            return folder
    for folder in known:
        if "." in name and folder.path.name.startswith(name):
            return folder
    for folder in known if not exact else ():
        if folder.generated_from == generated_prefix(name.removesuffix(".py")):
            return folder
    names = list(dict.fromkeys(folder.name for folder in known))
    there = f"jobs here: {', '.join(names[:10])}" if names else "no job has run here yet"
    which = f"there is no job {name!r} on this machine; " if name else ""
    raise NotFound(f"{which}{there}")
