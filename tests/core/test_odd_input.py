"""Absurd input is read or is a mistake, and never raises an unexpected exception."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from daskjob.core import names
from daskjob.core.manifests import DEEPEST_LEVELS, is_too_deep, whole_number
from daskjob.core.pods import pod_facts
from daskjob.core.spec import read_cluster, read_group, read_job
from tests.core import manifests
from tests.core.stories import Story, running


def nested(levels: int) -> Any:
    found: Any = "the end"
    for _ in range(levels):
        found = {"a": found}
    return found


def test_100_levels_are_read_and_one_more_is_a_mistake_of_each_kind() -> None:
    for read, manifest in (
        (read_job, manifests.job("sums")),
        (read_cluster, manifests.cluster("sums")),
        (read_group, manifests.group("more", "sums", 1)),
    ):
        manifest["spec"]["deep"] = nested(DEEPEST_LEVELS - 1)
        mistakes: list[Any] = []
        read(manifest, mistakes)
        assert mistakes == []
        manifest["spec"]["deep"] = nested(DEEPEST_LEVELS)
        read(manifest, mistakes)
        assert [mistake.path for mistake in mistakes] == ["spec"]
        assert "nest at most 100" in str(mistakes[0])


def test_depth_is_measured_where_recursion_would_fail() -> None:
    assert is_too_deep(nested(50_000))
    assert not is_too_deep([{"a": [1, 2]}] * 10_000)


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("12", 12), ("²", None), ("٣", None), ("-1", None), ("", None), ("9" * 5000, None)],
)
def test_a_number_in_an_annotation_has_only_ascii_digits(text: str, number: int | None) -> None:
    assert whole_number(text) == number
    pod = {"metadata": {"name": "one", "annotations": {names.ANNOTATION_ATTEMPT: text}}}
    assert pod_facts(pod).attempt == number


@pytest.mark.parametrize("grace", [2**53, 2**63 - 1, 10**11])
def test_a_pod_with_a_grace_period_of_centuries_is_terminating(grace: int) -> None:
    meta = {"deletionTimestamp": "2026-01-01T12:00:00Z", "deletionGracePeriodSeconds": grace}
    assert pod_facts({"metadata": {"name": "one", **meta}}).deleting


# Results


def succeeded_with(result: str) -> Story:
    story = running()
    story.end_runner(0, message=result)
    return story


@pytest.mark.parametrize(
    "result",
    [
        "[" * 2000 + "]" * 2000,
        "[" * 150 + "]" * 150,
        '{"loss": NaN}',
        '{"loss": -Infinity}',
        '{"loss": 1e999}',
        "9" * 4000,
        r'"\ud800"',
    ],
)
def test_a_result_that_a_status_cannot_hold_is_left_out_and_the_job_succeeds(result: str) -> None:
    story = succeeded_with(result)
    assert story.word == "Successful"
    assert story.status.result is None
    assert story.status.message.endswith("was left out.")


def test_integers_of_more_than_64_bits_are_rounded_as_by_the_api_server() -> None:
    story = succeeded_with(json.dumps({"exact": 2**63 - 1, "nearly": 10**30}))
    assert story.status.result == {"exact": 2**63 - 1, "nearly": 1e30}
    assert msgspec.json.encode(story.status.result)
