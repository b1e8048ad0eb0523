"""A job's policy: how often it is retried, how long it may take, what is deleted after it.

At a job's start the policy is resolved and frozen in ``status.policy``, in the same form as in the
spec, because a client may send an Update through old types, which drops every field that they lack
(design §2.3). ``read_policy`` reads both.

A field is one row of ``Policy``; reading, freezing, following and the CRD are derived from it.
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
from daskjob.core.spec.group import MOST_WORKERS
from daskjob.core.spec.pod import RestartPolicy


class Restart(StrEnum):
    """What the next attempt runs on."""

    CLUSTER = "Cluster"
    RUNNER = "Runner"


class OnSchedulerLoss(StrEnum):
    """Whether losing the scheduler fails the attempt."""

    FAIL = "Fail"
    IGNORE = "Ignore"


class StallAction(StrEnum):
    """What to do about a stall."""

    REPORT = "Report"
    FAIL = "Fail"


class Deletion(StrEnum):
    """What to delete when a job has ended."""

    DELETE_CLUSTER = "DeleteCluster"
    DELETE_WORKERS = "DeleteWorkers"
    KEEP = "Keep"


class RunnerStart(StrEnum):
    """When to create the runner."""

    AT_ONCE = "AtOnce"
    AFTER_SCHEDULER = "AfterScheduler"
    AFTER_WORKERS = "AfterWorkers"


#: batch/v1's default, for jobs whose documented restart policy is OnFailure.
DEFAULT_BACKOFF_LIMIT = 6
DEFAULT_BACKOFF_INITIAL_SECONDS = 10
DEFAULT_BACKOFF_FACTOR = 2.0
DEFAULT_BACKOFF_MAX_SECONDS = 360
#: The number of infrastructure failures that are retried without counting.
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
    "The wait before a failed job is retried.",
    rules=(LONGEST_IS_LONGER,),
)
FAILURE_POLICY = Record("failurePolicy", "Which failures are retried, and how.")
DELETION_POLICY = Record(
    "deletionPolicy",
    "What to delete when the job has ended. The runner is kept as long as the job.",
)
PROGRESS = Record("progress", "How the job's progress is reported.")
AFTER_WORKERS = Rule(
    "!has(self.minAvailableWorkers) ||"
    f" (has(self.runnerStart) && self.runnerStart == '{RunnerStart.AFTER_WORKERS}')",
    f"leave it out, or set runnerStart: {RunnerStart.AFTER_WORKERS}",
    ".minAvailableWorkers",
)
ONLY_RUNNER = Rule(
    "!has(self.clusterRef) || !has(self.failurePolicy) || !has(self.failurePolicy.restart)"
    f" || self.failurePolicy.restart == '{Restart.RUNNER}'",
    f"write {Restart.RUNNER}: a cluster of clusterRef is never replaced",
    ".failurePolicy.restart",
)
NEVER_DELETED = Rule(
    "!has(self.clusterRef) || !has(self.deletionPolicy)",
    "leave it out: a cluster of clusterRef is never deleted",
    ".deletionPolicy",
)
#: Rules about several fields of the policy.
POLICY_RULES = (AFTER_WORKERS, ONLY_RUNNER, NEVER_DELETED)


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of a job that are frozen at its start; times in seconds.

    A running job still follows a field with ``followed`` if its spec sets it (design §3.1).
    """

    backoff_limit: int = row(
        Integer(
            "backoffLimit",
            f"Number of retries before the job fails. Defaults to {DEFAULT_BACKOFF_LIMIT} with "
            "restartPolicy OnFailure, to 0 with Never.",
        ),
        DEFAULT_BACKOFF_LIMIT,
    )
    backoff_initial_seconds: int = row(
        Integer(
            "initialSeconds",
            "Seconds to wait before the second attempt. Defaults to "
            f"{DEFAULT_BACKOFF_INITIAL_SECONDS}.",
        ),
        DEFAULT_BACKOFF_INITIAL_SECONDS,
        within=BACKOFF,
    )
    backoff_factor: float = row(
        Number(
            "factor",
            "Factor by which the wait grows with every failure. Defaults to "
            f"{DEFAULT_BACKOFF_FACTOR:g}.",
            minimum=1,
        ),
        DEFAULT_BACKOFF_FACTOR,
        within=BACKOFF,
    )
    backoff_max_seconds: int = row(
        Integer(
            "maxSeconds",
            f"Longest wait in seconds. Defaults to {DEFAULT_BACKOFF_MAX_SECONDS}.",
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
            "Number of infrastructure failures to retry without counting. Defaults to "
            f"{DEFAULT_MAX_IGNORED}.",
        ),
        DEFAULT_MAX_IGNORED,
        within=FAILURE_POLICY,
    )
    restart: Restart = row(
        Choice(
            "restart",
            "What the next attempt runs on. Cluster (the default): a new cluster. Runner: the same "
            "cluster.",
            Restart,
        ),
        Restart.CLUSTER,
        within=FAILURE_POLICY,
    )
    on_scheduler_loss: OnSchedulerLoss = row(
        Choice(
            "onSchedulerLoss",
            "Whether losing the scheduler, and with it every task, fails the attempt. Defaults to "
            "Fail.",
            OnSchedulerLoss,
        ),
        OnSchedulerLoss.FAIL,
    )
    active_deadline_seconds: int | None = row(
        Integer(
            "activeDeadlineSeconds",
            "Seconds that all attempts together may take; time spent suspended does not count.",
            minimum=1,
        ),
        followed=True,
    )
    attempt_deadline_seconds: int | None = row(
        Integer("attemptDeadlineSeconds", "Seconds that one attempt may take.", minimum=1),
        followed=True,
    )
    startup_deadline_seconds: int | None = row(
        Integer(
            "startupDeadlineSeconds",
            "Seconds that an attempt may take until its runner is running. Defaults to no limit; "
            f"with clusterRef to {CLUSTER_REF_STARTUP_SECONDS}.",
            minimum=1,
        ),
        followed=True,
    )
    stall_deadline_seconds: int | None = row(
        Integer(
            "stallDeadlineSeconds",
            "Seconds without progress of any task, while the runner is running, until the job is "
            "considered stalled.",
            minimum=1,
        ),
        followed=True,
    )
    stall_action: StallAction = row(
        Choice(
            "stallAction",
            "What to do about a stall: Report a condition (the default), or Fail the job.",
            StallAction,
        ),
        StallAction.REPORT,
    )
    ttl_seconds_after_finished: int | None = row(
        Integer(
            "ttlSecondsAfterFinished",
            "Seconds after its end until the job is deleted, with its runner and log. Defaults to "
            "never.",
            minimum=1,
        ),
        followed=True,
    )
    on_success: Deletion = row(
        Choice("onSuccess", "What to delete after success. Defaults to DeleteCluster.", Deletion),
        Deletion.DELETE_CLUSTER,
        within=DELETION_POLICY,
    )
    on_failure: Deletion = row(
        Choice("onFailure", "What to delete after a failure. Defaults to DeleteCluster.", Deletion),
        Deletion.DELETE_CLUSTER,
        within=DELETION_POLICY,
    )
    runner_start: RunnerStart = row(
        Choice(
            "runnerStart",
            "When to create the runner. AtOnce (the default): immediately. AfterScheduler: once "
            "the scheduler responds. AfterWorkers: once enough workers are ready.",
            RunnerStart,
        ),
        RunnerStart.AT_ONCE,
    )
    min_available_workers: int | None = row(
        Integer(
            "minAvailableWorkers",
            "Number of workers that must be ready, with runnerStart AfterWorkers. Defaults to all.",
            minimum=1,
            maximum=MOST_WORKERS,
            capped=True,
        )
    )
    progress_interval_seconds: int = row(
        Integer(
            "intervalSeconds",
            "Seconds between writes of progress to the status; 0: never. Defaults to "
            f"{DEFAULT_PROGRESS_SECONDS}.",
        ),
        DEFAULT_PROGRESS_SECONDS,
        within=PROGRESS,
    )


#: The fields of the spec that form the policy.
POLICY_FIELDS = shapes_of(Policy)


def read_policy(spec: Reader, *, restart_policy: RestartPolicy, cluster_ref: bool) -> Policy:
    """Return the policy of a spec (or a frozen policy), with defaults."""
    defaults: dict[str, object] = {**_default_limits(spec, restart_policy)}
    if cluster_ref:
        defaults["restart"] = Restart.RUNNER
        defaults["startup_deadline_seconds"] = CLUSTER_REF_STARTUP_SECONDS
    policy = Policy(**read_fields(Policy, spec, **defaults))
    _check_together(spec, policy, cluster_ref=cluster_ref)
    return policy


def _default_limits(spec: Reader, restart_policy: RestartPolicy) -> dict[str, int]:
    """Return the defaults of backoffLimit and maxIgnored where they depend on restartPolicy.

    With ``restartPolicy: Never`` and neither a limit nor a rule nothing is retried, not even after
    an infrastructure failure: a caller that writes that (such as Flyte) retries itself.
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
            f"{LONGEST_IS_LONGER.message}, {policy.backoff_initial_seconds}",
        )
    if policy.min_available_workers and policy.runner_start is not RunnerStart.AFTER_WORKERS:
        spec.mistake("minAvailableWorkers", policy.min_available_workers, AFTER_WORKERS.message)
    if cluster_ref and policy.restart is Restart.CLUSTER:
        spec.mistake("failurePolicy.restart", str(policy.restart), ONLY_RUNNER.message)
    if cluster_ref and spec.has(DELETION_POLICY.name):
        given = spec.fields.get(DELETION_POLICY.name)
        spec.mistake(DELETION_POLICY.name, given, NEVER_DELETED.message)


def frozen(policy: Policy) -> Manifest:
    """Return the policy as ``status.policy`` holds it: resolved, in the form of the spec."""
    return written_fields(policy)


#: Fields of the frozen policy that are no policy: the name of the job's own cluster, or of the one
#: that it refers to; the caller's token.
FROZEN_CLUSTER = "cluster"
FROZEN_CLUSTER_REF = "clusterRef"
FROZEN_SUBMISSION_ID = "submissionID"
#: Others: the job's packages, without the lines, which its ConfigMap keeps; its code.
FROZEN_ENVIRONMENT = "environment"
FROZEN_CODE = "code"


def frozen_text(frozen_policy: Mapping[str, object] | None, key: str) -> str | None:
    """Return a text that was frozen with the policy; ``None``: it was not."""
    found = (frozen_policy or {}).get(key)
    return found if isinstance(found, str) else None


def frozen_cluster_ref(frozen_policy: Mapping[str, object] | None) -> str | None:
    """Return the clusterRef at the job's start, empty without one; ``None``: it was not frozen."""
    own = frozen_text(frozen_policy, FROZEN_CLUSTER)
    return frozen_text(frozen_policy, FROZEN_CLUSTER_REF) if own is None else ""


def followed(frozen_policy: Manifest, spec: Mapping[str, object]) -> Manifest:
    """Return the frozen policy, updated from the mutable fields that the spec sets now.

    All of them are seconds above zero; an invalid value leaves the frozen one.
    """
    current = _current(spec)
    if all(frozen_policy.get(key) == value for key, value in current.items()):
        return frozen_policy
    return {**frozen_policy, **current}


@cached_by_identity
def _current(spec: Mapping[str, object]) -> Manifest:
    """Return the fields that a running job still follows, as far as a spec sets them."""
    return followed_fields(Policy, spec)


def thawed(frozen_policy: Mapping[str, object], *, cluster_ref: bool) -> Policy:
    """Return the policy in ``status.policy``, with defaults for unreadable values."""
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
