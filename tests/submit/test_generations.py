"""The generation rule on values, and on jobs of this machine."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from daskjob.core.manifests import Manifest
from daskjob.core.names import NAME_LIMIT
from daskjob.submit.generations import Identity, OnConflict
from daskjob.submit.generations.identity import generation_name, label_text
from daskjob.submit.generations.manifest import generation_manifest
from daskjob.submit.generations.rule import Action, action_for
from tests.submit.places import FAILED, RUNNING, SUCCEEDED, ThisMachine, manifest

PARTS = ("daily", "scheduled__2026-01-31T00:00:00+00:00", "sums", "-1")
TASK = Identity("airflow", PARTS, prefix="daily.sums")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def given(status: Manifest, *, taken: bool = False, **spec: object) -> Manifest:
    job = {**manifest(status=status), "spec": dict(spec)}
    if taken:
        job["metadata"]["annotations"] = {"kubernetes.dask.org/acknowledged": "2026-01-01"}
    return job


CELLS = {
    "active": (given(RUNNING), Action.ADOPT),
    "no status yet": (given({}), Action.ADOPT),
    "active, taken": (given(RUNNING, taken=True), Action.CANCEL),
    "active, being cancelled": (given(RUNNING, cancel=True), Action.CANCEL),
    "succeeded": (given(SUCCEEDED), Action.TAKE_RESULT),
    "succeeded, taken": (given(SUCCEEDED, taken=True), Action.NEXT),
    "failed": (given(FAILED), Action.NEXT),
    "failed, taken": (given(FAILED, taken=True), Action.NEXT),
}


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_of_the_rule(name: str) -> None:
    job, action = CELLS[name]
    found = action_for(job, same_spec=True, on_conflict=OnConflict.REATTACH)
    assert found is action


@pytest.mark.parametrize("name", CELLS)
def test_a_job_that_is_being_deleted_is_followed_by_the_next(name: str) -> None:
    job, _ = CELLS[name]
    job = {**job, "metadata": {**job["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert action_for(job, same_spec=True, on_conflict=OnConflict.FAIL) is Action.NEXT


@pytest.mark.parametrize(
    ("on_conflict", "action"),
    [("reattach", Action.ADOPT), ("replace", Action.CANCEL), ("fail", Action.REJECT)],
)
def test_only_an_active_job_with_another_spec_is_a_conflict(
    on_conflict: str, action: Action
) -> None:
    chosen = OnConflict(on_conflict)
    assert action_for(given(RUNNING), same_spec=False, on_conflict=chosen) is action
    assert action_for(given(SUCCEEDED), same_spec=False, on_conflict=chosen) is Action.TAKE_RESULT
    assert action_for(given(FAILED), same_spec=False, on_conflict=chosen) is Action.NEXT


@pytest.mark.parametrize("number", [1, 12, 999_999])
@pytest.mark.parametrize("prefix", ["", "daily.sums", "9", "x" * 200, "Ünïcode & spaces", "-"])
def test_names_are_valid_and_leave_room_for_the_names_of_pods(prefix: str, number: int) -> None:
    identity = Identity("prefect", ("run", "task"), prefix=prefix)
    name = generation_name(identity, manifest(), number)
    assert re.fullmatch(r"[a-z][-a-z0-9]*[a-z0-9]", name)
    assert len(f"{name}-scheduler") <= NAME_LIMIT
    assert name.endswith(f"-{identity.digest[:10]}-g{number}")


def test_other_parts_are_another_task() -> None:
    digests = {
        Identity(orchestrator, parts).digest
        for orchestrator in ("airflow", "prefect")
        for parts in (("a", "b"), ("a b",), ("ab",), ("a", "", "b"), ('a","b',), ("a|b",))
    }
    assert len(digests) == 12


def test_a_manifests_own_name_is_the_beginning_unless_the_task_has_one() -> None:
    unnamed = Identity("airflow", PARTS)
    assert generation_name(unnamed, manifest("sums"), 1).startswith("sums-")
    assert generation_name(TASK, manifest("sums"), 1).startswith("daily-sums-")
    assert generation_name(unnamed, {"metadata": {}}, 1).startswith("airflow-")


@pytest.mark.parametrize(
    "text", ["manual__2026-01-31T00:00:00+00:00", "x" * 64, "_a_", "日本", "", "ok", "a b" * 40]
)
def test_any_text_is_a_valid_value_of_a_label(text: str) -> None:
    found = label_text(text)
    assert LABEL.fullmatch(found)
    assert found == text or label_text(f"{text}.") != found


def test_labels_and_annotations_say_whose_job_it_is_beside_those_of_the_manifest() -> None:
    job = manifest()
    job["metadata"] |= {"labels": {"team": "blue"}, "annotations": {"note": "x"}}
    identity = Identity("airflow", PARTS, labels={"dag_id": "a b"}, annotations={"log": "http://x"})
    made = generation_manifest(job, identity, 3)["metadata"]
    assert made["labels"] == {
        "team": "blue",
        "dag_id": label_text("a b"),
        "kubernetes.dask.org/submitted-by": "airflow",
        "kubernetes.dask.org/submission-id": identity.digest,
    }
    assert made["annotations"] == {"note": "x", "log": "http://x"}


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("log_url", "https://me:hunter2@airflow/log"),
        ("log_url", "https://airflow/log?token=hunter2&x=1"),
        ("conf", '{"password": "hunter2"}'),
        ("db_password", "hunter2"),
        ("command", "job.py --api-key hunter2"),
    ],
)
def test_secrets_are_in_no_label_or_annotation(key: str, text: str) -> None:
    identity = Identity("airflow", PARTS, labels={key: text}, annotations={key: text})
    assert "hunter2" not in repr(generation_manifest(manifest(), identity, 1)["metadata"])


@pytest.mark.parametrize(("seconds", "deadline"), [(3600, 3600), (0.2, 1), (90.5, 91)])
def test_a_timeout_is_the_deadline_of_a_spec_without_one(seconds: float, deadline: int) -> None:
    made = generation_manifest(manifest(), TASK, 1, timeout_seconds=seconds)
    assert made["spec"]["activeDeadlineSeconds"] == deadline
    own = {**manifest(), "spec": {"activeDeadlineSeconds": 7}}
    made = generation_manifest(own, TASK, 1, timeout_seconds=seconds)
    assert made["spec"]["activeDeadlineSeconds"] == 7


def test_without_a_timeout_there_is_no_deadline() -> None:
    assert "activeDeadlineSeconds" not in generation_manifest(manifest(), TASK, 1)["spec"]


def test_this_machine_keeps_that_an_end_was_taken(tmp_path: Path) -> None:
    with ExitStack() as held:
        here = ThisMachine(tmp_path, held)
        refs = [here.add(manifest(status=status)) for status in (SUCCEEDED,)]
        for ref in refs:
            here.jobs.acknowledge(ref)  # type: ignore[attr-defined]
            here.jobs.acknowledge(ref)  # type: ignore[attr-defined]
            annotations = here.jobs.get(ref).manifest["metadata"]["annotations"]
            assert list(annotations) == ["kubernetes.dask.org/acknowledged"]
