"""A job's status: what is told of it, and what a pass must remember. No I/O here.

The five legacy fields and the five words of ``jobStatus`` are outside readers' contract (design
§2.3): a sixth word would make a job run for ever in their eyes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from daskjob.core.manifests import Manifest, format_time, parse_time, without_nones
from daskjob.core.reasons import Reason
from daskjob.core.shapes import Anything, Choice, Many, Record, Text, Time, count
from daskjob.core.status.conditions import (
    CONDITIONS,
    Condition,
    Conditions,
    ConditionType,
    condition_from,
    find_condition,
    is_true,
    shortened_message,
    with_condition,
)
from daskjob.core.status.values import integer, mappings, optional_integer, text
from daskjob.core.values import updated

#: How many ended attempts a status remembers.
ATTEMPTS_KEPT = 10
#: What a runner may say as its result, in bytes of JSON (Kubernetes' termination message).
RESULT_LIMIT_BYTES = 4096


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


ATTEMPTS = Many(
    "attempts",
    f"The last {ATTEMPTS_KEPT} attempts that ended, the successful one included.",
    Record(
        "",
        "An attempt that ended.",
        (
            count("number", "The attempt's number, from 0."),
            Text("runnerPodName", "Its runner."),
            Time("startTime", "When its first object was asked for."),
            Time("endTime", "When it ended."),
            count("exitCode", "The exit code of its runner's main container."),
            Text("reason", "Why it ended, in a word."),
            Text("message", "The same in a sentence, with the next step."),
        ),
        open=True,
    ),
)
WORKERS = Record(
    "workers",
    "Worker pods of all groups.",
    (
        count("desired", "How many are asked for."),
        count("ready", "How many are ready."),
    ),
    open=True,
)
PROGRESS = Record(
    "progress",
    "Tasks of the cluster.",
    (
        count("total", "How many the scheduler knows."),
        count("done", "How many are done."),
        count("processing", "How many are being worked on."),
        count("erred", "How many failed."),
        Time("updatedAt", "When this was written."),
    ),
    open=True,
)
SUMMARY = Record(
    "summary",
    "What kubectl prints in columns, which show one field as it stands.",
    (
        Text("progress", "Tasks done of those known: 40/100."),
        Text("workers", "Workers ready of those asked for: 2/3."),
        count("attempts", "How many attempts have begun."),
    ),
    open=True,
)
JOB_STATUS = Record(
    "status",
    "What is told of the job.",
    (
        count("observedGeneration", "The generation of the spec that this speaks of."),
        Choice(
            "jobStatus",
            "How far the job is; Successful and Failed are the end.",
            JobStatusWord,
            or_empty=True,
        ),
        Text("phase", "The same for people: " + ", ".join(Phase) + "."),
        Text("clusterName", "The DaskCluster that the job runs on."),
        Text("jobRunnerPodName", "The runner of the current attempt."),
        Time("startTime", "When the job started, or was last resumed."),
        Time("endTime", "When it ended."),
        Text("reason", "Why it ended, or what it waits for, in a word."),
        Text("message", "The same in a sentence, with the next step."),
        count("exitCode", "The exit code of the runner's main container."),
        count("attempt", "The current attempt's number, from 0."),
        Time("attemptStartTime", "When the current attempt's first object was asked for."),
        ATTEMPTS,
        count("failures", "Attempts that failed and were counted."),
        count("ignored", "Infrastructure failures that were not counted."),
        Time("nextAttemptTime", "When the next attempt starts."),
        count("activeSeconds", "Active time before the last suspension."),
        Text("schedulerIdentity", "The scheduler that answered in this attempt."),
        WORKERS,
        PROGRESS,
        SUMMARY,
        Text("dashboardURL", "Where the dashboard is."),
        Text("schedulerAddress", "Where workers and clients connect to."),
        Anything("result", "What the runner left as its result."),
        Record("report", "What the scheduler counted, in short.", open=True),
        Record("policy", "The policy as it was at the job's start.", open=True),
        Text("specHash", "A fingerprint of what the attempts are made of."),
        Text("ignoredSpecHash", "The same after a change that came too late."),
        Time("updatedAt", "When this was written last."),
        CONDITIONS,
    ),
    open=True,
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that ended."""

    number: int
    runner_pod_name: str
    start_time: datetime | None
    end_time: datetime
    exit_code: int | None
    reason: str
    message: str

    def to_manifest(self) -> Manifest:
        """Return the attempt as the API holds it."""
        return without_nones(
            {
                "number": self.number,
                "runnerPodName": self.runner_pod_name or None,
                "startTime": format_time(self.start_time),
                "endTime": format_time(self.end_time),
                "exitCode": self.exit_code,
                "reason": self.reason,
                "message": shortened_message(self.message, 256),
            }
        )


@dataclass(frozen=True, slots=True)
class Workers:
    """Worker pods wanted and ready."""

    desired: int = 0
    ready: int = 0

    def __str__(self) -> str:
        return f"{self.ready}/{self.desired}"


@dataclass(frozen=True, slots=True)
class Progress:
    """Tasks of the cluster: known, done, being worked on, failed."""

    total: int = 0
    done: int = 0
    processing: int = 0
    erred: int = 0
    updated_at: datetime | None = None

    def __str__(self) -> str:
        return f"{self.done}/{self.total}"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """Everything in ``status``; absent values are ``None``, empty or zero."""

    observed_generation: int = 0
    job_status: JobStatusWord | None = None
    phase: str = ""
    cluster_name: str = ""
    job_runner_pod_name: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    attempt: int = 0
    #: When the current attempt's first object was asked for; ``None`` between attempts.
    attempt_start_time: datetime | None = None
    attempts: tuple[Attempt, ...] = ()
    failures: int = 0
    #: Infrastructure failures that were tried again without being counted.
    ignored: int = 0
    next_attempt_time: datetime | None = None
    #: Active time before the last suspension, in whole seconds.
    active_seconds: int = 0
    #: Pod uid and container id of the scheduler that answered in this attempt.
    scheduler_identity: str = ""
    workers: Workers | None = None
    progress: Progress | None = None
    dashboard_url: str = ""
    scheduler_address: str = ""
    result: object = None
    report: Manifest | None = None
    policy: Manifest | None = None
    spec_hash: str = ""
    #: Hash of a template that was changed after the start and whose change was reported.
    ignored_spec_hash: str = ""
    #: When this was written last.
    updated_at: datetime | None = None
    conditions: Conditions = ()

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

    def to_manifest(self) -> Manifest:
        """Return the status as the API holds it: absent, never null or empty."""
        manifest: Manifest = {
            "observedGeneration": self.observed_generation or None,
            "jobStatus": str(self.job_status) if self.job_status else None,
            "phase": self.phase or None,
            "clusterName": self.cluster_name or None,
            "jobRunnerPodName": self.job_runner_pod_name or None,
            "startTime": format_time(self.start_time),
            "endTime": format_time(self.end_time),
            "reason": self.reason or None,
            "message": shortened_message(self.message) or None,
            "exitCode": self.exit_code,
            "attempt": self.attempt,
            "attemptStartTime": format_time(self.attempt_start_time),
            "attempts": [a.to_manifest() for a in self.attempts] or None,
            "failures": self.failures or None,
            "ignored": self.ignored or None,
            "nextAttemptTime": format_time(self.next_attempt_time),
            "activeSeconds": self.active_seconds or None,
            "schedulerIdentity": self.scheduler_identity or None,
            "workers": _workers_manifest(self.workers),
            "progress": _progress_manifest(self.progress),
            "summary": _summary_manifest(self),
            "dashboardURL": self.dashboard_url or None,
            "schedulerAddress": self.scheduler_address or None,
            "result": self.result,
            "report": self.report,
            "policy": self.policy,
            "specHash": self.spec_hash or None,
            "ignoredSpecHash": self.ignored_spec_hash or None,
            "updatedAt": format_time(self.updated_at),
            "conditions": [c.to_manifest() for c in self.conditions] or None,
        }
        return without_nones(manifest)


def _workers_manifest(workers: Workers | None) -> Manifest | None:
    if workers is None:
        return None
    return {"desired": workers.desired, "ready": workers.ready}


def _progress_manifest(progress: Progress | None) -> Manifest | None:
    if progress is None:
        return None
    return without_nones(
        {
            "total": progress.total,
            "done": progress.done,
            "processing": progress.processing,
            "erred": progress.erred,
            "updatedAt": format_time(progress.updated_at),
        }
    )


def _summary_manifest(status: JobStatus) -> Manifest | None:
    known = status.progress is not None and status.progress.total
    summary = without_nones(
        {
            "progress": str(status.progress) if known else None,
            "workers": str(status.workers) if status.workers and not status.finished else None,
            "attempts": status.attempts_begun if status.started else None,
        }
    )
    return summary or None


def job_status_from(manifest: Mapping[str, object] | None) -> JobStatus:
    """Return a status from what the API holds; ``""``, null and nonsense count as absent."""
    raw = manifest or {}
    word = raw.get("jobStatus")
    policy = raw.get("policy")
    report = raw.get("report")
    return JobStatus(
        observed_generation=integer(raw, "observedGeneration"),
        job_status=JobStatusWord(word) if word in [str(w) for w in JobStatusWord] else None,
        phase=text(raw, "phase"),
        cluster_name=text(raw, "clusterName"),
        job_runner_pod_name=text(raw, "jobRunnerPodName"),
        start_time=parse_time(raw.get("startTime")),
        end_time=parse_time(raw.get("endTime")),
        reason=text(raw, "reason"),
        message=text(raw, "message"),
        exit_code=optional_integer(raw, "exitCode"),
        attempt=integer(raw, "attempt"),
        attempt_start_time=parse_time(raw.get("attemptStartTime")),
        attempts=tuple(_attempt(item) for item in mappings(raw, "attempts")),
        failures=integer(raw, "failures"),
        ignored=integer(raw, "ignored"),
        next_attempt_time=parse_time(raw.get("nextAttemptTime")),
        active_seconds=integer(raw, "activeSeconds"),
        scheduler_identity=text(raw, "schedulerIdentity"),
        workers=_workers(raw.get("workers")),
        progress=_progress(raw.get("progress")),
        dashboard_url=text(raw, "dashboardURL"),
        scheduler_address=text(raw, "schedulerAddress"),
        result=raw.get("result"),
        report=report if isinstance(report, dict) else None,
        policy=policy if isinstance(policy, dict) else None,
        spec_hash=text(raw, "specHash"),
        ignored_spec_hash=text(raw, "ignoredSpecHash"),
        updated_at=parse_time(raw.get("updatedAt")),
        conditions=tuple(condition_from(item) for item in mappings(raw, "conditions")),
    )


def _attempt(raw: Mapping[str, object]) -> Attempt:
    end = parse_time(raw.get("endTime")) or parse_time(raw.get("startTime"))
    return Attempt(
        number=integer(raw, "number"),
        runner_pod_name=text(raw, "runnerPodName"),
        start_time=parse_time(raw.get("startTime")),
        end_time=end or datetime.fromisoformat("1970-01-01T00:00:00+00:00"),
        exit_code=optional_integer(raw, "exitCode"),
        reason=text(raw, "reason"),
        message=text(raw, "message"),
    )


def _workers(raw: object) -> Workers | None:
    if not isinstance(raw, Mapping):
        return None
    return Workers(integer(raw, "desired"), integer(raw, "ready"))


def _progress(raw: object) -> Progress | None:
    if not isinstance(raw, Mapping):
        return None
    return Progress(
        total=integer(raw, "total"),
        done=integer(raw, "done"),
        processing=integer(raw, "processing"),
        erred=integer(raw, "erred"),
        updated_at=parse_time(raw.get("updatedAt")),
    )


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
