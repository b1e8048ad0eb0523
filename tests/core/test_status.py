"""Statuses: written, read back, limited in size (design §2.3, §3.2)."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from daskjob.core.manifests import Manifest
from daskjob.core.status import (
    AutoscalerStatus,
    ClusterStatus,
    Condition,
    ConditionType,
    GroupStatus,
    JobStatus,
    JobStatusWord,
    Phase,
    autoscaler_status_from,
    cluster_status_from,
    condition_from,
    derived_phase,
    find_condition,
    group_status_from,
    job_status_from,
    with_condition,
)
from tests.core.statuses import (
    FULL_AUTOSCALER,
    FULL_CLUSTER,
    FULL_GROUP,
    LATER,
    NOW,
)
from tests.core.statuses import FULL_JOB as FULL
from tests.core.stories import ended


def test_a_status_with_every_field_is_read_back_as_it_was_written() -> None:
    assert job_status_from(json.loads(json.dumps(FULL.to_manifest()))) == FULL


def test_a_cluster_status_is_read_back_as_it_was_written() -> None:
    written = json.loads(json.dumps(FULL_CLUSTER.to_manifest()))
    assert cluster_status_from(written) == FULL_CLUSTER


def test_a_group_status_is_read_back_as_it_was_written() -> None:
    assert group_status_from(json.loads(json.dumps(FULL_GROUP.to_manifest()))) == FULL_GROUP


def test_an_autoscaler_status_is_read_back_as_it_was_written() -> None:
    written = json.loads(json.dumps(FULL_AUTOSCALER.to_manifest()))
    assert autoscaler_status_from(written) == FULL_AUTOSCALER


def test_the_summary_holds_the_columns_of_kubectl() -> None:
    assert FULL.to_manifest()["summary"] == {"progress": "4/10", "workers": "2/3", "attempts": 2}


def test_the_summary_of_a_job_that_ended_leaves_its_workers_out() -> None:
    ended = replace(FULL, job_status=JobStatusWord.FAILED, attempt_start_time=None)
    assert ended.to_manifest()["summary"] == {"progress": "4/10", "attempts": 1}


@pytest.mark.parametrize(
    ("status", "attempts"),
    [
        (JobStatus(policy={}), 0),
        (JobStatus(policy={}, attempt_start_time=NOW), 1),
        (JobStatus(policy={}, attempt=1, attempts=FULL.attempts), 1),
        (JobStatus(policy={}, attempt=1, attempts=FULL.attempts, attempt_start_time=NOW), 2),
    ],
    ids=["waits for its first", "first runs", "waits for its second", "second runs"],
)
def test_attempts_are_counted_when_they_begin(status: JobStatus, attempts: int) -> None:
    assert status.attempts_begun == attempts


def test_the_status_of_a_new_autoscaler_is_empty() -> None:
    assert AutoscalerStatus().to_manifest() == {}
    assert autoscaler_status_from({"desired": "3", "conditions": 1}) == AutoscalerStatus()


@pytest.mark.parametrize("status", [JobStatus(), ClusterStatus(), GroupStatus()])
def test_unknown_values_are_absent_never_null_or_empty(
    status: JobStatus | ClusterStatus | GroupStatus,
) -> None:
    manifest = status.to_manifest()
    assert set(manifest) <= {"attempt", "replicas", "readyReplicas"}
    assert all(value == 0 for value in manifest.values())


def test_a_condition_without_a_time_writes_none_for_it() -> None:
    manifest = condition_from({"type": "Stalled", "status": "True"}).to_manifest()
    assert "lastTransitionTime" not in manifest


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        {"jobStatus": "", "startTime": None, "endTime": "", "clusterName": None},
        {"jobStatus": "Nonsense", "startTime": "yesterday", "attempts": "none", "policy": []},
        {"exitCode": True, "failures": "3", "conditions": [1], "workers": 3, "progress": None},
    ],
    ids=["null", "empty", "Flyte's empty strings and nulls", "nonsense", "wrong types"],
)
def test_an_empty_or_foreign_status_counts_as_absent(raw: Manifest | None) -> None:
    assert job_status_from(raw) == JobStatus()


def test_times_are_in_whole_seconds_with_a_z() -> None:
    odd = NOW.replace(microsecond=999_999)
    assert JobStatus(start_time=odd).to_manifest()["startTime"] == "2026-01-01T12:00:00Z"


def test_a_time_with_another_offset_is_written_in_utc() -> None:
    status = job_status_from({"startTime": "2026-01-01T14:00:00+02:00"})
    assert status.to_manifest()["startTime"] == "2026-01-01T12:00:00Z"


@pytest.mark.parametrize("code", [0, 3], ids=["success", "failure"])
def test_a_terminal_status_is_written_together_with_its_end_time(code: int) -> None:
    story = ended(code, backoffLimit=0)
    assert story.status.finished
    assert story.status.end_time == story.world.now


def test_a_status_with_everything_at_its_largest_stays_below_48_kib() -> None:
    text = "w" * 100_000
    attempts = tuple(replace(FULL.attempts[0], message=text, number=i) for i in range(10))
    conditions: tuple[Condition, ...] = ()
    for kind in ConditionType:
        conditions = with_condition(conditions, Condition(kind, True, "R", text), NOW)
    status = replace(FULL, message=text, attempts=attempts, conditions=conditions)
    status = replace(status, result="r" * 4096, report={"r": "r" * 4090})
    assert len(json.dumps(status.to_manifest())) < 48 * 1024


def test_a_message_above_1024_characters_is_cut_with_an_ellipsis() -> None:
    message = JobStatus(message="m" * 2000).to_manifest()["message"]
    assert len(message) == 1024
    assert message.endswith("…")


def test_an_attempts_message_is_cut_at_256() -> None:
    attempt = replace(FULL.attempts[0], message="m" * 2000)
    assert len(attempt.to_manifest()["message"]) == 256


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [(True, True, False), (True, False, True), (False, True, True), (False, False, False)],
)
def test_a_conditions_time_moves_only_with_its_status(
    before: bool, after: bool, moved: bool
) -> None:
    old = with_condition((), Condition("Stalled", before, "A"), NOW)
    new = find_condition(with_condition(old, Condition("Stalled", after, "B"), LATER), "Stalled")
    assert new is not None
    assert new.reason == "B"
    assert new.last_transition_time == (LATER if moved else NOW)


def test_conditions_are_listed_in_a_fixed_order() -> None:
    conditions: tuple[Condition, ...] = ()
    for kind in reversed(ConditionType):
        conditions = with_condition(conditions, Condition(kind, True, "R"), NOW)
    assert [c.type for c in conditions] == [str(kind) for kind in ConditionType]


_SUSPENDED = (Condition("Suspended", True, "Suspended"),)
_ATTEMPTS = FULL.attempts


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        (JobStatus(), Phase.PENDING),
        (JobStatus(job_status=JobStatusWord.JOB_CREATED), Phase.PENDING),
        (JobStatus(job_status=JobStatusWord.CLUSTER_CREATED), Phase.STARTING),
        (JobStatus(job_status=JobStatusWord.RUNNING), Phase.RUNNING),
        (JobStatus(job_status=JobStatusWord.SUCCESSFUL), Phase.SUCCEEDED),
        (JobStatus(job_status=JobStatusWord.FAILED, reason="ExitCode"), Phase.FAILED),
        (JobStatus(job_status=JobStatusWord.FAILED, reason="Cancelled"), Phase.CANCELLED),
        (JobStatus(job_status=JobStatusWord.JOB_CREATED, attempts=_ATTEMPTS), Phase.RETRYING),
        (
            JobStatus(job_status=JobStatusWord.JOB_CREATED, conditions=_SUSPENDED),
            Phase.SUSPENDED,
        ),
        (
            JobStatus(
                job_status=JobStatusWord.JOB_CREATED, conditions=_SUSPENDED, attempts=_ATTEMPTS
            ),
            Phase.SUSPENDED,
        ),
        (
            JobStatus(job_status=JobStatusWord.SUCCESSFUL, conditions=_SUSPENDED),
            Phase.SUCCEEDED,
        ),
    ],
    ids=[
        "nothing yet",
        "created",
        "cluster created",
        "running",
        "successful",
        "failed",
        "cancelled",
        "between attempts",
        "suspended",
        "suspended after an attempt",
        "an end outranks a suspension",
    ],
)
def test_the_phase_is_derived_from_the_rest(status: JobStatus, phase: Phase) -> None:
    assert derived_phase(status) is phase


def test_job_status_has_five_values_and_two_are_final() -> None:
    assert [str(w) for w in JobStatusWord] == [
        "JobCreated",
        "ClusterCreated",
        "Running",
        "Successful",
        "Failed",
    ]
    assert [str(w) for w in JobStatusWord if JobStatus(job_status=w).finished] == [
        "Successful",
        "Failed",
    ]
