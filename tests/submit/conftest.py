"""What several tests of submissions share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daskjob import JobClient
from daskjob.submit.local import LocalJobs


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalJobs]:
    """The jobs of this machine in a folder of their own; none outlives the test."""
    monkeypatch.setenv("DASKJOB_STATE_DIR", str(tmp_path / "state"))
    with JobClient.local() as client:
        yield client
        for job in client.list():
            client.cancel(job.ref)
            client.wait(job.ref, timeout_seconds=30, raise_on_failure=False)
