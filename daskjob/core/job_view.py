"""One look at a job, as its policies judge it: spec, status, what is observed, and the time.

No I/O here. ``JobView`` gives names to what several policies ask; ``AttemptEnd`` is what they say.
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


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """How an attempt ended; ``reason`` is ``None`` for success."""

    reason: Reason | None
    message: str
    exit_code: int | None = None
    #: Whether another attempt must end the same way: a name that can never be an image's.
    final: bool = False


@dataclass(frozen=True, slots=True)
class JobView:
    """What a job's policies judge; all of it values."""

    observed: ObservedJob
    status: JobStatus
    policy: Policy
    now: datetime

    @property
    def job(self) -> DaskJob:
        """The job as its spec stands now."""
        return self.observed.job

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
        """Whether a pass has seen the current attempt's runner exist."""
        name = names.runner_name(self.job.meta.name, self.status.attempt)
        return self.status.job_runner_pod_name == name

    @property
    def runner_ever_ran(self) -> bool:
        """Whether the main container of the current attempt runs or ran."""
        runner = self.runner
        return runner is not None and runner.main is not None and runner.main.ever_ran

    @property
    def cluster_is_stale(self) -> bool:
        """Whether the cluster that exists is an earlier attempt's and has to go first."""
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
    def workers(self) -> tuple[PodFacts, ...]:
        """The worker pods of the current attempt's cluster."""
        return self.observed.workers if self.cluster else ()

    @property
    def ready_workers(self) -> int:
        """How many worker pods are ready and stay."""
        return sum(1 for pod in self.workers if pod.ready and pod.alive and not pod.deleting)

    @property
    def attempt_runs(self) -> bool:
        """Whether an attempt is under way: its first object was asked for."""
        return self.status.attempt_start_time is not None

    @property
    def active_time(self) -> timedelta:
        """How long the job was active, without the time for which it was suspended."""
        before = timedelta(seconds=self.status.active_seconds)
        since = self.status.start_time
        return before + (self.now - since if since and not self.status.suspended else timedelta())
