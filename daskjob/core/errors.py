"""Every exception of daskjob, as one tree.

::

    DaskJobError
    ├── Invalid            the input cannot be right; every field error at once
    ├── NotFound           the named object does not exist
    ├── Conflict           the name or the submission belongs to something else
    ├── Forbidden          the permission is missing
    ├── Denied             the API rejected a change of an object
    ├── ApiError           the API (or this machine) did not do what was asked
    │   └── Refused        it said no to an object, and why
    │       └── StatusRejected  it said no to what an object's status says
    ├── Timeout            the wait ended, the job did not
    └── Failed          the job ended without success
        ├── UserFailure            what the job itself did
        ├── InfrastructureFailure  what happened to it
        ├── PolicyFailure          a limit that its spec sets
        └── InvalidFailure         a spec that cannot work

Every class says in ``retryable`` whether the same call may succeed later, and can be pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from daskjob.core.messages import cut


class DaskJobError(Exception):
    """The base of all: catch it to catch everything that daskjob raises on purpose."""

    #: Whether the same call may succeed later without anybody changing anything.
    retryable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong with a manifest: where, what stands there, and what may stand."""

    path: str
    value: object
    allowed: str

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.path}: is missing; {self.allowed}"
        shown = cut(repr(self.value), 80, "...")
        return f"{self.path}: {shown} is not allowed; {self.allowed}"


class Invalid(DaskJobError):
    """The input cannot be right; nothing was started. ``errors`` holds every mistake at once."""

    def __init__(self, subject: str, errors: Sequence[FieldError]) -> None:
        super().__init__(subject, tuple(errors))
        self.subject = subject
        self.errors = tuple(errors)

    def __str__(self) -> str:
        count = f"{len(self.errors)} mistake" + ("s" if len(self.errors) != 1 else "")
        return "\n".join([f"{self.subject} has {count}:", *(f"  {e}" for e in self.errors)])


class NotFound(DaskJobError):
    """The named object does not exist (any more)."""


class Conflict(DaskJobError):
    """The name, or the submission, belongs to something else that we must not touch."""


class Forbidden(DaskJobError):
    """The permission is missing; somebody has to grant it."""


class ApiError(DaskJobError):
    """The API, or this machine, did not do what was asked; trying again may help."""

    retryable = True


class RejectionKind(StrEnum):
    """Why an object could not be made, in the classes that a decision tells apart."""

    #: 422: the object can never be made as it is.
    INVALID = "Invalid"
    #: 403 by an admission plugin or webhook: whoever runs it may change their mind.
    REJECTED = "Rejected"
    #: 500: a webhook that the API server has to ask first does not answer; it may any moment.
    UNREACHED = "Unreached"
    #: 403 "exceeded quota": room may come.
    QUOTA = "Quota"
    #: 409 and the name belongs to a live object that is not ours.
    CONFLICT = "Conflict"
    #: 409 and the name belongs to an object that is about to go: wait for it.
    TERMINATING = "Terminating"


class CreateRejected(ApiError):
    """The API rejected an object: the ``kind`` of rejection, and its ``message``."""

    def __init__(self, kind: RejectionKind, name: str, message: str) -> None:
        super().__init__(kind, name, message)
        self.kind = kind
        self.name = name
        self.message = message

    def __str__(self) -> str:
        return f"{self.name} could not be created: {self.message}"


class StatusRejected(CreateRejected):
    """The API said no to the status of an object, which stays as it was."""

    def __str__(self) -> str:
        return f"the status of {self.name} was refused: {self.message}"


class ChangeDenied(DaskJobError):
    """The API said no to a change of an object, and says so again until somebody changes that."""


class Timeout(DaskJobError):
    """The wait ended, the job did not: it goes on and can be waited for again."""

    retryable = True


class Failed(DaskJobError):
    """The job ended without success: raised by whoever waited for it."""

    def __init__(
        self, reason: str, message: str = "", exit_code: int | None = None, log_tail: str = ""
    ) -> None:
        super().__init__(reason, message, exit_code, log_tail)
        self.reason = reason
        self.message = message
        self.exit_code = exit_code
        self.log_tail = log_tail

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}" if self.message else self.reason


class UserFailure(Failed):
    """The job's own doing: an exit code, too much memory."""


class InfrastructureFailure(Failed):
    """What happened to the job: eviction, a lost node, an image that cannot be pulled."""

    retryable = True


class PolicyFailure(Failed):
    """A limit that the spec sets was reached, or somebody cancelled."""


class InvalidFailure(Failed):
    """The spec cannot work, however often it is tried."""
