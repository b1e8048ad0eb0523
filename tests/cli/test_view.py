"""What a run reports at its end."""

from __future__ import annotations

import pytest

from daskjob.core.manifests import Manifest
from daskjob.core.status import JobStatus, JobStatusWord
from daskjob.submit.cli.live import View
from daskjob.submit.cli.screen import Screen
from daskjob.submit.jobs import JobSnapshot


class EndedJob:
    """A job with one worker that has succeeded, with this report."""

    def __init__(self, report: Manifest | None) -> None:
        self._status = JobStatus(job_status=JobStatusWord.SUCCESSFUL, report=report)

    def snapshot(self) -> JobSnapshot:
        return JobSnapshot("sums", self._status, desired_workers=1, ready_workers=0)


@pytest.mark.parametrize(("report", "said"), [({"tasks": {"total": 0}}, True), (None, False)])
def test_that_no_task_ran_is_reported_only_where_it_is_known(
    report: Manifest | None, said: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    View(EndedJob(report), Screen(), quiet=False).end()
    text = capfd.readouterr().err
    assert "sums succeeded" in text
    assert ("ran no tasks" in text) is said
