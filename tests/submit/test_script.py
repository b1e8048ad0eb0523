"""A script as a job: for any place, and with the habits of a run in the foreground."""

from __future__ import annotations

import pytest

from daskjob.core.manifests import Manifest
from daskjob.core.spec import DaskJob, parse
from daskjob.submit.local import local_script_job
from daskjob.submit.script import Backoff, ScriptOptions, script_job, variable, with_variables

COMMAND = ["python", "a.py"]


def containers(job: Manifest) -> list[Manifest]:
    cluster = job["spec"]["cluster"]["spec"]
    specs = (job["spec"]["job"]["spec"], cluster["scheduler"]["spec"], cluster["worker"]["spec"])
    return [container for spec in specs for container in spec["containers"]]


def test_image_is_that_of_runner_scheduler_and_workers() -> None:
    job = script_job(COMMAND, ScriptOptions(2, 1, name="sums", image="registry/dask:1"), "a")
    assert [container["image"] for container in containers(job)] == ["registry/dask:1"] * 3
    assert parse(DaskJob, job).meta.name == "sums"


def test_without_options_a_place_decides_on_images_and_retries() -> None:
    job = script_job(COMMAND, ScriptOptions(2, 1, retries=3), "a")
    assert not any("image" in container for container in containers(job))
    assert {"backoff", "failurePolicy"}.isdisjoint(job["spec"])
    assert job["spec"]["backoffLimit"] == 3


def test_retries_and_ignored_failures_are_as_the_options_say() -> None:
    options = ScriptOptions(2, 1, backoff=Backoff(30, 600), max_ignored=5)
    spec = script_job(COMMAND, options, "a")["spec"]
    assert spec["backoff"] == {"initialSeconds": 30, "maxSeconds": 600}
    assert spec["failurePolicy"] == {"maxIgnored": 5}


def test_run_in_the_foreground_retries_after_1_s_and_without_retries_never() -> None:
    once = local_script_job(COMMAND, ScriptOptions(2, 1), "a")["spec"]
    assert once["failurePolicy"] == {"maxIgnored": 0}
    assert "backoff" not in once
    retried = local_script_job(COMMAND, ScriptOptions(2, 1, retries=1), "a")["spec"]
    assert retried["backoff"] == {"initialSeconds": 1, "maxSeconds": 60}
    assert "failurePolicy" not in retried


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)"}]),
        ([variable("A", "2")], [{"name": "A", "value": "2"}, {"name": "B", "value": "$(A)"}]),
        (
            [variable("C", "3"), variable("B", None)],
            [{"name": "A", "value": "1"}, {"name": "B"}, {"name": "C", "value": "3"}],
        ),
    ],
)
def test_given_variables_take_the_places_of_older_ones(
    given: list[Manifest], expected: list[Manifest]
) -> None:
    own = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)"}]
    assert with_variables(own, given) == expected
