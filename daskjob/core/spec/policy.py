"""A job's policy: how often it is tried, how long it may take, what stays behind. No I/O here.

At a job's start the policy is resolved and frozen in ``status.policy``, in the very shape that it
has in the spec, because an outside client may send an Update through old types that drops every
field that it does not know (design §2.3). ``read_policy`` reads both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from daskjob.core.caching import cached_by_identity
from daskjob.core.fields import Reader
from daskjob.core.manifests import Manifest, without_nones
from daskjob.core.reasons import Reason
from daskjob.core.spec.pod import RestartPolicy
from daskjob.core.spec.policy_fields import (
    ABOUT_SOMETHING,
    ACTION,
    ACTIVE_DEADLINE_SECONDS,
    AFTER_WORKERS,
    ATTEMPT_DEADLINE_SECONDS,
    BACKOFF,
    BACKOFF_LIMIT,
    CLUSTER_REF_STARTUP_SECONDS,
    DEFAULT_BACKOFF_FACTOR,
    DEFAULT_BACKOFF_INITIAL_SECONDS,
    DEFAULT_BACKOFF_LIMIT,
    DEFAULT_BACKOFF_MAX_SECONDS,
    DEFAULT_MAX_IGNORED,
    DEFAULT_PROGRESS_SECONDS,
    DELETION_POLICY,
    FACTOR,
    FAILURE_POLICY,
    INITIAL_SECONDS,
    INTERVAL_SECONDS,
    LARGEST_EXIT_CODE,
    LONGEST_IS_LONGER,
    MAX_IGNORED,
    MAX_SECONDS,
    MIN_AVAILABLE_WORKERS,
    MOST_EXIT_CODES,
    MUTABLE_FIELDS,
    NEVER_DELETED,
    ON_EXIT_CODES,
    ON_FAILURE,
    ON_REASONS,
    ON_SCHEDULER_LOSS,
    ON_SUCCESS,
    ONLY_RUNNER,
    OPERATOR,
    PROGRESS,
    RESTART,
    RULE_NAME,
    RULE_REASONS,
    RULES,
    RUNNER_START,
    STALL_ACTION,
    STALL_DEADLINE_SECONDS,
    STARTUP_DEADLINE_SECONDS,
    TTL_SECONDS_AFTER_FINISHED,
    VALUES,
    Action,
    Deletion,
    OnSchedulerLoss,
    Operator,
    Restart,
    RunnerStart,
    StallAction,
)

__all__ = [
    "Action",
    "Deletion",
    "FailureRule",
    "OnSchedulerLoss",
    "Operator",
    "Policy",
    "Restart",
    "RunnerStart",
    "StallAction",
    "followed",
    "frozen",
    "read_policy",
    "thawed",
]

T = TypeVar("T")
D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class FailureRule:
    """A rule of ``failurePolicy``: matches by exit code, or by reason, or by both."""

    action: Action
    name: str = ""
    exit_codes: tuple[int, ...] = ()
    operator: Operator | None = None
    reasons: tuple[Reason, ...] = ()

    def matches(self, reason: Reason, exit_code: int | None) -> bool:
        """Say whether an attempt with this end falls under the rule."""
        if self.reasons and reason not in self.reasons:
            return False
        if self.operator is None:
            return bool(self.reasons)
        if exit_code is None:
            return False
        return (exit_code in self.exit_codes) is (self.operator is Operator.IN)


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything about a job that is decided at its start; times in seconds."""

    backoff_limit: int = DEFAULT_BACKOFF_LIMIT
    backoff_initial_seconds: int = DEFAULT_BACKOFF_INITIAL_SECONDS
    backoff_factor: float = DEFAULT_BACKOFF_FACTOR
    backoff_max_seconds: int = DEFAULT_BACKOFF_MAX_SECONDS
    rules: tuple[FailureRule, ...] = ()
    max_ignored: int = DEFAULT_MAX_IGNORED
    restart: Restart = Restart.CLUSTER
    on_scheduler_loss: OnSchedulerLoss = OnSchedulerLoss.FAIL
    active_deadline_seconds: int | None = None
    attempt_deadline_seconds: int | None = None
    startup_deadline_seconds: int | None = None
    stall_deadline_seconds: int | None = None
    stall_action: StallAction = StallAction.REPORT
    ttl_seconds_after_finished: int | None = None
    on_success: Deletion = Deletion.DELETE_CLUSTER
    on_failure: Deletion = Deletion.DELETE_CLUSTER
    runner_start: RunnerStart = RunnerStart.AT_ONCE
    min_available_workers: int | None = None
    #: 0: no progress is written.
    progress_interval_seconds: int = DEFAULT_PROGRESS_SECONDS


def read_policy(spec: Reader, *, restart_policy: RestartPolicy, cluster_ref: bool) -> Policy:
    """Return the policy that a spec (or a frozen policy) asks for, defaults filled in."""
    failure, backoff = FAILURE_POLICY.read(spec), BACKOFF.read(spec)
    deletion, progress = DELETION_POLICY.read(spec), PROGRESS.read(spec)
    rules = tuple(_read_rules(failure))
    default_limit, default_ignored = _default_limits(spec, restart_policy, has_rules=bool(rules))
    base = Policy()
    policy = Policy(
        backoff_limit=_or(BACKOFF_LIMIT.read(spec), default_limit),
        backoff_initial_seconds=_or(INITIAL_SECONDS.read(backoff), base.backoff_initial_seconds),
        backoff_factor=_or(FACTOR.read(backoff), base.backoff_factor),
        backoff_max_seconds=_or(MAX_SECONDS.read(backoff), base.backoff_max_seconds),
        rules=rules,
        max_ignored=_or(MAX_IGNORED.read(failure), default_ignored),
        restart=_or(RESTART.read(failure), Restart.RUNNER if cluster_ref else base.restart),
        on_scheduler_loss=_or(ON_SCHEDULER_LOSS.read(spec), base.on_scheduler_loss),
        active_deadline_seconds=ACTIVE_DEADLINE_SECONDS.read(spec),
        attempt_deadline_seconds=ATTEMPT_DEADLINE_SECONDS.read(spec),
        startup_deadline_seconds=_or(
            STARTUP_DEADLINE_SECONDS.read(spec),
            CLUSTER_REF_STARTUP_SECONDS if cluster_ref else None,
        ),
        stall_deadline_seconds=STALL_DEADLINE_SECONDS.read(spec),
        stall_action=_or(STALL_ACTION.read(spec), base.stall_action),
        ttl_seconds_after_finished=TTL_SECONDS_AFTER_FINISHED.read(spec),
        on_success=_or(ON_SUCCESS.read(deletion), base.on_success),
        on_failure=_or(ON_FAILURE.read(deletion), base.on_failure),
        runner_start=_or(RUNNER_START.read(spec), base.runner_start),
        min_available_workers=MIN_AVAILABLE_WORKERS.read(spec),
        progress_interval_seconds=_or(
            INTERVAL_SECONDS.read(progress), base.progress_interval_seconds
        ),
    )
    _check_together(spec, policy, cluster_ref=cluster_ref)
    return policy


def _or(value: T | None, default: D) -> T | D:
    return default if value is None else value


def _default_limits(
    spec: Reader, restart_policy: RestartPolicy, *, has_rules: bool
) -> tuple[int, int]:
    """Return the defaults of backoffLimit and maxIgnored.

    With ``restartPolicy: Never`` and neither a limit nor a rule nothing is tried again, not even
    after an infrastructure failure: whoever writes that (Flyte does) tries again itself.
    """
    if restart_policy is not RestartPolicy.NEVER:
        return DEFAULT_BACKOFF_LIMIT, DEFAULT_MAX_IGNORED
    said = spec.has(BACKOFF_LIMIT.name) or has_rules
    return 0, DEFAULT_MAX_IGNORED if said else 0


def _read_rules(failure: Reader) -> list[FailureRule]:
    rules: list[FailureRule] = []
    for item in RULES.read(failure):
        action, codes = ACTION.read(item), ON_EXIT_CODES.read(item)
        operator = OPERATOR.read(codes)
        reasons = _read_reasons(item)
        if item.given and not item.has(ON_EXIT_CODES.name) and not item.has(ON_REASONS.name):
            item.mistake("", dict(item.fields), ABOUT_SOMETHING.says)
        if action is not None:
            values = _read_codes(codes, operator)
            rules.append(FailureRule(action, RULE_NAME.read(item), values, operator, reasons))
    return rules


def _read_codes(codes: Reader, operator: Operator | None) -> tuple[int, ...]:
    if not codes.given:
        return ()
    values = codes.fields.get(VALUES.name)
    if not isinstance(values, list) or not values:
        codes.mistake(VALUES.name, values, VALUES.required)
        return ()
    if len(values) > MOST_EXIT_CODES:
        codes.mistake(VALUES.name, f"{len(values)} items", f"write at most {MOST_EXIT_CODES}")
    lowest = 1 if operator is Operator.IN else 0
    good = [
        v
        for v in values
        if isinstance(v, int) and not isinstance(v, bool) and lowest <= v <= LARGEST_EXIT_CODE
    ]
    if len(good) != len(values):
        allowed = f"write exit codes from {lowest} to {LARGEST_EXIT_CODE} (0 is no failure)"
        codes.mistake(VALUES.name, values, allowed)
    return tuple(good)


def _read_reasons(item: Reader) -> tuple[Reason, ...]:
    values = item.fields.get(ON_REASONS.name)
    if values is None:
        return ()
    if not isinstance(values, list) or not all(value in RULE_REASONS for value in values):
        item.mistake(ON_REASONS.name, values, "write a list of " + ", ".join(RULE_REASONS))
        return ()
    return tuple(Reason(value) for value in values)


def _check_together(spec: Reader, policy: Policy, *, cluster_ref: bool) -> None:
    if policy.backoff_max_seconds < policy.backoff_initial_seconds:
        spec.mistake(
            "backoff.maxSeconds",
            policy.backoff_max_seconds,
            f"{LONGEST_IS_LONGER.says}, {policy.backoff_initial_seconds}",
        )
    if policy.min_available_workers and policy.runner_start is not RunnerStart.AFTER_WORKERS:
        spec.mistake(MIN_AVAILABLE_WORKERS.name, policy.min_available_workers, AFTER_WORKERS.says)
    if cluster_ref and policy.restart is Restart.CLUSTER:
        spec.mistake("failurePolicy.restart", str(policy.restart), ONLY_RUNNER.says)
    if cluster_ref and spec.has(DELETION_POLICY.name):
        given = spec.fields.get(DELETION_POLICY.name)
        spec.mistake(DELETION_POLICY.name, given, NEVER_DELETED.says)


def frozen(policy: Policy) -> Manifest:
    """Return the policy as ``status.policy`` holds it: resolved, in the spec's own shape."""
    manifest: Manifest = {
        "backoffLimit": policy.backoff_limit,
        "backoff": {
            "initialSeconds": policy.backoff_initial_seconds,
            "factor": policy.backoff_factor,
            "maxSeconds": policy.backoff_max_seconds,
        },
        "failurePolicy": {
            "rules": [_frozen_rule(rule) for rule in policy.rules],
            "maxIgnored": policy.max_ignored,
            "restart": str(policy.restart),
        },
        "onSchedulerLoss": str(policy.on_scheduler_loss),
        "activeDeadlineSeconds": policy.active_deadline_seconds,
        "attemptDeadlineSeconds": policy.attempt_deadline_seconds,
        "startupDeadlineSeconds": policy.startup_deadline_seconds,
        "stallDeadlineSeconds": policy.stall_deadline_seconds,
        "stallAction": str(policy.stall_action),
        "ttlSecondsAfterFinished": policy.ttl_seconds_after_finished,
        "deletionPolicy": {
            "onSuccess": str(policy.on_success),
            "onFailure": str(policy.on_failure),
        },
        "runnerStart": str(policy.runner_start),
        "minAvailableWorkers": policy.min_available_workers,
        "progress": {"intervalSeconds": policy.progress_interval_seconds},
    }
    return {key: value for key, value in manifest.items() if value is not None}


def _frozen_rule(rule: FailureRule) -> Manifest:
    manifest: Manifest = {"action": str(rule.action)}
    if rule.name:
        manifest["name"] = rule.name
    if rule.operator is not None:
        manifest["onExitCodes"] = {"operator": str(rule.operator), "values": list(rule.exit_codes)}
    if rule.reasons:
        manifest["onReasons"] = [str(reason) for reason in rule.reasons]
    return manifest


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
    now = Reader(spec, "spec", [])
    said = {field.name: field.read(now) for field in MUTABLE_FIELDS}
    return without_nones(said)


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
        {k: v for k, v in frozen_policy.items() if k != "deletionPolicy" or not cluster_ref},
        "status.policy",
        [],
    )
    return read_policy(reader, restart_policy=RestartPolicy.NEVER, cluster_ref=cluster_ref)
