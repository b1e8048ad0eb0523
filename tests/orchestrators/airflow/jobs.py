"""The DaskJobs that tasks of tests have started."""

from __future__ import annotations

from typing import Any

from tests.cluster.plugin import Kubectl
from tests.waiting import wait_until

PATIENCE = 120.0


class Jobs:
    """The jobs of a namespace, by the run of their task."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl

    def of(self, run_id: str) -> list[dict[str, Any]]:
        """Return the jobs of a run, the oldest first."""
        found = [
            job
            for job in self.kubectl.items("daskjobs")
            if job["metadata"]["annotations"].get("airflow.apache.org/run_id") == run_id
        ]
        return sorted(found, key=lambda job: str(job["metadata"]["name"]))

    def running(self, run_id: str) -> dict[str, Any]:
        """Wait until the last job of a run is running; return it."""

        def found() -> dict[str, Any] | None:
            jobs = self.of(run_id)
            status = jobs[-1].get("status", {}) if jobs else {}
            return jobs[-1] if status.get("phase") == "Running" else None

        job = wait_until(found, PATIENCE, lambda: self.of(run_id), pause=0.3)
        assert job is not None
        return job

    def let_end(self, job: dict[str, Any]) -> None:
        """Let a job end successfully."""
        self.kubectl("exec", job["status"]["jobRunnerPodName"], "--", "touch", "/tmp/go")

    def phases(self, run_id: str) -> list[str]:
        """Return the phases of the jobs of a run."""
        return [str(job.get("status", {}).get("phase")) for job in self.of(run_id)]

    def until(self, run_id: str, *phases: str) -> None:
        """Wait until the jobs of a run have these phases."""
        wait_until(
            lambda: self.phases(run_id) == list(phases),
            PATIENCE,
            lambda: self.phases(run_id),
            pause=0.3,
        )
