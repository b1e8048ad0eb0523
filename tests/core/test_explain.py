"""The commands in an explanation find the job that it is about."""

from __future__ import annotations

import pytest

from daskjob.core.explain import explain
from daskjob.core.names import ANNOTATION_SCRIPT


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
