"""What becomes of a flow run when its DaskJob has ended, as decisions about values."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Crashed

from daskjob.core.errors import DaskJobError, Failed
from daskjob.core.reasons import Reason


def state_after(flow_run: Any, pid: str, error: DaskJobError | None) -> State[Any] | None:
    """Return the state to report; ``None``: the flow's own process has reported all there is.

    ``pid`` is the job's ``namespace:name``; ``error`` is ``None`` if the job succeeded.
    """
    state = flow_run.state
    if state is None or state.is_final() or not _is_of(flow_run, pid):
        return None
    name = pid.rpartition(":")[2]
    if state.is_cancelling() or _was_cancelled(error):
        return Cancelled(message=f"DaskJob {name} was cancelled")
    # Of a flow run that is scheduled again, or waits for somebody, the next job is another one.
    if state.is_scheduled() or state.is_paused():
        return None
    if error is None:
        return Crashed(
            message=f"DaskJob {name} has ended, and the flow's process has not reported how"
        )
    verb = " failed" if isinstance(error, Failed) else ""
    return Crashed(message=f"DaskJob {name}{verb}: {error}")


def _is_of(flow_run: Any, pid: str) -> bool:
    return (flow_run.infrastructure_pid or pid) == pid


def _was_cancelled(error: DaskJobError | None) -> bool:
    return isinstance(error, Failed) and error.reason == Reason.CANCELLED
