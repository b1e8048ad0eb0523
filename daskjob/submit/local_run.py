"""A job that runs on this machine in the foreground: run it, show it, cancel it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from daskjob.backends.local.run import LocalRun, prepare_run
from daskjob.backends.local.state import state_root
from daskjob.core.command_line import python_script, words
from daskjob.core.manifests import Manifest
from daskjob.core.wording import words_for
from daskjob.submit.jobs import JobSnapshot
from daskjob.submit.local_logs import CHUNK_BYTES


class ForegroundJob:
    """A job that lives as long as the process that runs it; created by ``foreground_job``."""

    def __init__(self, run: LocalRun) -> None:
        self._run = run
        self._log = LogTail()

    @property
    def name(self) -> str:
        """The job's name."""
        return self._run.job.meta.name

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know before the job starts, one sentence each."""
        return tuple(self._run.notes)

    def snapshot(self) -> JobSnapshot:
        """Return the current state of the job."""
        seen = self._run.snapshot()
        return JobSnapshot(
            name=self.name,
            status=seen.status,
            desired_workers=seen.desired_workers,
            ready_workers=seen.ready_workers,
            tasks=seen.dask.tasks if seen.dask else None,
            troubles=tuple(self._run.troubles),
            words=words_for(self._run.job.meta.annotations),
            script=self._script(),
        )

    def _script(self) -> str:
        containers = self._run.job.runner.containers
        return python_script(words(containers[0])) if containers else ""

    def log(self) -> bytes:
        """Return what the runners have written since the last call, at most one chunk."""
        path = self._run.snapshot().log
        return b"" if path is None else self._log.read(path)

    def cancel(self, by: str = "") -> None:
        """Cancel the job: its runner gets SIGTERM and its grace period; ``by`` is who did it."""
        self._run.cancel(by)

    def kill(self) -> None:
        """Cancel the job without any grace period."""
        self._run.kill()

    async def run(self) -> Manifest:
        """Run the job to its end and return it with its terminal status.

        Raises
        ------
        ApiError
            This machine cannot provide the ports or processes.
        """
        return await self._run.run()

    def close(self) -> None:
        """Close the log, and keep of this and earlier runs what the limits allow."""
        self._log.close()
        self._run.tidy()


def foreground_job(
    manifest: Manifest, *, variables: Mapping[str, str] | None = None
) -> ForegroundJob:
    """Return the job of a manifest, ready to run in this folder and with this environment.

    ``variables`` are the values of environment variables that the manifest only names: they may
    be secrets, and the manifest is kept on disk.

    Raises
    ------
    Invalid
        The manifest is invalid, or needs something that one machine can never provide.
    Conflict
        A job of this name is running on this machine.
    """
    root, cwd = state_root(), Path.cwd()
    run = prepare_run(
        manifest, root=root, cwd=cwd, environment=os.environ, variables=variables or {}
    )
    return ForegroundJob(run)


class LogTail:
    """The bytes appended to the logs of a job, attempt after attempt."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: BinaryIO | None = None

    def read(self, path: Path) -> bytes:
        """Return what was appended since the last call, at most one chunk."""
        if path != self._path:
            if rest := self._chunk():
                # The previous log comes first, to its end.
                return rest
            self.close()
            self._path = path
        if self._file is None:
            try:
                self._file = path.open("rb")
            except OSError:
                return b""
        return self._chunk()

    def _chunk(self) -> bytes:
        return self._file.read(CHUNK_BYTES) if self._file is not None else b""

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
