"""The exceptions of all layers; those for programs, with all others, are in ``daskjob.errors``.

``retryable`` of every class is whether the same call may succeed later. All can be pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from daskjob.core.messages import cut


class DaskJobError(Exception):
    """The base class: catch it to catch every exception that daskjob defines."""

    #: Whether the same call may succeed later without any change by a user.
    retryable: ClassVar[bool] = False

    def __repr__(self) -> str:
        """Return the message: programs log errors by it, and arguments are for pickling alone."""
        return f"{type(self).__name__}({str(self)!r})"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One mistake in a manifest: its path, the value found, and what is allowed."""

    path: str
    value: object
    allowed: str

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.path}: is missing; {self.allowed}"
        shown = cut(repr(self.value), 80, "...")
        return f"{self.path}: {shown} is not allowed; {self.allowed}"


class Invalid(DaskJobError):
    """The input is invalid, and nothing was started. ``errors`` lists every mistake."""

    def __init__(self, subject: str, errors: Sequence[FieldError]) -> None:
        super().__init__(subject, tuple(errors))
        self.subject = subject
        self.errors = tuple(errors)

    def __str__(self) -> str:
        count = f"{len(self.errors)} mistake" + ("s" if len(self.errors) != 1 else "")
        return "\n".join([f"{self.subject} has {count}:", *(f"  {e}" for e in self.errors)])


class WrongArgument(DaskJobError, ValueError):
    """An argument has a value that cannot work."""


class WrongType(DaskJobError, TypeError):
    """An argument has a value of a type that it cannot have."""


class NoSuchFile(WrongArgument, FileNotFoundError):
    """The file that an argument names does not exist."""


class UnknownArgument(DaskJobError, TypeError):
    """An argument that does not exist."""


class ClusterClosed(DaskJobError, RuntimeError):
    """The cluster was closed, or its start has failed."""


class NotFound(DaskJobError):
    """The object does not exist, or no longer."""


class Conflict(DaskJobError):
    """The name, or the submission, belongs to another object, which must stay unchanged."""


@dataclass(frozen=True, slots=True)
class Permission:
    """What a user may not do, in the words of a Role."""

    verb: str
    #: With its subresource: ``pods/log``.
    resource: str
    group: str = ""
    #: Empty: all namespaces.
    namespace: str = ""

    @property
    def rule(self) -> str:
        """The rule of a Role that grants it, as YAML."""
        group, resource, verb = self.group or '""', self.resource, self.verb
        return f"{{apiGroups: [{group}], resources: [{resource}], verbs: [{verb}]}}"

    def __str__(self) -> str:
        where = f"a Role in namespace {self.namespace}" if self.namespace else "a ClusterRole"
        return f"{where} grants it with the rule {self.rule}"


class Forbidden(DaskJobError):
    """A permission is missing; an administrator has to grant it."""

    def __init__(self, message: str, permission: Permission | None = None) -> None:
        super().__init__(message, permission)
        self.message = message
        self.permission = permission

    def __str__(self) -> str:
        return f"{self.message}; {self.permission}" if self.permission else self.message


class ApiError(DaskJobError):
    """A request to the API, or to this machine, failed; a retry may succeed."""

    retryable = True


class AnswerPending(ApiError):
    """A pass needs an answer of a scheduler that was asked just now; the answer wakes the pass."""


class RejectionKind(StrEnum):
    """Why an object could not be created, as far as decisions differ."""

    #: 422: the object can never be created as it is.
    INVALID = "Invalid"
    #: 403 by an admission plugin or webhook: its policy may change.
    REJECTED = "Rejected"
    #: 500: an admission webhook does not respond; it may at any moment.
    UNREACHED = "Unreached"
    #: 403 "exceeded quota": quota may become available.
    QUOTA = "Quota"
    #: 409: the name belongs to an existing object that is not ours.
    CONFLICT = "Conflict"
    #: 409: the name belongs to an object that is terminating; wait for its deletion.
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
    """The API rejected the status of an object; the old status stays."""

    def __str__(self) -> str:
        return f"the status of {self.name} was rejected: {self.message}"


class ChangeDenied(DaskJobError):
    """The API rejected a change of an object, and will until a user changes something."""


class Timeout(DaskJobError):
    """The wait ended before the job, which continues and can be waited for again."""

    retryable = True


class Failed(DaskJobError):
    """The job ended without success; raised by calls that wait for it."""

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
    """The job itself failed: an exit code, too much memory."""


class InfrastructureFailure(Failed):
    """The environment failed: eviction, a lost node, an image that cannot be pulled."""

    retryable = True


class PolicyFailure(Failed):
    """A limit set by the spec was reached, or the job was cancelled."""


class InvalidFailure(Failed):
    """The spec cannot work; a retry would fail the same way."""
