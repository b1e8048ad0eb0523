"""A job that runs on this machine in the foreground: run it, show it, cancel it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from daskjob.backends.local.run import LocalRun, prepare_run
from daskjob.backends.local.run_environment import Packages
from daskjob.backends.local.run_folder import RunFolder
from daskjob.backends.local.script_output import ScriptOutput
from daskjob.backends.local.script_streams import Shape as Shape
from daskjob.backends.local.script_streams import Stream as Stream
from daskjob.backends.local.state_root import state_root
from daskjob.core.command_line import python_script, words
from daskjob.core.errors import Conflict
from daskjob.core.manifests import Manifest, mapping, metadata
from daskjob.core.names import files_name
from daskjob.core.wording import words_for
from daskjob.submit.jobs import JobSnapshot
from daskjob.submit.local_records import (
    Origin,
    RunRecord,
    RunRecords,
    record_of_run,
)
from daskjob.submit.python_environment import Pythons


class ForegroundJob:
    """A job that lives as long as the process that runs it; created by ``foreground_job``."""

    def __init__(self, run: LocalRun, record: RunRecord) -> None:
        self._run = run
        self._record = record

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
        seen, waits = self._run.snapshot(), self._run.last_tasks
        return JobSnapshot(
            name=self.name,
            status=seen.status,
            desired_workers=seen.desired_workers,
            ready_workers=seen.ready_workers,
            dashboard_url=seen.dashboard_url,
            tasks=seen.dask.tasks if seen.dask else None,
            stages=seen.dask.stages if seen.dask else (),
            memory_bytes=sum(w.memory for w in seen.dask.workers) if seen.dask else 0,
            troubles=tuple(self._run.troubles),
            words=words_for(self._run.job.meta.annotations),
            script=self._script(),
            last_tasks=waits.promised if waits else 0,
            patience_seconds=waits.patience if waits else 0.0,
            given_up_tasks=self._run.given_up_tasks,
            activities=seen.activities,
        )

    @property
    def is_working(self) -> bool:
        """Whether the script runs, or tasks that it left."""
        return self._run.output.is_open or self._run.last_tasks is not None

    @property
    def is_stopping(self) -> bool:
        """Whether the run was cancelled, or has a verdict."""
        return self._run.is_cancelled or self._run.snapshot().status.finished

    @property
    def output(self) -> ScriptOutput:
        """The standard streams of the script."""
        return self._run.output

    @property
    def folder(self) -> RunFolder:
        """The job's folder, with its logs."""
        return self._run.folder

    @property
    def script_pid(self) -> int | None:
        """The process of the script, which leads its process group."""
        return self._run.script_pid()

    def restore_when_lost(self, attributes: list[Any] | None) -> None:
        """Have the terminal's attributes restored, should this process be killed."""
        self._run.restore_when_lost(attributes)

    def interrupt(self) -> None:
        """Cancel the job as Ctrl-C does: its script gets SIGINT, then SIGTERM, then SIGKILL."""
        self._run.cancel("INT", by="Ctrl-C")

    def cancel(self, by: str = "") -> None:
        """Cancel the job: its script gets SIGTERM and its grace period; ``by`` is who did it."""
        self._run.cancel(by=by)

    def _script(self) -> str:
        containers = self._run.job.runner.containers
        return python_script(words(containers[0])) if containers else ""

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
        records = RunRecords(self._run.folder.path.parent)
        # On a full disk the job runs all the same; it cannot be run again from here.
        with contextlib.suppress(OSError):
            records.add(self._record)
        try:
            return await self._run.run()
        except Conflict:
            # A job of this name was started at the same moment.
            records.remove(self._record.name, self._record.uid)
            raise

    def close(self) -> None:
        """Keep of this and earlier runs what the limits allow."""
        self._run.tidy()


def foreground_job(
    manifest: Manifest,
    *,
    variables: Mapping[str, str] | None = None,
    config: Sequence[Manifest] = (),
    pythons: Pythons | None = None,
    environment: Mapping[str, str] | None = None,
    origin: Origin | None = None,
    packages: Packages | None = None,
) -> ForegroundJob:
    """Return the job of a manifest, ready to run in this folder and with this environment.

    ``variables`` are the values of environment variables that the manifest only names: they may
    be secrets, which neither the manifest on disk nor the run's record has. ``config`` are the
    ConfigMaps and Secrets that the manifest refers to; ``origin`` are the files that a later run
    like this one needs; ``packages`` are those of the manifest's environment, if they are installed
    already.

    Raises
    ------
    Invalid
        The manifest is invalid, or needs something that one machine can never provide.
    Conflict
        A job of this name is running on this machine.
    """
    pythons = pythons or Pythons()
    run = prepare_run(
        manifest,
        root=state_root(),
        cwd=Path.cwd(),
        environment=os.environ if environment is None else environment,
        variables=variables or {},
        config=[*config, *_own_files(manifest)],
        python=pythons.script,
        dask_python=pythons.dask,
        packages=packages,
    )
    record = record_of_run(
        run.manifest,
        folder=Path.cwd(),
        variables=variables or {},
        environment=os.environ,
        pythons=(pythons.script, pythons.dask),
        origin=origin or Origin(),
    )
    return ForegroundJob(run, record)


def _own_files(manifest: Manifest) -> list[Manifest]:
    """Return the ConfigMap of a job's files: volumes of a rendered job refer to it."""
    meta = metadata(manifest)
    files = mapping(mapping(mapping(manifest.get("spec")).get("job")).get("files"))
    texts = {key: text for key, text in files.items() if isinstance(text, str)}
    if not texts or not isinstance(meta.get("name"), str):
        return []
    own = {"name": files_name(meta["name"]), "namespace": meta.get("namespace")}
    return [{"kind": "ConfigMap", "metadata": own, "data": texts}]
