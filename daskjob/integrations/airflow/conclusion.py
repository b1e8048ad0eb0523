"""The end of a job as that of its task: its result, or its failure with the reason in the log."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daskjob.core.errors import DaskJobError
from daskjob.core.errors import NotFound as JobNotFound
from daskjob.core.status import JobStatus
from daskjob.integrations.airflow import errors
from daskjob.submit.generations import acknowledge
from daskjob.submit.jobs import JobRef
from daskjob.submit.outcome import lost_result

if TYPE_CHECKING:
    import logging

    from daskjob.submit.client.sync_client import JobClient
    from daskjob.submit.local import LocalJobs

#: The beginning of the lines of evidence that are from the job's log.
_OF_LOG = "log: "


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a task does at the end of its job."""

    client: JobClient | LocalJobs
    log: logging.Logger
    on_finish_action: str
    #: How many lines of the log of a failed job are shown; 0: all were shown already.
    tail: int
    shows_reason: bool

    def of(self, ref: JobRef, status: JobStatus, result: object) -> Any:
        """Return the result of a job that has succeeded; raise the failure of one that has not."""
        took = f" after {status.took.total_seconds():.0f} s" if status.took else ""
        self.log.info("%s: %s%s", ref.name, status.phase or status.job_status, took)
        if lost := lost_result(status):
            self.log.warning("%s: %s", ref.name, lost)
        found = None if status.succeeded else errors.failure(status, self._tail(ref))
        if found is not None and self.shows_reason:
            self._log_reason(ref)
        with suppress(JobNotFound):
            acknowledge(self.client, ref)
            if self._deletes(succeeded=found is None):
                self.client.delete(ref)
        if found is not None:
            raise found
        return result

    def _deletes(self, *, succeeded: bool) -> bool:
        if self.on_finish_action == "delete_succeeded_job":
            return succeeded
        return self.on_finish_action == "delete_job"

    def _tail(self, ref: JobRef) -> str:
        """Return the end of the log of a failed job, and log it unless the whole log was."""
        if not self.tail:
            return ""
        data = b""
        with suppress(DaskJobError):
            for chunk in self.client.logs(ref, tail=self.tail):
                data += chunk.data
        text = data.decode(errors="replace")
        for line in text.splitlines():
            self.log.info("%s", line)
        return text

    def _log_reason(self, ref: JobRef) -> None:
        """Log why the job failed, with Kubernetes' own words."""
        with suppress(DaskJobError):
            found = self.client.why(ref)
            # The task's log has them already.
            evidence = [line for line in found.evidence if not line.startswith(_OF_LOG)]
            # A step may end with a colon, after which its command follows.
            for line in (found.headline, *evidence, f"{found.next_step} {found.command}".strip()):
                if line:
                    self.log.error("%s", line)
