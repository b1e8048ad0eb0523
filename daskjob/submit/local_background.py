"""Runs a job of this machine in the background: in a process that outlives the caller's.

The process is that of ``daskjob run``. A submission looks for the job and starts it while no other
submission does, so that a token is run once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from daskjob.backends.local.known_runs import folders_of
from daskjob.backends.local.own_files import own_file
from daskjob.backends.local.run_folder import RunFolder
from daskjob.core.errors import DaskJobError, NotFound
from daskjob.core.manifests import Manifest
from daskjob.submit.local_records import RunRecord
from daskjob.submit.submission import Submission, after_look

#: How often to look for the folder of a run that was started.
LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A run with all that the command line, the folder and the environment usually give."""

    manifest: Manifest
    folder: str
    variables: Mapping[str, str]
    python: str
    dask_python: str
    #: The files that it is made from.
    script: str = ""
    file: str = ""

    @classmethod
    def of(cls, manifest: Manifest, record: RunRecord, variables: Mapping[str, str]) -> PreparedRun:
        """Return a run of a manifest, as another one was run."""
        return cls(
            manifest,
            record.folder,
            variables,
            record.python,
            record.dask_python,
            record.script,
            record.file,
        )

    @classmethod
    def read(cls, path: Path) -> PreparedRun:
        """Return what ``background_run`` has written for its process, and remove the file.

        It may have values of variables that no file keeps.
        """
        found = json.loads(path.read_text())
        path.unlink()
        return cls(**found)


class NotStarted(DaskJobError):
    """The job did not start on this machine; the message is that of ``daskjob run``."""


def background_run(
    root: Path,
    wanted: Submission,
    owned: Sequence[Manifest] = (),
    *,
    prepared: PreparedRun | None = None,
) -> tuple[RunFolder, bool]:
    """Start the run of a submission, or find it; return its folder and whether it existed.

    ``owned`` are the ConfigMaps and Secrets that the job refers to. Without a prepared run, it runs
    in this folder and environment.

    Raises
    ------
    Conflict
        The name belongs to another job that is running, or the token to another spec.
    NotStarted
        This machine cannot run it.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _one_at_a_time(root):
        known = _known(root, wanted)
        if known:
            return known, True
        return _started(root, wanted, owned, prepared), False


@contextlib.contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    # Not the lock with which a run takes its name: the run that is started here needs that.
    with own_file(root / ".submit-lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _known(root: Path, wanted: Submission) -> RunFolder | None:
    """Return the run of this submission.

    On this machine, a name may be used again after the end of its job: an ended one with another
    token is none of ours.
    """
    for folder in folders_of(root, wanted.name):
        with contextlib.suppress(NotFound):
            job = folder.job()
            if folder.is_live() or _token(job) == wanted.token:
                after_look(job, wanted)
                return folder
    return None


def _started(
    root: Path, wanted: Submission, owned: Sequence[Manifest], prepared: PreparedRun | None
) -> RunFolder:
    known = {folder.path for folder in folders_of(root, wanted.name)}
    with tempfile.TemporaryDirectory(prefix="daskjob-") as name:
        path, messages = Path(name, "job.yaml"), Path(name, "messages")
        # Secrets too: the folder is this user's, and gone once the run has started.
        documents = [asdict(prepared)] if prepared else [wanted.manifest, *owned]
        path.write_text("\n---\n".join(map(json.dumps, documents)))
        options = ["--prepared"] if prepared else []
        with messages.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "daskjob", "run", "--quiet", *options, str(path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, "DASKJOB_STATE_DIR": str(root)},
                start_new_session=True,
            )
        # Otherwise it would stay a zombie after its end while this process runs.
        threading.Thread(target=process.wait, name="daskjob-run", daemon=True).start()
        while True:
            ended = process.poll() is not None
            for folder in folders_of(root, wanted.name):
                if folder.path not in known:
                    return folder
            if ended:
                raise NotStarted(_message(messages.read_text(errors="replace")))
            time.sleep(LOOK_SECONDS)


def _token(job: Manifest) -> str:
    return str((job.get("spec") or {}).get("submissionID") or "")


def _message(text: str) -> str:
    lines = [line.removeprefix("daskjob: ") for line in text.splitlines() if line.strip()]
    return "\n".join(lines) or "daskjob run ended without a message"
