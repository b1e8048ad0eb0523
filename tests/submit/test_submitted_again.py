"""What a job that is found by its token has otherwise than the manifest that is sent again."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskjob.core.manifests import Manifest
from daskjob.submit.comparison.submitted import differences_from, note_on
from tests.submit.test_local_submit import job as local_job


def job(**spec: Any) -> Manifest:
    made = local_job("pass", **spec)
    made["spec"]["cluster"]["spec"]["worker"].pop("replicas")
    return made


def scaled(replicas: int, **group: Any) -> Manifest:
    made = job()
    made["spec"]["cluster"]["spec"]["worker"].update(replicas=replicas, **group)
    return made


@pytest.mark.parametrize(
    ("found", "sent", "expected"),
    [
        (job(), scaled(4), ["spec worker replicas: 1 → 4"]),
        (job(), scaled(1), []),
        (job(activeDeadlineSeconds=60), job(), ["spec activeDeadlineSeconds: 60 → none"]),
        (job(), job(activeDeadlineSeconds=60), ["spec activeDeadlineSeconds: none → 60"]),
        (job(backoffLimit=6), job(backoffLimit=2), ["spec backoffLimit: 6 → 2"]),
        (job(stallAction="Report", runnerStart="AtOnce"), job(), []),
        (job(), job(managedBy="kubernetes.dask.org/daskjob"), []),
        (job(suspend=True, cancel=True), job(), []),
        (
            job(failurePolicy={"maxIgnored": 10}),
            job(failurePolicy={"restart": "Runner"}),
            ["spec failurePolicy.restart: Cluster → Runner"],
        ),
    ],
)
def test_differences_are_those_of_values_and_not_of_defaults(
    found: Manifest, sent: Manifest, expected: list[str]
) -> None:
    found["spec"]["submissionID"] = "t"
    found["status"] = {"phase": "Running", "attempt": 3}
    assert list(differences_from(found, sent)) == expected


@given(st.integers(0, 50), st.integers(0, 50))
def test_numbers_of_workers_differ_if_they_do(one: int, other: int) -> None:
    assert bool(differences_from(scaled(one), scaled(other))) is (one != other)


def test_comparison_leaves_both_manifests_as_they_are() -> None:
    one, other = scaled(2), job(backoffLimit=1)
    before = copy.deepcopy((one, other))
    differences_from(one, other)
    assert (one, other) == before


def test_note_has_at_most_five_differences() -> None:
    text = note_on("sums", tuple(f"spec f{number}: 1 → 2" for number in range(9)))
    assert "f4: 1 → 2; …)" in text
    assert "give another token" in text
