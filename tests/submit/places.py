"""Jobs of a test, at each place."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from daskjob.backends.local.run_folder import RunFolder, new_folder
from daskjob.core.manifests import Manifest
from daskjob.submit.jobs import JobEvent, JobRef, Jobs
from daskjob.submit.local import LocalJobs
from tests.submit.in_memory_jobs import InMemoryJobs

SUCCEEDED = {
    "jobStatus": "Successful",
    "phase": "Succeeded",
    "reason": "Completed",
    "jobRunnerPodName": "sums-runner",
    "result": {"total": 3},
}
FAILED = {
    "jobStatus": "Failed",
    "phase": "Failed",
    "reason": "ExitCode",
    "message": "the runner exited with 3.",
    "exitCode": 3,
    "jobRunnerPodName": "sums-runner",
}
RUNNING = {"jobStatus": "Running", "phase": "Running", "jobRunnerPodName": "sums-runner"}


def manifest(
    name: str = "sums",
    *,
    uid: str = "aaaaaaaa-1",
    created: str = "2026-01-01T00:00:00Z",
    status: Manifest = SUCCEEDED,
    generate_name: str = "",
) -> Manifest:
    meta = {"name": name, "namespace": "default", "uid": uid, "creationTimestamp": created}
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {**meta, **({"generateName": generate_name} if generate_name else {})},
        "spec": {},
        "status": status,
    }


class AnyPlace(Protocol):
    """A place to which a test adds jobs."""

    @property
    def jobs(self) -> Jobs: ...

    def add(
        self,
        manifest: Manifest,
        *,
        logs: dict[str, bytes] | None = None,
        events: tuple[JobEvent, ...] = (),
        report: Manifest | None = None,
    ) -> JobRef: ...


class Memory:
    """Jobs in memory."""

    def __init__(self) -> None:
        self._jobs = InMemoryJobs()
        self.add = self._jobs.add

    @property
    def jobs(self) -> Jobs:
        return self._jobs


class ThisMachine:
    """Jobs in a state directory; this process holds the locks of running ones."""

    def __init__(self, root: Path, held: ExitStack) -> None:
        self.root = root
        self._held = held

    @property
    def jobs(self) -> Jobs:
        return LocalJobs(self.root)

    def add(
        self,
        manifest: Manifest,
        *,
        logs: dict[str, bytes] | None = None,
        events: tuple[JobEvent, ...] = (),
        report: Manifest | None = None,
    ) -> JobRef:
        meta = manifest["metadata"]
        folder = new_folder(self.root, meta["name"], meta["uid"])
        folder.write_job(manifest)
        for pod, data in (logs or {}).items():
            folder.log(pod).write_bytes(data)
        for event in events:
            folder.append_event(_as_kept(event))
        if report is not None:
            folder.write("report.json", report)
        if manifest["status"] is RUNNING:
            self._held.enter_context(folder.held())
        return JobRef(meta["name"], meta["namespace"], meta["uid"])

    def folder(self, ref: JobRef) -> RunFolder:
        return RunFolder(self.root / f"{ref.name}.{ref.uid[:8]}")

    def end(self, ref: JobRef, status: Manifest = SUCCEEDED) -> None:
        """End the running jobs, this one with a status."""
        folder = self.folder(ref)
        folder.write_job({**folder.job(), "status": status})
        self._held.close()


def _as_kept(event: JobEvent) -> Manifest:
    return {
        "time": event.time.isoformat() if event.time else None,
        "type": event.type,
        "reason": event.reason,
        "message": event.message,
    }
