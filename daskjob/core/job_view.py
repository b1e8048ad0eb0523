"""The input of a job's policies: spec, status, observed state, and the time.

``JobView`` names what several policies need; ``AttemptEnd`` is their result.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from daskjob.core import names
from daskjob.core.observed import ClusterOfJob, ObservedJob
from daskjob.core.pods import PodFacts
from daskjob.core.reasons import Reason
from daskjob.core.spec import DaskJob, Policy
from daskjob.core.spec.policy import Restart
from daskjob.core.status import JobStatus
from daskjob.core.task_texts import unfinished_tasks
from daskjob.core.wording import Words, words_for

#: How long a worker must be ready to count as at work if its scheduler does not report it.
JOINED_SECONDS = 60


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """How an attempt ended; ``reason`` is ``None`` for success."""

    reason: Reason | None
    message: str
    exit_code: int | None = None
    #: Whether another attempt must end the same way, such as with an invalid image name.
    final: bool = False
    #: Whether the cause may pass by itself, so that the failure counts as infrastructure's.
    may_pass: bool = False


@dataclass(frozen=True, slots=True)
class JobView:
    """The input of a job's policies; immutable."""

    observed: ObservedJob
    status: JobStatus
    policy: Policy
    now: datetime

    @property
    def job(self) -> DaskJob:
        """The job with its current spec."""
        return self.observed.job

    @property
    def words(self) -> Words:
        """The words for messages about this job."""
        return words_for(self.job.meta.annotations)

    @property
    def runner(self) -> PodFacts | None:
        """The runner pod of the current attempt."""
        return self.observed.runner(self.status.attempt)

    @property
    def earlier_runners(self) -> tuple[PodFacts, ...]:
        """The runner pods of earlier attempts."""
        return tuple(pod for pod in self.observed.runners if pod.attempt != self.status.attempt)

    @property
    def runner_was_seen(self) -> bool:
        """Whether a pass has observed the current attempt's runner."""
        name = names.runner_name(self.job.meta.name, self.status.attempt)
        return self.status.job_runner_pod_name == name

    @property
    def runner_ever_ran(self) -> bool:
        """Whether the main container of the current attempt is running or has run."""
        runner = self.runner
        return runner is not None and runner.main is not None and runner.main.ever_ran

    @property
    def cluster_is_stale(self) -> bool:
        """Whether the existing cluster is an earlier attempt's and must be deleted first."""
        cluster = self.observed.cluster
        if cluster is None or self.job.cluster_ref or self.policy.restart is Restart.RUNNER:
            return cluster is not None and cluster.deleting
        return cluster.deleting or cluster.attempt != self.status.attempt

    @property
    def cluster(self) -> ClusterOfJob | None:
        """The cluster of the current attempt."""
        return None if self.cluster_is_stale else self.observed.cluster

    @property
    def scheduler(self) -> PodFacts | None:
        """The scheduler pod of the current attempt's cluster."""
        return self.observed.scheduler if self.cluster else None

    @property
    def scheduler_was_shut_down(self) -> bool:
        """Whether the attempt's scheduler was shut down on purpose: ``client.shutdown()``.

        It exited with 0 by itself. The status remembers it: of a pod, only the last restart is
        known. A scheduler that its restart policy starts again knows none of the attempt's tasks.
        """
        if self.status.scheduler_was_shut_down:
            return True
        known = self.status.scheduler_identity
        return bool(known and self.scheduler and self.scheduler.exited_with_0(known))

    @property
    def workers(self) -> tuple[PodFacts, ...]:
        """The worker pods of the current attempt's cluster."""
        return self.observed.workers if self.cluster else ()

    @property
    def ready_workers(self) -> int:
        """The number of worker pods that are ready and not terminating."""
        return sum(1 for pod in self.workers if pod.ready and pod.alive and not pod.deleting)

    @property
    def workers_joined(self) -> bool:
        """Whether workers of this attempt have been at work: once true, it stays true.

        Later, no worker may be ready for a moment, which does not mean that none ever was.
        """
        if self.status.workers_joined_time is not None:
            return True
        dask = self.observed.dask if self.cluster else None
        if dask is not None and (dask.workers or dask.tasks.done):
            return True
        return any(pod.was_ready_for(JOINED_SECONDS, self.now) for pod in self.workers)

    @property
    def unfinished_tasks(self) -> str:
        """What the cluster's tasks are waiting for, for a message; empty if that is unknown."""
        dask = self.observed.dask if self.cluster else None
        return "" if dask is None else unfinished_tasks(dask, self.words, self.now)

    @property
    def attempt_runs(self) -> bool:
        """Whether an attempt has started: its first object was requested."""
        return self.status.attempt_start_time is not None

    @property
    def active_time(self) -> timedelta:
        """How long the job has been active; time spent suspended does not count."""
        before = timedelta(seconds=self.status.active_seconds)
        since = self.status.start_time
        return before + (self.now - since if since and not self.status.suspended else timedelta())
