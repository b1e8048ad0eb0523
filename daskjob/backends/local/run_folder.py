"""The records of the jobs of this machine: one folder each, for later commands.

A run's folder holds the job with its status, its events, its logs and its full report. The process
that runs the job holds the folder's lock: a job that is "running" in an unlocked folder was killed,
and the first process that reads it writes its final status.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import json
import os
import re
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
from daskjob.core.manifests import (
    Manifest,
    mapping,
    mappings,
    metadata,
    parse_time,
    whole_seconds,
)
from daskjob.core.names import generated_prefix
from daskjob.core.reasons import Reason
from daskjob.core.status import (
    ATTEMPTS_KEPT,
    Attempt,
    ConditionType,
    JobStatus,
    JobStatusWord,
    Progress,
    derived_phase,
    job_status_from,
)

#: Errors of a disk, or a user's share of it, that is full.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
#: Space that a run reserves beside its spec's, to write how it ended when the disk is full.
RESERVED_BYTES = 24 * 1024
#: What a script's name may end with when it refers to a job.
SCRIPT_SUFFIXES = (".py", ".pyw", ".ipynb", ".sh")
#: Prefix of the names of folders in the system's temporary folder.
SCRATCH_PREFIX = "daskjob-"
#: A file that marks such a folder elsewhere: it may be deleted.
SCRATCH_MARK = ".daskjob-scratch"


def state_root() -> Path:
    """Return the folder of all jobs: ``$DASKJOB_STATE_DIR``, else the user's state directory."""
    own = os.environ.get("DASKJOB_STATE_DIR")
    if own:
        return _expanded(Path(own))
    base = os.environ.get("XDG_STATE_HOME", "")
    try:
        # The specification of these variables: relative paths are ignored.
        home = Path(base) if os.path.isabs(base) else _home() / ".local" / "state"
    except RuntimeError:
        home = _temporary_home()
    return home / "daskjob" / "jobs"


def _home() -> Path:
    """Return the user's home directory; where ``$HOME`` is not one, that of the system's records.

    Raises
    ------
    RuntimeError
        The system has none.
    """
    if "HOME" not in os.environ or os.path.isabs(os.environ["HOME"]):
        return Path.home()
    import pwd

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError as error:
        raise RuntimeError("this user has no home directory") from error


def _expanded(path: Path) -> Path:
    """Return a path with the home directory for a leading ``~``, which YAML and cron keep."""
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        return path.absolute()


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
    def arrivals(self) -> Path:
        """When the lines of the workers' logs were written."""
        return self.logs / "arrivals"

    @property
    def cancel_file(self) -> Path:
        """If it exists, the process that runs the job cancels it."""
        return self.path / "cancel"

    def is_ours(self) -> bool:
        """Return whether it is a folder of this user that no other user can write.

        What a folder of a run contains is believed: which files to remove, whom to end.
        """
        try:
            facts = self.path.lstat()
        except OSError:
            return False
        ours = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid()
        return ours and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)

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
        manifest = self._read_job()
        if self._is_settled(manifest) or self.is_live():
            return manifest
        # It may have ended and been unlocked since it was read.
        manifest = self._read_job()
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

    def _read_job(self) -> Manifest:
        try:
            manifest = _object((self.path / "job.json").read_bytes())
        except OSError as error:
            raise NotFound(f"{self.path} holds no readable job: {error}") from error
        if manifest is None:
            raise NotFound(f"{self.path} holds no readable job")
        return manifest

    def ran(self, script: str) -> bool:
        """Return whether this is a run of a script, named by its path, its file or its name."""
        try:
            manifest = self._read_job()
        except NotFound:
            return False
        generated = str(metadata(manifest).get("generateName") or "")
        file = Path(script)
        label = file.stem if file.suffix in SCRIPT_SUFFIXES else file.name
        if generated and generated == generated_prefix(label):
            return True
        # With --name, only the command knows the script.
        ran = script_of(manifest)
        return bool(ran) and script in {ran, Path(ran).name, Path(ran).stem}

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
            found = _object((self.path / "progress.json").read_bytes())
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


def script_of(manifest: Manifest) -> str:
    """Return the script that a job was made from; empty for a job from a manifest."""
    runner = mapping(mapping(mapping(manifest.get("spec")).get("job")).get("spec"))
    containers = mappings(runner.get("containers"))
    command = containers[0].get("command") if containers else None
    words = [str(word) for word in command] if isinstance(command, list) else []
    if words[:1] == ["python"]:
        words = words[1:]
    return words[0].replace("$$", "$") if words and not words[0].startswith("-") else ""


def not_written(what: str, root: Path, error: OSError) -> str:
    """Return the message for what could not be saved: the same for all, if the disk is full."""
    if error.errno in NO_SPACE:
        return (
            f"no space is left in the state folder {root}: the job continues, but its logs and "
            "events are incomplete"
        )
    return f"{what} cannot be written: {error.strerror}"


def run_marker(uid: str) -> str:
    """Return the marker in the environment of the processes of a job's run."""
    return f"daskjob-{uid}"


def killed(status: JobStatus, now: datetime) -> JobStatus:
    """Return the status of a job whose ``daskjob run`` was killed before it could write one.

    ``now`` is the time of its death.
    """
    now = max(whole_seconds(now), status.attempt_start_time or whole_seconds(now))
    message = (
        "the daskjob process that ran the job was killed; all of the job's processes ended with it."
    )
    attempts = status.attempts
    if status.attempt_start_time is not None:
        attempt = Attempt(
            number=status.attempt,
            runner_pod_name=status.job_runner_pod_name,
            start_time=status.attempt_start_time,
            end_time=now,
            exit_code=None,
            reason=str(Reason.RUNNER_LOST),
            message=message,
        )
        attempts = (*attempts, attempt)[-ATTEMPTS_KEPT:]
    ended = replace(
        status,
        attempts=attempts,
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
def own_file(path: Path) -> Iterator[int]:
    """Open a file for locking, and create it if needed; never another user's, and no link.

    Raises
    ------
    OSError
        It cannot be opened, or is not a file of this user.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    descriptor = os.open(path, flags, 0o600)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "not a file of this user", str(path))
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Be the only process that takes a name in the state directory; waits briefly for others.

    Raises
    ------
    OSError
        The state directory cannot be written.
    """
    with own_file(root / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def new_folder(root: Path, name: str, uid: str, *, size: int = 0) -> RunFolder:
    """Create the folder of a new run, readable by its owner only.

    ``size`` is that of the job's manifest: space for it is reserved.

    Raises
    ------
    OSError
        The state directory cannot be written, or other users can write it.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_root(root)
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


def _check_root(root: Path) -> None:
    """Reject a state directory in which another user could replace the folder of a run."""
    facts = root.stat()
    if facts.st_uid not in (os.geteuid(), 0):
        raise PermissionError(errno.EPERM, "it belongs to another user")
    if facts.st_mode & stat.S_IWOTH and not facts.st_mode & stat.S_ISVTX:
        raise PermissionError(errno.EPERM, "every user can rename what is in it: chmod o-w")


def folders_of(root: Path, name: str) -> list[RunFolder]:
    """Return the runs of exactly this name, in any order; reads no other run's files."""
    found = [RunFolder(path) for path in root.glob(f"{glob.escape(name)}.*")]
    return [
        run
        for run in found
        if run.name == name and run.is_ours() and (run.path / "job.json").exists()
    ]


def folders(root: Path) -> list[RunFolder]:
    """Return the readable folders of runs, newest first."""
    if not root.is_dir():
        return []
    found = []
    for path in root.iterdir():
        created = _created(path)
        if created is not None and RunFolder(path).is_ours():
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

    Unless ``exact``, a script's name stands for its newest run, no name for the newest run of all,
    and a name that ``list`` shortened for the job whose name has both ends.

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
    for folder in known if name and not exact else ():
        if folder.ran(name):
            return folder
    names = list(dict.fromkeys(folder.name for folder in known))
    shortened = re.split(r"…|\.\.\.", name)
    if len(shortened) == 2 and not exact:
        head, tail = shortened
        matching = [each for each in names if each.startswith(head) and each.endswith(tail)]
        if len(matching) == 1:
            return find_folder(root, matching[0])
        names = matching or names
    there = f"jobs here: {', '.join(names[:10])}" if names else "no job has run here yet"
    which = f"there is no job {name!r} on this machine; " if name else ""
    raise NotFound(f"{which}{there}")
