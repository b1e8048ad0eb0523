"""A job's policy: how often it is tried, how long it may take, what stays behind. No I/O here.

At a job's start the policy is resolved and frozen in ``status.policy``, in the very shape that it
has in the spec, because an outside client may send an Update through old types that drops every
field that it does not know (design §2.3). ``read_policy`` reads both.

A field is one row of ``Policy``: that it is read, frozen, followed and in the CRD follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from daskjob.core.caching import cached_by_identity
from daskjob.core.fields import Reader
from daskjob.core.manifests import Manifest, mapping
from daskjob.core.rows import parsed_row, row, shapes_of
from daskjob.core.shapes import Choice, Integer, Number, Record, Rule
from daskjob.core.spec.failure_rules import RULES, FailureRule, read_rules, written_rules
from daskjob.core.spec.fields import followed_fields, read_fields, written_fields
from daskjob.core.spec.pod import RestartPolicy


class Restart(StrEnum):
    """On what the next attempt runs."""

    CLUSTER = "Cluster"
    RUNNER = "Runner"


class OnSchedulerLoss(StrEnum):
    """What the loss of a scheduler means for an attempt."""

    FAIL = "Fail"
    IGNORE = "Ignore"


class StallAction(StrEnum):
    """What a stall leads to."""

    REPORT = "Report"
    FAIL = "Fail"


class Deletion(StrEnum):
    """What goes when a job has ended."""

    DELETE_CLUSTER = "DeleteCluster"
    DELETE_WORKERS = "DeleteWorkers"
    KEEP = "Keep"


class RunnerStart(StrEnum):
    """When the runner is created."""

    AT_ONCE = "AtOnce"
    AFTER_SCHEDULER = "AfterScheduler"
    AFTER_WORKERS = "AfterWorkers"


#: batch/v1's default, for jobs whose documented restart policy is OnFailure.
DEFAULT_BACKOFF_LIMIT = 6
DEFAULT_BACKOFF_INITIAL_SECONDS = 10
DEFAULT_BACKOFF_FACTOR = 2.0
DEFAULT_BACKOFF_MAX_SECONDS = 360
#: Infrastructure failures that are tried again without being counted.
DEFAULT_MAX_IGNORED = 10
DEFAULT_PROGRESS_SECONDS = 30
#: How long a job waits for the DaskCluster that its ``clusterRef`` names.
CLUSTER_REF_STARTUP_SECONDS = 60

LONGEST_IS_LONGER = Rule(
    f"(has(self.maxSeconds) ? self.maxSeconds : {DEFAULT_BACKOFF_MAX_SECONDS}) >="
    f" (has(self.initialSeconds) ? self.initialSeconds : {DEFAULT_BACKOFF_INITIAL_SECONDS})",
    "write at least initialSeconds",
    ".maxSeconds",
)
BACKOFF = Record(
    "backoff",
    "How long a failed job waits before it is tried again.",
    rules=(LONGEST_IS_LONGER,),
)
FAILURE_POLICY = Record("failurePolicy", "Which failures are tried again, and how.")
DELETION_POLICY = Record(
    "deletionPolicy", "What goes when the job has ended; its runner stays with it."
)
PROGRESS = Record("progress", "How the job's progress is told.")
AFTER_WORKERS = Rule(
    "!has(self.minAvailableWorkers) ||"
    f" (has(self.runnerStart) && self.runnerStart == '{RunnerStart.AFTER_WORKERS}')",
    f"it goes with runnerStart: {RunnerStart.AFTER_WORKERS}",
    ".minAvailableWorkers",
)
ONLY_RUNNER = Rule(
    "!has(self.clusterRef) || !has(self.failurePolicy) || !has(self.failurePolicy.restart)"
    f" || self.failurePolicy.restart == '{Restart.RUNNER}'",
    f"with clusterRef only {Restart.RUNNER}: the cluster stays",
    ".failurePolicy.restart",
)
NEVER_DELETED = Rule(
    "!has(self.clusterRef) || !has(self.deletionPolicy)",
    "leave it out: a cluster that clusterRef names is never deleted",
    ".deletionPolicy",
)
#: Rules over several of the policy's fields.
POLICY_RULES = (AFTER_WORKERS, ONLY_RUNNER, NEVER_DELETED)


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything about a job that is decided at its start; times in seconds.

    With ``followed``, a running job follows the field where its spec gives it (design §3.1).
    """

    backoff_limit: int = row(
        Integer(
            "backoffLimit",
            f"How many failed attempts are tried again; absent: {DEFAULT_BACKOFF_LIMIT} with "
            "restartPolicy OnFailure, 0 with Never.",
        ),
        DEFAULT_BACKOFF_LIMIT,
    )
    backoff_initial_seconds: int = row(
        Integer(
            "initialSeconds",
            f"Seconds before the second attempt; absent: {DEFAULT_BACKOFF_INITIAL_SECONDS}.",
        ),
        DEFAULT_BACKOFF_INITIAL_SECONDS,
        within=BACKOFF,
    )
    backoff_factor: float = row(
        Number(
            "factor",
            f"By what the wait grows with every failure; absent: {DEFAULT_BACKOFF_FACTOR:g}.",
            minimum=1,
        ),
        DEFAULT_BACKOFF_FACTOR,
        within=BACKOFF,
    )
    backoff_max_seconds: int = row(
        Integer(
            "maxSeconds",
            f"The longest wait in seconds; absent: {DEFAULT_BACKOFF_MAX_SECONDS}.",
        ),
        DEFAULT_BACKOFF_MAX_SECONDS,
        within=BACKOFF,
    )
    rules: tuple[FailureRule, ...] = parsed_row(
        RULES, (), read_rules, written_rules, within=FAILURE_POLICY
    )
    max_ignored: int = row(
        Integer(
            "maxIgnored",
            "How many infrastructure failures are tried again uncounted; absent: "
            f"{DEFAULT_MAX_IGNORED}.",
        ),
        DEFAULT_MAX_IGNORED,
        within=FAILURE_POLICY,
    )
    restart: Restart = row(
        Choice(
            "restart",
            "On what the next attempt runs: Cluster (absent): a fresh one; Runner: the same "
            "cluster.",
            Restart,
        ),
        Restart.CLUSTER,
        within=FAILURE_POLICY,
    )
    on_scheduler_loss: OnSchedulerLoss = row(
        Choice(
            "onSchedulerLoss",
            "Whether the loss of the scheduler, and with it of every task, fails the attempt; "
            "absent: Fail.",
            OnSchedulerLoss,
        ),
        OnSchedulerLoss.FAIL,
    )
    active_deadline_seconds: int | None = row(
        Integer(
            "activeDeadlineSeconds",
            "How long all attempts together may take; the clock stands still while suspended.",
            minimum=1,
        ),
        followed=True,
    )
    attempt_deadline_seconds: int | None = row(
        Integer("attemptDeadlineSeconds", "How long one attempt may take.", minimum=1),
        followed=True,
    )
    startup_deadline_seconds: int | None = row(
        Integer(
            "startupDeadlineSeconds",
            "How long an attempt may take until its runner runs; absent: for ever, with clusterRef "
            f"{CLUSTER_REF_STARTUP_SECONDS}.",
            minimum=1,
        ),
        followed=True,
    )
    stall_deadline_seconds: int | None = row(
        Integer(
            "stallDeadlineSeconds",
            "How long no task may move, while the runner runs, until the job counts as stalled.",
            minimum=1,
        ),
        followed=True,
    )
    stall_action: StallAction = row(
        Choice(
            "stallAction",
            "What a stall leads to: Report (absent) a condition; Fail the job.",
            StallAction,
        ),
        StallAction.REPORT,
    )
    ttl_seconds_after_finished: int | None = row(
        Integer(
            "ttlSecondsAfterFinished",
            "How long after its end the job is deleted, its runner and log with it; absent: never.",
            minimum=1,
        ),
        followed=True,
    )
    on_success: Deletion = row(
        Choice("onSuccess", "What goes after success; absent: DeleteCluster.", Deletion),
        Deletion.DELETE_CLUSTER,
        within=DELETION_POLICY,
    )
    on_failure: Deletion = row(
        Choice("onFailure", "What goes after a failure; absent: DeleteCluster.", Deletion),
        Deletion.DELETE_CLUSTER,
        within=DELETION_POLICY,
    )
    runner_start: RunnerStart = row(
        Choice(
            "runnerStart",
            "When the runner is created: AtOnce (absent), AfterScheduler answers, AfterWorkers are "
            "ready.",
            RunnerStart,
        ),
        RunnerStart.AT_ONCE,
    )
    min_available_workers: int | None = row(
        Integer(
            "minAvailableWorkers",
            "With runnerStart AfterWorkers, how many workers have to be ready; absent: all.",
            minimum=1,
        )
    )
    progress_interval_seconds: int = row(
        Integer(
            "intervalSeconds",
            "How often progress is written into the status; 0: never; absent: "
            f"{DEFAULT_PROGRESS_SECONDS}.",
        ),
        DEFAULT_PROGRESS_SECONDS,
        within=PROGRESS,
    )


#: Fields of the spec that make up the policy.
POLICY_FIELDS = shapes_of(Policy)


def read_policy(spec: Reader, *, restart_policy: RestartPolicy, cluster_ref: bool) -> Policy:
    """Return the policy that a spec (or a frozen policy) asks for, defaults filled in."""
    defaults: dict[str, object] = {**_default_limits(spec, restart_policy)}
    if cluster_ref:
        defaults["restart"] = Restart.RUNNER
        defaults["startup_deadline_seconds"] = CLUSTER_REF_STARTUP_SECONDS
    policy = Policy(**read_fields(Policy, spec, **defaults))
    _check_together(spec, policy, cluster_ref=cluster_ref)
    return policy


def _default_limits(spec: Reader, restart_policy: RestartPolicy) -> dict[str, int]:
    """Return the defaults of backoffLimit and maxIgnored where they are not the usual ones.

    With ``restartPolicy: Never`` and neither a limit nor a rule nothing is tried again, not even
    after an infrastructure failure: a caller that writes that (Flyte does) tries again itself.
    """
    if restart_policy is not RestartPolicy.NEVER:
        return {}
    has_rules = bool(mapping(spec.fields.get(FAILURE_POLICY.name)).get(RULES.name))
    if spec.has("backoffLimit") or has_rules:
        return {"backoff_limit": 0}
    return {"backoff_limit": 0, "max_ignored": 0}


def _check_together(spec: Reader, policy: Policy, *, cluster_ref: bool) -> None:
    if policy.backoff_max_seconds < policy.backoff_initial_seconds:
        spec.mistake(
            "backoff.maxSeconds",
            policy.backoff_max_seconds,
            f"{LONGEST_IS_LONGER.says}, {policy.backoff_initial_seconds}",
        )
    if policy.min_available_workers and policy.runner_start is not RunnerStart.AFTER_WORKERS:
        spec.mistake("minAvailableWorkers", policy.min_available_workers, AFTER_WORKERS.says)
    if cluster_ref and policy.restart is Restart.CLUSTER:
        spec.mistake("failurePolicy.restart", str(policy.restart), ONLY_RUNNER.says)
    if cluster_ref and spec.has(DELETION_POLICY.name):
        given = spec.fields.get(DELETION_POLICY.name)
        spec.mistake(DELETION_POLICY.name, given, NEVER_DELETED.says)


def frozen(policy: Policy) -> Manifest:
    """Return the policy as ``status.policy`` holds it: resolved, in the spec's own shape."""
    return written_fields(policy)


def followed(frozen_policy: Manifest, spec: Mapping[str, object]) -> Manifest:
    """Return the frozen policy with what the spec now says explicitly of its mutable fields.

    All of them are seconds above zero; what cannot be meant leaves the frozen value.
    """
    said = _said(spec)
    if all(frozen_policy.get(key) == value for key, value in said.items()):
        return frozen_policy
    return {**frozen_policy, **said}


@cached_by_identity
def _said(spec: Mapping[str, object]) -> Manifest:
    """Return what a spec says explicitly of the fields that a running job still follows."""
    return followed_fields(Policy, spec)


def thawed(frozen_policy: Mapping[str, object], *, cluster_ref: bool) -> Policy:
    """Return the policy that ``status.policy`` holds; what cannot be read takes its default."""
    return _of_a_reference(frozen_policy) if cluster_ref else _of_own_cluster(frozen_policy)


@cached_by_identity
def _of_a_reference(frozen_policy: Mapping[str, object]) -> Policy:
    return _read_frozen(frozen_policy, cluster_ref=True)


@cached_by_identity
def _of_own_cluster(frozen_policy: Mapping[str, object]) -> Policy:
    return _read_frozen(frozen_policy, cluster_ref=False)


def _read_frozen(frozen_policy: Mapping[str, object], *, cluster_ref: bool) -> Policy:
    reader = Reader(
        {k: v for k, v in frozen_policy.items() if k != DELETION_POLICY.name or not cluster_ref},
        "status.policy",
        [],
    )
    return read_policy(reader, restart_policy=RestartPolicy.NEVER, cluster_ref=cluster_ref)
