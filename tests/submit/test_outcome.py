"""What callers get to know about the end of a job."""

from __future__ import annotations

import pytest

from daskjob.core.status import JobStatus, JobStatusWord
from daskjob.submit.outcome import lost_result


@pytest.mark.parametrize(
    ("word", "message", "lost"),
    [
        (JobStatusWord.SUCCESSFUL, "Its result is not JSON and was left out.", True),
        (JobStatusWord.SUCCESSFUL, "The runner exited with code 0.", False),
        (JobStatusWord.FAILED, "Its result is not JSON and was left out.", False),
    ],
)
def test_a_result_is_lost_if_a_job_that_succeeded_left_it_out(
    word: JobStatusWord, message: str, lost: bool
) -> None:
    found = lost_result(JobStatus(job_status=word, message=message))
    assert found.startswith(message) is lost
    assert bool(found) is lost
