"""The errors of daskjob as Airflow's: what a retry cannot mend fails the task at once.

Each class is one of ``daskjob.core.errors`` and one of Airflow's. So ``except`` and ``RetryRule``
match them by daskjob's classes, and Airflow fails the task, or retries it, by its own:
``AirflowFailException`` ends the task whatever ``retries`` is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
)

from daskjob.core import errors
from daskjob.core.reasons import Reason
from daskjob.core.status import JobStatus
from daskjob.submit.outcome import failure_of, is_image_failure


class DaskJobError(errors.DaskJobError, AirflowException):
    """Any error of daskjob, in a task."""


class Permanent(errors.DaskJobError, AirflowFailException):
    """An error that no retry mends: a person has to change something."""


class NotPickedUp(Permanent):
    """No operator has picked the job up."""


class Invalid(errors.Invalid, AirflowFailException):
    """The manifest, or an argument, has mistakes."""


class Forbidden(errors.Forbidden, AirflowFailException):
    """A permission is missing; the message has the rule of a Role that grants it."""


class Conflict(errors.Conflict, AirflowFailException):
    """The name of the job belongs to another object, or a job with another spec is running."""


class NotFound(errors.NotFound, AirflowException):
    """The job was deleted before it ended; a retry starts the next one."""


class ApiError(errors.ApiError, AirflowException):
    """A request to the API server failed; a retry may succeed."""


class Timeout(errors.Timeout, AirflowException):
    """The job has not ended within ``execution_timeout``; it was cancelled."""


class UserFailure(errors.UserFailure, AirflowException):
    """The job failed by itself: an exit code, too much memory."""


class InfrastructureFailure(errors.InfrastructureFailure, AirflowException):
    """Its environment failed: an evicted pod, a lost node or scheduler."""


class ImageFailure(errors.InfrastructureFailure, AirflowFailException):
    """An image does not exist, or may not be pulled: the same image cannot be pulled later."""

    retryable = False


class PolicyFailure(errors.PolicyFailure, AirflowException):
    """A limit of the job's spec was reached, or the job was cancelled."""


class InvalidFailure(errors.InvalidFailure, AirflowFailException):
    """The job's spec cannot work."""


class Detached(errors.DaskJobError, AirflowException):
    """The worker of the task shuts down: the job goes on, and the next try follows it again."""

    retryable = True


class Killed(errors.DaskJobError, AirflowException):
    """The task was ended from outside, and its job was cancelled."""


#: From the most special class to the most general one.
_TWINS: tuple[type[errors.DaskJobError], ...] = (
    Invalid,
    Forbidden,
    Conflict,
    NotFound,
    ApiError,
    Timeout,
    UserFailure,
    InfrastructureFailure,
    PolicyFailure,
    InvalidFailure,
    DaskJobError,
)
#: Errors of a request that no later request mends.
_PERMANENT = (
    *("NotInstalled", "NoCredentials", "Unauthorized", "WrongConnection"),
    *("WrongArguments", "WrongSettings", "UnfitCode", "UnreadableFile", "NoImage"),
)
_made: dict[tuple[type, type], type[errors.DaskJobError]] = {}


def as_airflow_error(error: errors.DaskJobError) -> errors.DaskJobError:
    """Return an error of daskjob as one that is also Airflow's, with the same text."""
    if issubclass(type(error), AirflowException):
        return error
    twin: Any = _combined(type(error), _twin_of(error))
    made: errors.DaskJobError = twin.__new__(twin, *error.args)
    made.args = error.args
    made.__dict__.update(error.__dict__)
    return made


def _twin_of(error: errors.DaskJobError) -> type[errors.DaskJobError]:
    # By name: the modules of some need packages that only a cluster needs.
    if any(kind.__name__ in _PERMANENT for kind in type(error).__mro__):
        return Permanent
    return next(twin for twin in _TWINS if isinstance(error, twin.__bases__[0]))


def _combined(kind: type[Any], twin: type[errors.DaskJobError]) -> type[errors.DaskJobError]:
    """Return a class that is both: an error of a client keeps its own class."""
    if kind is twin.__bases__[0]:
        return twin
    key = (kind, twin)
    if key not in _made:
        bases: Any = (kind, twin)
        _made[key] = type(kind.__name__, bases, {"__reduce__": _reduce, "__module__": __name__})
    return _made[key]


def _reduce(self: errors.DaskJobError) -> tuple[Any, ...]:
    """Pickle an error whose class was made here: by the class of daskjob that it is."""
    plain = type(self).__bases__[0]
    return _unpickled, (plain, self.args, self.__dict__)


def _unpickled(plain: Any, args: tuple[Any, ...], values: dict[str, Any]) -> errors.DaskJobError:
    error: errors.DaskJobError = plain.__new__(plain, *args)
    error.args = args
    error.__dict__.update(values)
    return as_airflow_error(error)


def failure(status: JobStatus, log_tail: str = "") -> errors.DaskJobError:
    """Return the error of a job that ended without success."""
    found = failure_of(status, log_tail)
    if is_image_failure(status):
        return ImageFailure(found.reason, found.message, found.exit_code, found.log_tail)
    return as_airflow_error(found)


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Raise errors of daskjob within as Airflow's, and a missing connection as final."""
    try:
        yield
    except errors.DaskJobError as error:
        # Its message has everything: the log of a task shows each frame of daskjob in a line.
        raise as_airflow_error(error).with_traceback(None) from error.__cause__
    except AirflowNotFoundException as error:
        raise Permanent(
            f"{error}; create the connection, of type kubernetes, or name another one: "
            "kubernetes_conn_id"
        ) from None


#: Classes that a trigger names in its event.
_NAMED: dict[str, type[errors.DaskJobError]] = {
    "Forbidden": Forbidden,
    "ApiError": ApiError,
    "NotPickedUp": NotPickedUp,
    "Permanent": Permanent,
}


def by_name(name: str, message: str, event: Any) -> errors.DaskJobError:
    """Return the error that a trigger has seen, from its event."""
    if name == "ImageFailure":
        return ImageFailure(str(event.get("reason") or Reason.IMAGE_PULL), message)
    return _NAMED.get(name, Permanent)(message)
