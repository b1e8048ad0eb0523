"""A job's policy: how often it is tried, how long it may take, what stays behind. No I/O here.

At a job's start the policy is resolved and frozen in ``status.policy``, in the very shape that it
has in the spec, because an outside client may send an Update through old types that drops every
field that it does not know (design §2.3). ``read_policy`` reads both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from daskjob.core.fields import Reader
from daskjob.core.manifests import Manifest
from daskjob.core.reasons import FINAL_REASONS, Reason
from daskjob.core.spec.pod import RestartPolicy

T = TypeVar("T")
D = TypeVar("D")

#: batch/v1's default, for jobs whose documented restart policy is OnFailure.
DEFAULT_BACKOFF_LIMIT = 6
#: Infrastructure failures that are tried again without being counted.
DEFAULT_MAX_IGNORED = 10
DEFAULT_PROGRESS_SECONDS = 30
#: How long a job waits for the DaskCluster that its ``clusterRef`` names.
CLUSTER_REF_STARTUP_SECONDS = 60

#: Fields of the spec that make up the policy.
POLICY_FIELDS = (
    "backoffLimit",
    "backoff",
    "failurePolicy",
    "onSchedulerLoss",
    "activeDeadlineSeconds",
    "attemptDeadlineSeconds",
    "startupDeadlineSeconds",
    "stallDeadlineSeconds",
    "stallAction",
    "ttlSecondsAfterFinished",
    "deletionPolicy",
    "runnerStart",
    "minAvailableWorkers",
    "progress",
)
#: Of these, what a running job still follows when it is given explicitly (design §3.1).
MUTABLE_FIELDS = (
    "activeDeadlineSeconds",
    "attemptDeadlineSeconds",
    "startupDeadlineSeconds",
    "stallDeadlineSeconds",
    "ttlSecondsAfterFinished",
)


class Action(StrEnum):
    """What a failure rule does with an attempt that it matches."""

    FAIL_JOB = "FailJob"
    IGNORE = "Ignore"
    COUNT = "Count"


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


class Operator(StrEnum):
    """How a rule's exit codes are meant."""

    IN = "In"
    NOT_IN = "NotIn"


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
    backoff_initial_seconds: int = 10
    backoff_factor: float = 2.0
    backoff_max_seconds: int = 360
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
    failure = spec.mapping("failurePolicy")
    failure.only(("rules", "maxIgnored", "restart"))
    rules = tuple(_read_rules(failure))
    default_limit, default_ignored = _default_limits(spec, restart_policy, has_rules=bool(rules))
    backoff = spec.mapping("backoff")
    backoff.only(("initialSeconds", "factor", "maxSeconds"))
    deletion = spec.mapping("deletionPolicy")
    deletion.only(("onSuccess", "onFailure"))
    progress = spec.mapping("progress")
    progress.only(("intervalSeconds",))
    base = Policy()
    policy = Policy(
        backoff_limit=_or(spec.integer("backoffLimit"), default_limit),
        backoff_initial_seconds=_or(
            backoff.integer("initialSeconds"), base.backoff_initial_seconds
        ),
        backoff_factor=_or(backoff.number("factor", 1), base.backoff_factor),
        backoff_max_seconds=_or(backoff.integer("maxSeconds"), base.backoff_max_seconds),
        rules=rules,
        max_ignored=_or(failure.integer("maxIgnored"), default_ignored),
        restart=_or(
            failure.choice("restart", Restart), Restart.RUNNER if cluster_ref else base.restart
        ),
        on_scheduler_loss=_or(
            spec.choice("onSchedulerLoss", OnSchedulerLoss), base.on_scheduler_loss
        ),
        active_deadline_seconds=spec.integer("activeDeadlineSeconds", minimum=1),
        attempt_deadline_seconds=spec.integer("attemptDeadlineSeconds", minimum=1),
        startup_deadline_seconds=_or(
            spec.integer("startupDeadlineSeconds", minimum=1),
            CLUSTER_REF_STARTUP_SECONDS if cluster_ref else None,
        ),
        stall_deadline_seconds=spec.integer("stallDeadlineSeconds", minimum=1),
        stall_action=_or(spec.choice("stallAction", StallAction), base.stall_action),
        ttl_seconds_after_finished=spec.integer("ttlSecondsAfterFinished", minimum=1),
        on_success=_or(deletion.choice("onSuccess", Deletion), base.on_success),
        on_failure=_or(deletion.choice("onFailure", Deletion), base.on_failure),
        runner_start=_or(spec.choice("runnerStart", RunnerStart), base.runner_start),
        min_available_workers=spec.integer("minAvailableWorkers", minimum=1),
        progress_interval_seconds=_or(
            progress.integer("intervalSeconds"), base.progress_interval_seconds
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
    said = spec.has("backoffLimit") or has_rules
    return 0, DEFAULT_MAX_IGNORED if said else 0


def _read_rules(failure: Reader) -> list[FailureRule]:
    rules: list[FailureRule] = []
    for item in failure.items("rules"):
        item.only(("name", "action", "onExitCodes", "onReasons"))
        action = item.choice("action", Action)
        if not item.has("action"):
            item.mistake("action", None, "write one of " + ", ".join(Action))
        codes = item.mapping("onExitCodes")
        codes.only(("operator", "values"))
        operator = codes.choice("operator", Operator)
        if codes.given and not codes.has("operator"):
            codes.mistake("operator", None, "write In or NotIn")
        reasons = _read_reasons(item)
        if not codes.given and not item.has("onReasons"):
            item.mistake("", dict(item.fields), "give the rule onExitCodes, onReasons, or both")
        if action is not None:
            values = _read_codes(codes, operator)
            rules.append(FailureRule(action, item.text("name"), values, operator, reasons))
    return rules


def _read_codes(codes: Reader, operator: Operator | None) -> tuple[int, ...]:
    if not codes.given:
        return ()
    values = codes.fields.get("values")
    if not isinstance(values, list) or not values:
        codes.mistake("values", values, "write a list of exit codes from 1 to 255")
        return ()
    lowest = 1 if operator is Operator.IN else 0
    good = [
        v for v in values if isinstance(v, int) and not isinstance(v, bool) and lowest <= v <= 255
    ]
    if len(good) != len(values):
        codes.mistake("values", values, f"write exit codes from {lowest} to 255 (0 is no failure)")
    return tuple(good)


def _read_reasons(item: Reader) -> tuple[Reason, ...]:
    values = item.fields.get("onReasons")
    if values is None:
        return ()
    allowed = [r for r in Reason if r not in FINAL_REASONS and r is not Reason.SUSPENDED]
    if not isinstance(values, list) or not all(value in allowed for value in values):
        item.mistake("onReasons", values, "write a list of " + ", ".join(allowed))
        return ()
    return tuple(Reason(value) for value in values)


def _check_together(spec: Reader, policy: Policy, *, cluster_ref: bool) -> None:
    if policy.backoff_max_seconds < policy.backoff_initial_seconds:
        spec.mistake(
            "backoff.maxSeconds",
            policy.backoff_max_seconds,
            f"write at least initialSeconds, {policy.backoff_initial_seconds}",
        )
    if policy.min_available_workers and policy.runner_start is not RunnerStart.AFTER_WORKERS:
        spec.mistake(
            "minAvailableWorkers",
            policy.min_available_workers,
            "it goes with runnerStart: AfterWorkers",
        )
    if cluster_ref and policy.restart is Restart.CLUSTER:
        spec.mistake(
            "failurePolicy.restart", "Cluster", "with clusterRef only Runner: the cluster stays"
        )
    if cluster_ref and spec.has("deletionPolicy"):
        spec.mistake(
            "deletionPolicy",
            spec.fields.get("deletionPolicy"),
            "leave it out: a cluster that clusterRef names is never deleted",
        )


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


def followed(frozen_policy: Mapping[str, object], spec: Mapping[str, object]) -> Manifest:
    """Return the frozen policy with what the spec now says explicitly of its mutable fields.

    All of them are seconds above zero; what cannot be meant leaves the frozen value.
    """
    now = Reader(spec, "spec", [])
    said = {key: now.integer(key, minimum=1) for key in MUTABLE_FIELDS}
    return {**frozen_policy, **{key: value for key, value in said.items() if value is not None}}


def thawed(frozen_policy: Mapping[str, object], *, cluster_ref: bool) -> Policy:
    """Return the policy that ``status.policy`` holds; what cannot be read takes its default."""
    reader = Reader(
        {k: v for k, v in frozen_policy.items() if k != "deletionPolicy" or not cluster_ref},
        "status.policy",
        [],
    )
    return read_policy(reader, restart_policy=RestartPolicy.NEVER, cluster_ref=cluster_ref)
