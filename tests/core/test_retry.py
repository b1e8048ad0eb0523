"""Whether, when and how often a failed attempt is retried (design §3.1)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from daskjob.core.job_view import AttemptEnd
from daskjob.core.policies.retry import Again, GiveUp, after_failure, backoff
from daskjob.core.reasons import FINAL_REASONS, Reason, ReasonClass
from daskjob.core.spec.failure_rules import Action, FailureRule, Operator
from daskjob.core.spec.policy import Policy
from daskjob.core.status import JobStatus
from tests.core.stories import Story, running

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
INFRASTRUCTURE = [r for r in Reason if r.reason_class is ReasonClass.INFRASTRUCTURE]


def judged(
    reason: Reason = Reason.EXIT_CODE,
    code: int | None = 1,
    *,
    failures: int = 0,
    ignored: int = 0,
    **policy: Any,
) -> Again | GiveUp:
    """Return the verdict on an attempt that ended like this."""
    status = JobStatus(failures=failures, ignored=ignored)
    end = AttemptEnd(reason, "why", code)
    return after_failure(end, reason, status, replace(Policy(), **policy), NOW)


def outcomes(verdict: Again | GiveUp) -> str:
    """Return a verdict as one word."""
    if isinstance(verdict, GiveUp):
        return str(verdict.reason)
    return "counted" if verdict.counted else "ignored"


IN_3 = FailureRule(Action.FAIL_JOB, "bad input", (3,), Operator.IN)
NOT_IN_3 = FailureRule(Action.IGNORE, "", (3,), Operator.NOT_IN)
EVICTED = FailureRule(Action.COUNT, reasons=(Reason.EVICTED,))
BOTH = FailureRule(Action.FAIL_JOB, "", (9,), Operator.IN, (Reason.OOM_KILLED,))


@pytest.mark.parametrize(
    ("rules", "reason", "code", "expected"),
    [
        ((), Reason.EXIT_CODE, 1, "counted"),
        ((), Reason.EVICTED, None, "ignored"),
        ((IN_3,), Reason.EXIT_CODE, 3, "ExitCode"),
        ((IN_3,), Reason.EXIT_CODE, 4, "counted"),
        ((IN_3, NOT_IN_3), Reason.EXIT_CODE, 4, "ignored"),
        ((NOT_IN_3, FailureRule(Action.FAIL_JOB, "", (4,), Operator.IN)), Reason.EXIT_CODE, 4,
         "ignored"),
        ((EVICTED,), Reason.EVICTED, None, "counted"),
        ((NOT_IN_3,), Reason.EVICTED, None, "ignored"),
        ((IN_3,), Reason.RUNNER_LOST, None, "ignored"),
        ((BOTH,), Reason.OOM_KILLED, 9, "OOMKilled"),
        ((BOTH,), Reason.OOM_KILLED, 137, "counted"),
        ((BOTH,), Reason.EXIT_CODE, 9, "counted"),
    ],
    ids=[
        "no rule: the user's",
        "no rule: infrastructure",
        "In",
        "In, another code",
        "NotIn",
        "the first that matches",
        "infrastructure counted by rule",
        "no exit code never matches NotIn",
        "no exit code never matches In",
        "both match",
        "reason alone",
        "code alone",
    ],
)  # fmt: skip
def test_the_first_rule_that_matches_decides(
    rules: tuple[FailureRule, ...], reason: Reason, code: int | None, expected: str
) -> None:
    assert outcomes(judged(reason, code, rules=rules)) == expected


def test_a_rule_that_ends_the_job_is_named() -> None:
    verdict = judged(code=3, rules=(IN_3,))
    assert isinstance(verdict, GiveUp)
    assert "'bad input'" in verdict.message


@pytest.mark.parametrize("reason", INFRASTRUCTURE)
def test_infrastructure_failures_are_ignored_10_times_and_then_counted(reason: Reason) -> None:
    assert outcomes(judged(reason, None, ignored=9)) == "ignored"
    assert outcomes(judged(reason, None, ignored=10)) == "counted"


def test_infrastructure_failures_end_the_job_once_both_limits_are_used_up() -> None:
    verdict = judged(Reason.EVICTED, None, ignored=10, failures=6)
    assert outcomes(verdict) == "BackoffLimitExceeded"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ((), "ImagePull"),
        ((EVICTED,), "ImagePull"),
        ((FailureRule(Action.IGNORE, reasons=(Reason.IMAGE_PULL,)),), "ignored"),
        ((FailureRule(Action.COUNT, reasons=(Reason.IMAGE_PULL,)),), "counted"),
    ],
    ids=["no rule", "a rule for something else", "Ignore", "Count"],
)
def test_an_end_that_every_attempt_would_repeat_ends_the_job_unless_a_rule_matches(
    rules: tuple[FailureRule, ...], expected: str
) -> None:
    end = AttemptEnd(Reason.IMAGE_PULL, "why", final=True)
    policy = replace(Policy(), rules=rules)
    assert outcomes(after_failure(end, Reason.IMAGE_PULL, JobStatus(), policy, NOW)) == expected


@pytest.mark.parametrize(
    ("limit", "failures", "expected"),
    [
        (6, 5, "counted"),
        (6, 6, "BackoffLimitExceeded"),
        (1, 0, "counted"),
        (1, 1, "BackoffLimitExceeded"),
        (0, 0, "ExitCode"),
    ],
)
def test_backoff_limit_exceeded_is_reported_only_with_a_limit_above_0(
    limit: int, failures: int, expected: str
) -> None:
    assert outcomes(judged(failures=failures, backoff_limit=limit)) == expected


@pytest.mark.parametrize("reason", sorted(FINAL_REASONS))
def test_a_permanent_end_ends_the_job(reason: Reason) -> None:
    rule = FailureRule(Action.IGNORE, reasons=(reason,))
    assert outcomes(judged(reason, None, rules=(rule,))) == str(reason)


def test_the_backoffs_are_10_20_40_and_at_most_360() -> None:
    waits = [backoff(Policy(), tries).total_seconds() for tries in range(8)]
    assert waits == [10, 20, 40, 80, 160, 320, 360, 360]


def test_the_backoff_stays_bounded_after_a_thousand_tries() -> None:
    assert backoff(Policy(), 100_000).total_seconds() == 360


def test_backoffs_are_configurable() -> None:
    policy = replace(Policy(), backoff_initial_seconds=1, backoff_factor=1.5, backoff_max_seconds=2)
    assert [backoff(policy, n).total_seconds() for n in range(3)] == [1, 1.5, 2]


def test_a_backoff_of_0_seconds_stays_0() -> None:
    policy = replace(Policy(), backoff_initial_seconds=0)
    assert backoff(policy, 100).total_seconds() == 0


# The same with complete jobs


def fail_attempt(story: Story, attempt: int, code: int = 1) -> None:
    """Let an attempt run and fail."""
    story.bring_up()
    story.end_runner(code, attempt=attempt)
    story.kubelet()


def test_a_failed_runner_is_retried_until_the_limit_of_2() -> None:
    story = running(backoffLimit=2)
    for attempt, wait in enumerate([10, 20]):
        fail_attempt(story, attempt)
        assert story.word == "JobCreated"
        assert story.status.phase == "Retrying"
        assert story.status.next_attempt_time is not None
        assert (story.status.next_attempt_time - story.world.now).total_seconds() == wait
        story.after(wait)
    fail_attempt(story, 2)
    assert (story.word, story.status.reason) == ("Failed", "BackoffLimitExceeded")
    assert story.status.failures == 3
    assert [a.number for a in story.status.attempts] == [0, 1, 2]
    assert story.pod_names() == ["sums-runner", "sums-runner-1", "sums-runner-2"]


def test_nothing_is_created_one_second_before_the_next_attempt_is_due() -> None:
    story = running()
    fail_attempt(story, 0)
    story.after(9)
    assert story.pod_names() == ["sums-runner"]
    story.after(1)
    assert story.pod_names() == ["sums-runner", "sums-runner-1", "sums-scheduler"]


def test_every_attempt_gets_a_fresh_cluster_and_the_old_one_is_gone_first() -> None:
    story = running()
    first = story.named("DaskCluster")
    assert first is not None
    story.end_runner(1)
    story.after(10)
    assert story.named("DaskCluster") is not None
    second = story.named("DaskCluster")
    assert second is not None
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert second["metadata"]["annotations"]["kubernetes.dask.org/attempt"] == "1"


def test_an_attempt_waits_for_the_end_of_the_old_scheduler() -> None:
    story = running()
    story.end_runner(1)
    story.world.advance(10)
    story.settle()
    assert story.status.attempt_start_time is None
    assert "sums-runner-1" not in story.pod_names()
    story.kubelet()
    assert "sums-runner-1" in story.pod_names()


def test_no_runner_is_named_between_attempts_since_flyte_would_take_it_for_the_end() -> None:
    story = running()
    story.end_runner(1)
    assert story.status.job_runner_pod_name == ""
    assert "jobRunnerPodName" not in story.status_of("DaskJob")


@pytest.mark.parametrize("code", [1, 3, 137])
def test_between_attempts_the_status_has_no_counts_and_no_exit_code_of_the_last_one(
    code: int,
) -> None:
    story = running()
    story.world.schedulers_answer(total=9, done=4, processing=2)
    story.after(30)
    assert story.status.progress is not None
    story.end_runner(code)
    between = story.status
    assert between.progress is None
    assert between.exit_code is None
    assert between.attempts[-1].exit_code == code
    story.kubelet()
    story.after(10)
    story.bring_up()
    assert story.word == "Running"
    assert story.status.exit_code is None


def test_the_condition_retrying_holds_from_the_failure_to_the_next_start() -> None:
    story = running()
    story.end_runner(3)
    assert story.condition("Retrying") == (True, "ExitCode")
    story.kubelet()
    story.after(10)
    assert story.condition("Retrying") == (False, "Started")


@pytest.mark.parametrize("reason", ["ExitCode", "Evicted", "RunnerLost"])
def test_nothing_is_retried_with_never_and_no_limit(reason: str) -> None:
    story = running(runner={"restartPolicy": "Never"})
    if reason == "RunnerLost":
        story.world.lose(story.runner())
        story.settle()
    else:
        story.end_runner(1, pod_reason=reason if reason == "Evicted" else "")
    assert (story.word, story.status.reason) == ("Failed", reason)


def test_an_eviction_is_retried_without_being_counted() -> None:
    story = running(backoffLimit=0)
    story.end_runner(143, pod_reason="Evicted")
    assert (story.status.failures, story.status.ignored) == (0, 1)
    assert story.status.attempt == 1


def test_the_last_10_of_12_attempts_are_recorded() -> None:
    story = running(backoffLimit=20, backoff={"initialSeconds": 0})
    for attempt in range(12):
        fail_attempt(story, attempt)
        story.settle()
    assert [a.number for a in story.status.attempts] == list(range(2, 12))
    assert story.status.failures == 12


def test_an_object_terminating_for_600_s_ends_the_job_and_is_named() -> None:
    story = running()
    story.end_runner(1)
    story.world.advance(600)
    story.settle()
    assert (story.word, story.status.reason) == ("Failed", "NodeLost")
    assert "sums-scheduler" in story.status.message
    assert len(story.status.attempts) == 1


def test_an_object_terminating_for_60_s_is_named_in_a_condition() -> None:
    story = running()
    story.end_runner(1)
    story.world.advance(60)
    story.settle()
    assert story.condition("CleanupBlocked") == (True, "ObjectsRemain")
    story.kubelet()
    assert story.condition("CleanupBlocked") is None
