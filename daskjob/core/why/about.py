"""What is known about a job of a cluster, and the commands that find it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from daskjob.core.manifests import Manifest, mapping, mappings, metadata
from daskjob.core.reasons import Reason
from daskjob.core.status import JobStatus, JobStatusWord, job_status_from
from daskjob.core.wording import Words, words_for

#: Their messages have the cause for which the job waited.
DEADLINES = frozenset(
    {
        Reason.DEADLINE_EXCEEDED,
        Reason.ATTEMPT_DEADLINE_EXCEEDED,
        Reason.STARTUP_DEADLINE_EXCEEDED,
    }
)


@dataclass(frozen=True)
class About:
    """A job, and what was observed around it; everything but the job may be unknown."""

    job: Manifest
    now: datetime | None = None
    #: The kubeconfig's context, if it is not the current one.
    context: str = ""
    #: Reasons and messages of its warning Events, the newest last.
    warnings: tuple[tuple[str, str], ...] = ()
    #: The NetworkPolicies of its namespace.
    policies: tuple[Manifest, ...] = ()
    #: Both ends of the runner's log.
    log_head: str = ""
    log_tail: str = ""
    #: The end of the log of a pod that crashes.
    crash_log: str = ""

    @cached_property
    def status(self) -> JobStatus:
        """The job's status."""
        return job_status_from(self.job.get("status"))

    @cached_property
    def words(self) -> Words:
        """The words of a manifest, or of a script."""
        return words_for(mapping(metadata(self.job).get("annotations")))

    @property
    def name(self) -> str:
        """The job's name."""
        return str(metadata(self.job).get("name", ""))

    @property
    def namespace(self) -> str:
        """The job's namespace."""
        return str(metadata(self.job).get("namespace") or "default")

    @property
    def message(self) -> str:
        """Why it waits or ended, as its status has it."""
        return self.status.message

    @property
    def reason(self) -> str:
        """The reason; after retries, that of the last attempt."""
        status = self.status
        if status.reason == Reason.BACKOFF_LIMIT_EXCEEDED and status.attempts:
            return status.attempts[-1].reason
        return status.reason

    @property
    def runs(self) -> bool:
        """Whether its runner is running."""
        return self.status.job_status is JobStatusWord.RUNNING

    @property
    def runner_pod(self) -> str:
        """The name of the last runner; empty if there was none."""
        return self.status.job_runner_pod_name

    def waits_for(self, *reasons: Reason) -> bool:
        """Return whether it waits, or ended, for one of these reasons, or at a deadline."""
        return self.reason in reasons or self.reason in DEADLINES

    @property
    def options(self) -> str:
        """The options with which commands find the job."""
        return f"-n {self.namespace}{self._context}"

    def kubectl(self, words: str) -> str:
        """Return a command of kubectl in the job's namespace."""
        return f"kubectl {words} {self.options}"

    def cluster_kubectl(self, words: str) -> str:
        """Return a command of kubectl about objects that have no namespace."""
        return f"kubectl {words}{self._context}"

    @property
    def jobs_command(self) -> str:
        """The command that lists the jobs of all namespaces."""
        return f"daskjob list -A{self._context}"

    def daskjob(self, words: str) -> str:
        """Return a command of daskjob about this job."""
        return f"daskjob {words} {self.options} {self.name}"

    @property
    def _context(self) -> str:
        return f" --context {self.context}" if self.context else ""

    def template_of(self, pod: str) -> Mapping[str, object]:
        """Return the template of a pod in the job's spec, by the pod's name."""
        spec = mapping(self.job.get("spec"))
        cluster = mapping(mapping(spec.get("cluster")).get("spec"))
        if "-scheduler" in pod:
            return mapping(cluster.get("scheduler"))
        if "-worker-" not in pod:
            return mapping(spec.get("job"))
        for group in mappings(cluster.get("workerGroups")):
            if f"-{group.get('name')}-worker-" in pod:
                return group
        return mapping(cluster.get("worker"))


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do next about a cause."""

    step: str
    #: A command that shows more, or does it.
    command: str = ""
    evidence: tuple[str, ...] = ()
    #: What happened, if the job's status does not show it.
    headline: str = ""
    #: Whether the exception in the log is evidence, too.
    shows_log: bool = True
