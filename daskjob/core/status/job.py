"""A job's status: its observed state, and what passes must remember.

Other programs rely on the five legacy fields and the five values of ``jobStatus`` (design §2.3): to
them, a job with a sixth value would run forever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from daskjob.core.manifests import Manifest, parse_time
from daskjob.core.messages import cut
from daskjob.core.reasons import Reason
from daskjob.core.rows import nested, nested_list, required, row, shapes_of
from daskjob.core.shapes import Anything, Choice, Record, Text, Time, count
from daskjob.core.status.conditions import (
    Condition,
    Conditions,
    ConditionType,
    conditions_row,
    find_condition,
    is_true,
    shortened_message,
    with_condition,
)
from daskjob.core.status.part import StatusPart, read, status_record, written
from daskjob.core.values import updated

#: The number of ended attempts in a status.
ATTEMPTS_KEPT = 10
#: Characters of an ended attempt's message; a status holds several.
ATTEMPT_MESSAGE_LIMIT = 256
#: The end of an attempt whose status holds no readable time.
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
#: The size of a runner's result as JSON (the limit of Kubernetes' termination message).
RESULT_LIMIT_BYTES = 4096
#: The size and the nesting of a scheduler's report in a status.
REPORT_LIMIT_BYTES = 4096
REPORT_LEVELS = 10

#: Reasons of ``SchedulerReady`` after the scheduler was shut down on purpose: it is gone, or its
#: restart policy has started it again. One of them stays until the end of the attempt.
SHUT_DOWN = "ShutDown"
ANSWERS_AGAIN = "AnswersAgain"


class JobStatusWord(StrEnum):
    """The values of ``jobStatus``; there will never be another."""

    JOB_CREATED = "JobCreated"
    CLUSTER_CREATED = "ClusterCreated"
    RUNNING = "Running"
    SUCCESSFUL = "Successful"
    FAILED = "Failed"


TERMINAL_WORDS = frozenset({JobStatusWord.SUCCESSFUL, JobStatusWord.FAILED})


class Phase(StrEnum):
    """The state of a job for people, derived from the rest of the status."""

    PENDING = "Pending"
    SUSPENDED = "Suspended"
    STARTING = "Starting"
    RUNNING = "Running"
    RETRYING = "Retrying"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


def _shortened_of_attempt(message: str) -> str:
    return cut(message, ATTEMPT_MESSAGE_LIMIT)


@dataclass(frozen=True, slots=True)
class Attempt(StatusPart):
    """An attempt that ended."""

    number: int = field(
        metadata=required(count("number", "Number of the attempt, from 0."), 0, always=True)
    )
    runner_pod_name: str = field(
        metadata=required(Text("runnerPodName", "Name of its runner pod."), "")
    )
    start_time: datetime | None = field(
        metadata=required(Time("startTime", "Time when its first object was requested."), None)
    )
    end_time: datetime = field(metadata=required(Time("endTime", "Time when it ended."), LONG_AGO))
    exit_code: int | None = field(
        metadata=required(count("exitCode", "Exit code of its runner's main container."), None)
    )
    reason: str = field(
        metadata=required(Text("reason", "Why it ended, in one word."), "", always=True)
    )
    message: str = field(
        metadata=required(
            Text("message", "Human-readable message, with the next step."),
            "",
            always=True,
            write=_shortened_of_attempt,
        )
    )

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, object] | None) -> Attempt:
        """Return the attempt that the API holds; its end defaults to its start."""
        found = manifest or {}
        if parse_time(found.get("endTime")) is None:
            found = {**found, "endTime": found.get("startTime")}
        return read(cls, found)


@dataclass(frozen=True, slots=True)
class Workers(StatusPart):
    """Worker pods wanted and ready."""

    desired: int = row(count("desired", "Number of worker pods in the spec."), 0, always=True)
    ready: int = row(count("ready", "Number of worker pods that are ready."), 0, always=True)

    def __str__(self) -> str:
        return f"{self.ready}/{self.desired}"


@dataclass(frozen=True, slots=True)
class Progress(StatusPart):
    """Tasks of the cluster: known, done, processing, failed."""

    total: int = row(count("total", "Number of tasks that the scheduler knows."), 0, always=True)
    done: int = row(count("done", "Number of tasks done."), 0, always=True)
    processing: int = row(count("processing", "Number of tasks being processed."), 0, always=True)
    erred: int = row(count("erred", "Number of tasks that failed."), 0, always=True)
    updated_at: datetime | None = row(Time("updatedAt", "Time of these numbers."))

    def __str__(self) -> str:
        return f"{self.done}/{self.total}"


@dataclass(frozen=True, slots=True)
class Summary(StatusPart):
    """The columns of kubectl: derived from the rest, and never read back."""

    progress: str = row(Text("progress", "Tasks done and tasks known, such as 40/100."), "")
    workers: str = row(Text("workers", "Workers ready and workers desired, such as 2/3."), "")
    attempts: int | None = row(count("attempts", "Number of attempts that have begun."))


@dataclass(frozen=True, slots=True)
class JobStatus(StatusPart):
    """The fields of ``status``; absent values are ``None``, empty or zero."""

    observed_generation: int = row(
        count("observedGeneration", "Generation of the spec that this status is about."), 0
    )
    job_status: JobStatusWord | None = row(
        Choice(
            "jobStatus",
            "State of the job; Successful and Failed are final.",
            JobStatusWord,
            or_empty=True,
        )
    )
    phase: str = row(Text("phase", "State of the job for people: " + ", ".join(Phase) + "."), "")
    cluster_name: str = row(
        Text("clusterName", "Name of the DaskCluster that the job runs on."), ""
    )
    job_runner_pod_name: str = row(
        Text("jobRunnerPodName", "Name of the runner pod of the current attempt."), ""
    )
    start_time: datetime | None = row(
        Time("startTime", "Time when the job started, or was last resumed.")
    )
    end_time: datetime | None = row(Time("endTime", "Time when the job ended."))
    reason: str = row(Text("reason", "Why the job ended, or what it waits for, in one word."), "")
    message: str = row(
        Text("message", "Human-readable message, with the next step."),
        "",
        write=shortened_message,
    )
    exit_code: int | None = row(count("exitCode", "Exit code of the runner's main container."))
    attempt: int = row(count("attempt", "Number of the current attempt, from 0."), 0, always=True)
    #: ``None`` between attempts.
    attempt_start_time: datetime | None = row(
        Time("attemptStartTime", "Time when the current attempt's first object was requested.")
    )
    attempts: tuple[Attempt, ...] = nested_list(
        "attempts",
        f"The last {ATTEMPTS_KEPT} attempts that ended, including the successful one.",
        Attempt,
        "An attempt that ended.",
    )
    failures: int = row(count("failures", "Number of failures that were counted."), 0)
    ignored: int = row(
        count("ignored", "Number of infrastructure failures that were not counted."), 0
    )
    next_attempt_time: datetime | None = row(
        Time("nextAttemptTime", "Time when the next attempt starts.")
    )
    active_seconds: int = row(
        count("activeSeconds", "Seconds active before the last suspension."), 0
    )
    #: Pod uid and container id.
    scheduler_identity: str = row(
        Text("schedulerIdentity", "Scheduler that responded in this attempt."), ""
    )
    #: ``None``: no worker of this attempt has been of use yet.
    workers_joined_time: datetime | None = row(
        Time("workersJoinedTime", "Time when workers of the attempt were first seen at work.")
    )
    workers: Workers | None = nested("workers", "Worker pods of all groups.", Workers)
    progress: Progress | None = nested("progress", "Tasks of the cluster.", Progress)
    dashboard_url: str = row(Text("dashboardURL", "URL of the scheduler's dashboard."), "")
    scheduler_address: str = row(
        Text("schedulerAddress", "Address that workers and clients connect to."), ""
    )
    result: object = row(Anything("result", "Result that the runner wrote."))
    report: Manifest | None = row(
        Record("report", "Summary of the scheduler's statistics.", open=True)
    )
    policy: Manifest | None = row(
        Record("policy", "Policy of the job, frozen at its start.", open=True)
    )
    spec_hash: str = row(Text("specHash", "Fingerprint of the templates of the attempts."), "")
    #: Of templates that changed after the start; that change was reported.
    ignored_spec_hash: str = row(
        Text("ignoredSpecHash", "Fingerprint of templates that changed after the start."), ""
    )
    updated_at: datetime | None = row(Time("updatedAt", "Last time that this status was written."))
    conditions: Conditions = conditions_row()

    @property
    def started(self) -> bool:
        """Whether the job's policy is frozen: a pass has handled the job before."""
        return self.policy is not None

    @property
    def finished(self) -> bool:
        """Whether the job ended; that never changes."""
        return self.job_status in TERMINAL_WORDS

    @property
    def succeeded(self) -> bool:
        """Whether the job ended with the exit code 0 of its main container."""
        return self.job_status is JobStatusWord.SUCCESSFUL

    @property
    def suspended(self) -> bool:
        """Whether the job holds no pods because it is suspended."""
        return is_true(self.conditions, ConditionType.SUSPENDED)

    @property
    def scheduler_was_shut_down(self) -> bool:
        """Whether the scheduler of the current attempt was shut down on purpose."""
        found = self.condition(ConditionType.SCHEDULER_READY)
        return found is not None and found.reason in (SHUT_DOWN, ANSWERS_AGAIN)

    @property
    def took(self) -> timedelta | None:
        """How long the job took; ``None`` unless it ended."""
        if self.start_time is None or self.end_time is None:
            return None
        return self.end_time - self.start_time

    @property
    def attempts_begun(self) -> int:
        """The number of attempts so far, including the current one."""
        if self.attempt_start_time is not None:
            return self.attempt + 1
        return self.attempts[-1].number + 1 if self.attempts else 0

    def condition(self, kind: ConditionType) -> Condition | None:
        """Return the condition of a type, or ``None``."""
        return find_condition(self.conditions, kind)

    def with_condition(
        self, kind: ConditionType, *, status: bool, reason: str, message: str, now: datetime
    ) -> JobStatus:
        """Return the status with one condition replaced or added."""
        new = Condition(kind, status, reason, message, self.observed_generation)
        return updated(self, conditions=with_condition(self.conditions, new, now))

    def without_condition(self, kind: ConditionType) -> JobStatus:
        """Return the status without a condition."""
        return updated(self, conditions=tuple(c for c in self.conditions if c.type != kind))

    @property
    def summary(self) -> Summary:
        """The columns of kubectl."""
        known = self.progress is not None and self.progress.total
        return Summary(
            progress=str(self.progress) if known else "",
            workers=str(self.workers) if self.workers and not self.finished else "",
            attempts=self.attempts_begun if self.started else None,
        )

    def to_manifest(self) -> Manifest:
        """Return the status as the API holds it, with the summary for kubectl."""
        manifest = written(self)
        if summary := self.summary.to_manifest():
            manifest[SUMMARY.name] = summary
        return manifest


SUMMARY = Record(
    "summary",
    "Columns of kubectl get, which prints single fields.",
    shapes_of(Summary),
    open=True,
)
JOB_STATUS = status_record("Observed state of the job.", JobStatus, progress=SUMMARY)
job_status_from = JobStatus.from_manifest


def derived_phase(status: JobStatus) -> Phase:
    """Return the state of a job for people."""
    if status.job_status is JobStatusWord.SUCCESSFUL:
        return Phase.SUCCEEDED
    if status.job_status is JobStatusWord.FAILED:
        return Phase.CANCELLED if status.reason == Reason.CANCELLED else Phase.FAILED
    if status.suspended:
        return Phase.SUSPENDED
    if status.job_status is JobStatusWord.RUNNING:
        return Phase.RUNNING
    if status.attempts and status.attempt_start_time is None:
        return Phase.RETRYING
    if status.job_status is JobStatusWord.CLUSTER_CREATED:
        return Phase.STARTING
    return Phase.PENDING
