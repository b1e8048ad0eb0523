"""Whether a failed attempt is retried, when, and whether it counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from daskjob.core.job_view import AttemptEnd
from daskjob.core.manifests import whole_seconds
from daskjob.core.reasons import FINAL_REASONS, Reason, ReasonClass
from daskjob.core.spec.failure_rules import Action
from daskjob.core.spec.policy import Policy
from daskjob.core.status import JobStatus
from daskjob.core.wording import OF_MANIFESTS, Words


@dataclass(frozen=True, slots=True)
class Again:
    """Another attempt follows."""

    at: datetime
    counted: bool


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The job has failed."""

    reason: Reason
    message: str
    #: Whether the attempt counts as a failure: a cancelled one does not.
    counted: bool = True


def after_failure(
    end: AttemptEnd,
    reason: Reason,
    status: JobStatus,
    policy: Policy,
    now: datetime,
    words: Words = OF_MANIFESTS,
) -> Again | GiveUp:
    """Decide what follows a failed attempt; ``status`` does not count this failure yet.

    The first matching rule decides. Without one, a final end ends the job; up to ``maxIgnored``
    infrastructure failures are not counted; all others are, up to ``backoffLimit``.
    """
    rule = next((r for r in policy.rules if r.matches(reason, end.exit_code)), None)
    action = rule.action if rule else None
    if reason in FINAL_REASONS or action is Action.FAIL_JOB:
        named = f" Rule {rule.name!r} of the failure policy ends the job." if rule else ""
        return GiveUp(reason, end.message + named, counted=reason not in FINAL_REASONS)
    if action is None and end.final:
        return GiveUp(reason, end.message)
    if action is None:
        infrastructure = end.may_pass or reason.reason_class is ReasonClass.INFRASTRUCTURE
        action = Action.IGNORE if infrastructure else Action.COUNT
    counted = action is Action.COUNT or status.ignored >= policy.max_ignored
    failures = status.failures + (1 if counted else 0)
    if failures > policy.backoff_limit:
        return _given_up(end, reason, failures, policy, words)
    tries = status.failures + status.ignored
    # A status has whole seconds: if rounded down, a wait of one second could be none.
    at = whole_seconds(now + backoff(policy, tries) + timedelta(microseconds=999_999))
    return Again(at, counted)


def _given_up(
    end: AttemptEnd, reason: Reason, failures: int, policy: Policy, words: Words
) -> GiveUp:
    if policy.backoff_limit == 0:
        return GiveUp(reason, end.message)
    limit = policy.backoff_limit
    message = f"{failures} attempts failed, backoffLimit is {limit}. The last one: "
    if words.is_script:
        message = f"all {failures} attempts failed ({words.retries} {limit}). The last one: "
    return GiveUp(Reason.BACKOFF_LIMIT_EXCEEDED, message + end.message)


def backoff(policy: Policy, tries: int) -> timedelta:
    """Return the wait before the next attempt, after ``tries`` earlier retries."""
    longest = float(policy.backoff_max_seconds)
    if not policy.backoff_initial_seconds:
        return timedelta()
    try:
        seconds = policy.backoff_initial_seconds * policy.backoff_factor**tries
    except OverflowError:
        seconds = longest
    return timedelta(seconds=min(seconds, longest))
