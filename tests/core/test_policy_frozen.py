"""The policy is frozen at a job's start: an outside Update cannot undo it (design §2.3)."""

from __future__ import annotations

from typing import Any

import pytest

from daskjob.core.manifests import Manifest
from daskjob.core.spec.policy import Policy, followed, frozen, thawed
from tests.core.manifests import job, read_job
from tests.core.stories import job_story, running

RULES = [
    {"name": "bad", "action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}},
    {"action": "Ignore", "onReasons": ["Evicted"]},
]
EVERYTHING: dict[str, Any] = {
    "backoffLimit": 4,
    "backoff": {"initialSeconds": 1, "factor": 1.5, "maxSeconds": 9},
    "failurePolicy": {"rules": RULES, "maxIgnored": 3, "restart": "Runner"},
    "onSchedulerLoss": "Ignore",
    "activeDeadlineSeconds": 100,
    "attemptDeadlineSeconds": 50,
    "startupDeadlineSeconds": 40,
    "stallDeadlineSeconds": 30,
    "stallAction": "Fail",
    "ttlSecondsAfterFinished": 60,
    "deletionPolicy": {"onSuccess": "Keep", "onFailure": "DeleteWorkers"},
    "runnerStart": "AfterWorkers",
    "minAvailableWorkers": 2,
    "progress": {"intervalSeconds": 5},
}


def policy_of(manifest: Manifest) -> Policy:
    """The policy of a manifest."""
    return read_job(manifest).policy


@pytest.mark.parametrize(
    ("restart_policy", "spec", "limit", "ignored"),
    [
        (None, {}, 6, 10),
        ("OnFailure", {}, 6, 10),
        ("Always", {}, 6, 10),
        ("Never", {}, 0, 0),
        ("Never", {"backoffLimit": 2}, 2, 10),
        ("Never", {"backoffLimit": 0}, 0, 10),
        ("Never", {"failurePolicy": {"rules": RULES}}, 0, 10),
        ("Never", {"failurePolicy": {"maxIgnored": 1}}, 0, 1),
        ("OnFailure", {"backoffLimit": 0}, 0, 10),
    ],
)
def test_default_limits_depend_on_the_restart_policy(
    restart_policy: str | None, spec: dict[str, Any], limit: int, ignored: int
) -> None:
    runner = {"restartPolicy": restart_policy} if restart_policy else {}
    policy = policy_of(job(runner=runner, **spec))
    assert (policy.backoff_limit, policy.max_ignored) == (limit, ignored)


def test_a_restart_policy_next_to_the_pod_spec_counts_too() -> None:
    manifest = job()
    manifest["spec"]["job"]["restartPolicy"] = "Never"
    assert policy_of(manifest).backoff_limit == 0


def test_a_job_on_another_cluster_waits_60_s_for_it_and_restarts_only_its_runner() -> None:
    policy = policy_of(job(clusterRef={"name": "simple"}))
    assert policy.startup_deadline_seconds == 60
    assert str(policy.restart) == "Runner"


def test_a_job_on_another_cluster_may_set_its_own_startup_deadline() -> None:
    policy = policy_of(job(clusterRef={"name": "simple"}, startupDeadlineSeconds=5))
    assert policy.startup_deadline_seconds == 5


@pytest.mark.parametrize(
    "manifest",
    [
        job(),
        job(**EVERYTHING),
        job(runner={"restartPolicy": "Never"}),
        job(runner={"restartPolicy": "Never"}, failurePolicy={"rules": RULES}),
        job(clusterRef={"name": "simple"}),
    ],
    ids=["defaults", "everything given", "Never", "Never with rules", "clusterRef"],
)
def test_a_frozen_policy_thaws_to_what_it_was(manifest: Manifest) -> None:
    found = read_job(manifest)
    again = thawed(frozen(found.policy), cluster_ref=bool(found.cluster_ref))
    assert again == found.policy


def test_a_frozen_policy_holds_no_null() -> None:
    assert None not in frozen(Policy()).values()


def test_every_field_of_the_policy_differs_from_its_default_here() -> None:
    given, default = policy_of(job(**EVERYTHING)), Policy()
    assert [f for f in Policy.__slots__ if getattr(given, f) == getattr(default, f)] == []


def test_an_update_that_drops_every_field_of_ours_changes_nothing() -> None:
    before = frozen(policy_of(job(**EVERYTHING)))
    assert followed(before, job()["spec"]) == before


@pytest.mark.parametrize(
    "field",
    [
        "activeDeadlineSeconds",
        "attemptDeadlineSeconds",
        "startupDeadlineSeconds",
        "stallDeadlineSeconds",
        "ttlSecondsAfterFinished",
    ],
)
def test_deadlines_and_ttl_given_explicitly_are_followed(field: str) -> None:
    before = frozen(policy_of(job(**EVERYTHING)))
    assert followed(before, {field: 7}) == {**before, field: 7}


@pytest.mark.parametrize("value", ["7", 0, -1, True, 1.5], ids=repr)
def test_an_invalid_deadline_leaves_the_frozen_one(value: object) -> None:
    before = frozen(policy_of(job(**EVERYTHING)))
    assert followed(before, {"activeDeadlineSeconds": value}) == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("backoffLimit", 9),
        ("deletionPolicy", {"onSuccess": "DeleteCluster"}),
        ("failurePolicy", {}),
        ("onSchedulerLoss", "Fail"),
        ("runnerStart", "AtOnce"),
    ],
)
def test_everything_else_stays_as_it_was_at_the_start(field: str, value: object) -> None:
    before = frozen(policy_of(job(**EVERYTHING)))
    assert followed(before, {field: value}) == before


def test_the_first_status_that_is_written_holds_the_frozen_policy() -> None:
    story = job_story(backoffLimit=2)
    decision = story.decision()
    assert decision.status is not None
    assert decision.status["jobStatus"] == "JobCreated"
    assert decision.status["policy"]["backoffLimit"] == 2


def test_a_limit_that_an_update_drops_still_holds_at_the_next_failure() -> None:
    story = running(backoffLimit=0)
    story.edit(backoffLimit=None)
    story.end_runner(3)
    assert (story.word, story.status.reason) == ("Failed", "ExitCode")


def test_a_ttl_that_an_update_drops_still_holds() -> None:
    story = running(ttlSecondsAfterFinished=60)
    story.edit(ttlSecondsAfterFinished=None)
    story.end_runner(0)
    story.after(60)
    assert story.named("DaskJob") is None


def test_a_raised_deadline_is_followed_and_written_into_the_frozen_policy() -> None:
    story = running(activeDeadlineSeconds=100)
    story.edit(activeDeadlineSeconds=500)
    assert (story.status.policy or {})["activeDeadlineSeconds"] == 500
    story.after(100)
    assert story.word == "Running"
    story.after(400)
    assert story.status.reason == "DeadlineExceeded"
