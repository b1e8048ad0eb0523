"""Conditions for a task's retries, by the class of the failure.

::

    run_daskjob.with_options(retries=3, retry_condition_fn=retry_infrastructure)(job)
"""

from __future__ import annotations

from typing import Any

from daskjob.core.errors import (
    Conflict,
    DaskJobError,
    Failed,
    Forbidden,
    Invalid,
    InvalidFailure,
    NotFound,
    PolicyFailure,
    WrongArgument,
    WrongType,
)
from daskjob.integrations.prefect.following import ImageFailure, NotPickedUp
from daskjob.kube.access import NoCredentials
from daskjob.kube.errors import Unauthorized
from daskjob.submit.client.errors import NotInstalled

#: What fails again in the same way until a person changes something.
HOPELESS: tuple[type[DaskJobError], ...] = (
    *(Invalid, InvalidFailure, Forbidden, NotInstalled, NotFound, Conflict, PolicyFailure),
    *(ImageFailure, NoCredentials, NotPickedUp, Unauthorized, WrongArgument, WrongType),
)


def retry_unless_hopeless(_task: Any, _run: Any, state: Any) -> bool:
    """Return whether another try may succeed: whatever failed, unless it fails the same again."""
    return not isinstance(_error(state), HOPELESS)


def retry_infrastructure(_task: Any, _run: Any, state: Any) -> bool:
    """Return whether the environment failed, such as an evicted runner, and not the script."""
    error = _error(state)
    return bool(getattr(error, "retryable", not isinstance(error, Failed)))


def _error(state: Any) -> object:
    # Within the loop of an asynchronous task, too.
    return state.result(raise_on_failure=False, _sync=True)
