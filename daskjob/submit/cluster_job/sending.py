"""What ``submit`` needs of a client of Kubernetes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from daskjob.core.manifests import Manifest
from daskjob.submit.jobs import JobRef, Jobs


class ClusterJobs(Jobs, Protocol):
    """The jobs of a cluster."""

    def submit(
        self, job: Manifest, *, token: str | None = None, owned: Sequence[Manifest] = ()
    ) -> JobRef:
        """Create the job, exactly once for its token, then the objects that it owns.

        The manifest has its token, and the name that follows from it; without a token it is another
        job than any before.
        """

    def run_again(self, job: Manifest, *, token: str | None = None) -> JobRef:
        """Run a job again, which may be gone, from its manifest; once while that has not ended."""

    def code_for(self, new: Manifest, old: Manifest) -> list[Manifest]:
        """Return the ConfigMaps of a new job with a copy of the code that belongs to an old one."""

    def dry_run(self, job: Manifest) -> Manifest:
        """Return the job as the API server would store it; nothing is stored."""
