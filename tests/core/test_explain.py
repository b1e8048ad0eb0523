"""The commands in an explanation find the job that it is about."""

from __future__ import annotations

import pytest

from daskjob.core.explain import explain
from daskjob.core.names import ANNOTATION_SCRIPT, SUBMITTED_SCRIPT


@pytest.mark.parametrize(
    ("options", "command"),
    [
        ("", "daskjob logs sums."),
        ("-n team", "daskjob logs -n team sums."),
        ("-n team --context prod", "daskjob logs -n team --context prod sums."),
    ],
)
def test_next_step_has_the_options_with_which_commands_find_the_job(
    options: str, command: str
) -> None:
    status = {
        "jobStatus": "Failed",
        "phase": "Failed",
        "reason": "ExitCode",
        "message": "the script exited with 3.",
        "exitCode": 3,
    }
    meta = {"name": "sums", "annotations": {ANNOTATION_SCRIPT: "true"}}
    answer = explain({"metadata": meta, "status": status}, options=options)
    assert answer.next_step == f"Read what it printed before: {command}"


@pytest.mark.parametrize(
    ("script", "option"),
    [
        ({}, "activeDeadlineSeconds"),
        ({ANNOTATION_SCRIPT: "true"}, "--timeout"),
        ({ANNOTATION_SCRIPT: SUBMITTED_SCRIPT}, "--deadline"),
    ],
)
def test_next_step_names_the_option_of_the_command_that_made_the_job(
    script: dict[str, str], option: str
) -> None:
    status = {"jobStatus": "Failed", "phase": "Failed", "reason": "DeadlineExceeded"}
    answer = explain({"metadata": {"name": "sums", "annotations": script}, "status": status})
    assert answer.next_step == f"Raise {option}, or find out what is slow."


@pytest.mark.parametrize(
    ("end", "took"),
    [("12:00:10", "10s"), ("12:03:20", "3m20s"), ("14:05:00", "2h5m")],
)
def test_times_are_written_as_kubectl_writes_them(end: str, took: str) -> None:
    status = {
        "jobStatus": "Successful",
        "startTime": "2026-01-01T12:00:00Z",
        "endTime": f"2026-01-01T{end}Z",
    }
    found = explain({"metadata": {"name": "sums"}, "status": status})
    assert found.headline == f"sums succeeded after {took}."
