"""The jobs that a command names, each found by itself: a wrong name keeps it from no other job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from daskjob.core.errors import DaskJobError, NotFound
from daskjob.submit.jobs import Job, JobRef, Jobs


@dataclass(slots=True)
class NamedJobs:
    """Jobs with the names by which they were found, and why others were not."""

    #: One that is named twice is there only once.
    found: dict[JobRef, tuple[str, Job]] = field(default_factory=dict)
    failures: list[DaskJobError] = field(default_factory=list)

    def find(self, jobs: Jobs, names: Iterable[str]) -> None:
        """Find jobs by their names."""
        from daskjob.submit.records.my_jobs import Ambiguous

        for name in names:
            try:
                job = jobs.find(name)
            except (Ambiguous, NotFound) as error:
                self.failures.append(error)
            else:
                self.found.setdefault(job.ref, (name, job))

    def __iter__(self) -> Iterator[tuple[str, Job]]:
        """Return the jobs with their names."""
        return iter(list(self.found.values()))
