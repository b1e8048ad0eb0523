"""Dagster on a folder of the test, and jobs of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from daskjob.submit.client.sync_client import JobClient
from daskjob.submit.local import LocalJobs


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DAGSTER_HOME."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    return folder


@pytest.fixture
def instance(home: Path) -> Iterator[DagsterInstance]:
    with DagsterInstance.from_config(str(home)) as made:
        yield made


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalJobs]:
    """The jobs of this machine, in a folder of their own."""
    monkeypatch.setenv("DASKJOB_STATE_DIR", str(tmp_path / "state"))
    with JobClient.local() as client:
        yield client
        for job in client.list():
            client.cancel(job.ref)
            client.wait(job.ref, timeout_seconds=30, raise_on_failure=False)
