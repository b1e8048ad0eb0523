"""What is reported of a flow run whose job has ended: each state, each end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prefect.states import (
    AwaitingRetry,
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    Failed,
    Paused,
    Pending,
    Running,
    Scheduled,
    Suspended,
)

from daskjob.core import errors
from daskjob.integrations.prefect.flow_run_end import state_after

PID = "team:nightly-1a2b3c4d5e-g1"
KILLED = errors.UserFailure("ExitCode", "the container exited with 137", 137)
CANCELLED = errors.PolicyFailure("Cancelled", "cancelled by its user")
GONE = errors.NotFound("DaskJob nightly was deleted")


@pytest.mark.parametrize("error", [None, KILLED, CANCELLED, GONE])
@pytest.mark.parametrize("state", [Completed(), Failed(), Crashed(), Cancelled()])
def test_a_reported_end_stays(state: Any, error: Any) -> None:
    assert state_after(flow_run(state), PID, error) is None


@pytest.mark.parametrize("error", [None, KILLED, GONE])
@pytest.mark.parametrize("state", [Scheduled(), AwaitingRetry(), Paused(), Suspended()])
def test_a_flow_run_that_continues_is_left_alone(state: Any, error: Any) -> None:
    assert state_after(flow_run(state), PID, error) is None


@pytest.mark.parametrize("state", [Pending(), Running()])
@pytest.mark.parametrize(
    ("error", "text"),
    [(None, "has not reported"), (KILLED, "exited with 137"), (GONE, "was deleted")],
)
def test_a_lost_process_is_a_crash_with_its_reason(state: Any, error: Any, text: str) -> None:
    found = state_after(flow_run(state), PID, error)
    assert found
    assert found.is_crashed()
    assert "nightly-1a2b3c4d5e-g1" in str(found.message)
    assert text in str(found.message)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (Cancelling(), None),
        (Cancelling(), KILLED),
        (Cancelling(), CANCELLED),
        (Running(), CANCELLED),
        (Pending(), CANCELLED),
    ],
)
def test_a_cancelled_job_is_a_cancelled_flow_run(state: Any, error: Any) -> None:
    found = state_after(flow_run(state), PID, error)
    assert found
    assert found.is_cancelled()


def test_the_next_process_of_a_flow_run_is_another_one() -> None:
    later = flow_run(Running(), "team:nightly-1a2b3c4d5e-g2")
    assert state_after(later, PID, KILLED) is None


def flow_run(state: Any, pid: str | None = PID) -> Any:
    return SimpleNamespace(state=state, infrastructure_pid=pid)
