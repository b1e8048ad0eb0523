"""A job's status: what is told of it, and what a pass must remember. No I/O here.

The five legacy fields and the five words of ``jobStatus`` are outside readers' contract (design
§2.3): a sixth word would make a job run for ever in their eyes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
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

#: How many ended attempts a status remembers.
ATTEMPTS_KEPT = 10
#: Of an ended attempt's message, since a status remembers several.
ATTEMPT_MESSAGE_LIMIT = 256
#: The end of an attempt whose status holds no readable time.
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
#: What a runner may say as its result, in bytes of JSON (Kubernetes' termination message).
RESULT_LIMIT_BYTES = 4096

#: Reasons of ``SchedulerReady`` after the scheduler was shut down on purpose: it is gone, or its
#: restart policy has started it again. One of them stays until the end of the attempt.
SHUT_DOWN = "ShutDown"
ANSWERS_AGAIN = "AnswersAgain"


class JobStatusWord(StrEnum):
    """The words of ``jobStatus``; there will never be another."""

    JOB_CREATED = "JobCreated"
    CLUSTER_CREATED = "ClusterCreated"
    RUNNING = "Running"
    SUCCESSFUL = "Successful"
    FAILED = "Failed"


TERMINAL_WORDS = frozenset({JobStatusWord.SUCCESSFUL, JobStatusWord.FAILED})


class Phase(StrEnum):
    """One word for people, derived from everything else."""

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
        metadata=required(count("number", "The attempt's number, from 0."), 0, always=True)
    )
    runner_pod_name: str = field(metadata=required(Text("runnerPodName", "Its runner."), ""))
    start_time: datetime | None = field(
        metadata=required(Time("startTime", "When its first object was asked for."), None)
    )
    end_time: datetime = field(metadata=required(Time("endTime", "When it ended."), LONG_AGO))
    exit_code: int | None = field(
        metadata=required(count("exitCode", "The exit code of its runner's main container."), None)
    )
    reason: str = field(
        metadata=required(Text("reason", "Why it ended, in a word."), "", always=True)
    )
    message: str = field(
        metadata=required(
            Text("message", "The same in a sentence, with the next step."),
            "",
            always=True,
            write=_shortened_of_attempt,
        )
    )

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, object] | None) -> Attempt:
        """Return the attempt that the API holds; without a readable end it ended at its start."""
        found = manifest or {}
        if parse_time(found.get("endTime")) is None:
            found = {**found, "endTime": found.get("startTime")}
        return read(cls, found)


@dataclass(frozen=True, slots=True)
class Workers(StatusPart):
    """Worker pods wanted and ready."""

    desired: int = row(count("desired", "How many are asked for."), 0, always=True)
    ready: int = row(count("ready", "How many are ready."), 0, always=True)

    def __str__(self) -> str:
        return f"{self.ready}/{self.desired}"


@dataclass(frozen=True, slots=True)
class Progress(StatusPart):
    """Tasks of the cluster: known, done, being worked on, failed."""

    total: int = row(count("total", "How many the scheduler knows."), 0, always=True)
    done: int = row(count("done", "How many are done."), 0, always=True)
    processing: int = row(count("processing", "How many are being worked on."), 0, always=True)
    erred: int = row(count("erred", "How many failed."), 0, always=True)
    updated_at: datetime | None = row(Time("updatedAt", "When this was written."))

    def __str__(self) -> str:
        return f"{self.done}/{self.total}"


@dataclass(frozen=True, slots=True)
class Summary(StatusPart):
    """What kubectl prints in columns: derived from the rest, and never read back."""

    progress: str = row(Text("progress", "Tasks done of those known: 40/100."), "")
    workers: str = row(Text("workers", "Workers ready of those asked for: 2/3."), "")
    attempts: int | None = row(count("attempts", "How many attempts have begun."))


@dataclass(frozen=True, slots=True)
class JobStatus(StatusPart):
    """Everything in ``status``; absent values are ``None``, empty or zero."""

    observed_generation: int = row(
        count("observedGeneration", "The generation of the spec that this speaks of."), 0
    )
    job_status: JobStatusWord | None = row(
        Choice(
            "jobStatus",
            "How far the job is; Successful and Failed are the end.",
            JobStatusWord,
            or_empty=True,
        )
    )
    phase: str = row(Text("phase", "The same for people: " + ", ".join(Phase) + "."), "")
    cluster_name: str = row(Text("clusterName", "The DaskCluster that the job runs on."), "")
    job_runner_pod_name: str = row(
        Text("jobRunnerPodName", "The runner of the current attempt."), ""
    )
    start_time: datetime | None = row(
        Time("startTime", "When the job started, or was last resumed.")
    )
    end_time: datetime | None = row(Time("endTime", "When it ended."))
    reason: str = row(Text("reason", "Why it ended, or what it waits for, in a word."), "")
    message: str = row(
        Text("message", "The same in a sentence, with the next step."),
        "",
        write=shortened_message,
    )
    exit_code: int | None = row(count("exitCode", "The exit code of the runner's main container."))
    attempt: int = row(count("attempt", "The current attempt's number, from 0."), 0, always=True)
    #: ``None`` between attempts.
    attempt_start_time: datetime | None = row(
        Time("attemptStartTime", "When the current attempt's first object was asked for.")
    )
    attempts: tuple[Attempt, ...] = nested_list(
        "attempts",
        f"The last {ATTEMPTS_KEPT} attempts that ended, the successful one included.",
        Attempt,
        "An attempt that ended.",
    )
    failures: int = row(count("failures", "Attempts that failed and were counted."), 0)
    ignored: int = row(count("ignored", "Infrastructure failures that were not counted."), 0)
    next_attempt_time: datetime | None = row(
        Time("nextAttemptTime", "When the next attempt starts.")
    )
    #: In whole seconds.
    active_seconds: int = row(count("activeSeconds", "Active time before the last suspension."), 0)
    #: Pod uid and container id.
    scheduler_identity: str = row(
        Text("schedulerIdentity", "The scheduler that answered in this attempt."), ""
    )
    workers: Workers | None = nested("workers", "Worker pods of all groups.", Workers)
    progress: Progress | None = nested("progress", "Tasks of the cluster.", Progress)
    dashboard_url: str = row(Text("dashboardURL", "Where the dashboard is."), "")
    scheduler_address: str = row(
        Text("schedulerAddress", "Where workers and clients connect to."), ""
    )
    result: object = row(Anything("result", "What the runner left as its result."))
    report: Manifest | None = row(
        Record("report", "What the scheduler counted, in short.", open=True)
    )
    policy: Manifest | None = row(
        Record("policy", "The policy as it was at the job's start.", open=True)
    )
    spec_hash: str = row(Text("specHash", "A fingerprint of what the attempts are made of."), "")
    #: Of a template that was changed after the start and whose change was reported.
    ignored_spec_hash: str = row(
        Text("ignoredSpecHash", "The same after a change that came too late."), ""
    )
    updated_at: datetime | None = row(Time("updatedAt", "When this was written last."))
    conditions: Conditions = conditions_row()

    @property
    def started(self) -> bool:
        """Whether the job's policy is frozen: a pass has seen the job before."""
        return self.policy is not None

    @property
    def finished(self) -> bool:
        """Whether a terminal word stands: it is never left."""
        return self.job_status in TERMINAL_WORDS

    @property
    def succeeded(self) -> bool:
        """Whether the job ended with the exit code 0 of its main container."""
        return self.job_status is JobStatusWord.SUCCESSFUL

    @property
    def suspended(self) -> bool:
        """Whether the job holds no pods because it was told so."""
        return is_true(self.conditions, ConditionType.SUSPENDED)

    @property
    def scheduler_was_shut_down(self) -> bool:
        """Whether the scheduler of the current attempt was shut down on purpose."""
        found = self.condition(ConditionType.SCHEDULER_READY)
        return found is not None and found.reason in (SHUT_DOWN, ANSWERS_AGAIN)

    @property
    def attempts_begun(self) -> int:
        """How many attempts there have been, the current one included."""
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
        """What kubectl prints in columns."""
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
    "What kubectl prints in columns, which show one field as it stands.",
    shapes_of(Summary),
    open=True,
)
JOB_STATUS = status_record("What is told of the job.", JobStatus, progress=SUMMARY)
job_status_from = JobStatus.from_manifest


def derived_phase(status: JobStatus) -> Phase:
    """Return the one word for people."""
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
