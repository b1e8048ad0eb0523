"""Error responses of the API server as daskjob exceptions, with the server's own message.

Only the message distinguishes a missing permission from a rejected object, both 403, and an
admission policy from an invalid field, both 422. These messages have not changed since the features
were introduced; ``tests/kubernetes`` checks them on a real server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from daskjob.core.errors import (
    ApiError,
    ChangeDenied,
    Conflict,
    CreateRejected,
    DaskJobError,
    Forbidden,
    NotFound,
    Permission,
    RejectionKind,
    StatusRejected,
)


class AlreadyExists(Conflict):
    """An object of this name exists; it may be the one that we wanted to create."""


class Replaced(Conflict):
    """The object is gone, and another one has its name now."""


class NoSuchResource(ApiError):
    """The server does not serve this kind: the CRDs are not installed, or not yet served."""


class BadRequest(ApiError):
    """The request makes no sense now, such as one for the log of a container that waits."""


class Unauthorized(ApiError):
    """The API server rejects the credentials, and only a person renews them: log in again."""

    retryable = False


class Expired(ApiError):
    """The server no longer has this resourceVersion or continue token: list again."""


class Unreachable(ApiError):
    """There was no connection: the server never saw the request."""


class Unanswered(ApiError):
    """The server could not answer, or its response was lost; a retry may help."""


class OutcomeUnknown(Unanswered):
    """A create was sent, with unknown outcome: repeat it under the same name."""


class Throttled(ApiError):
    """The server is overloaded; ``retry_after``: the delay in seconds that it asks for, if any."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after)
        self.message = message
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.message


class UnexpectedObject(ApiError):
    """The response does not have the form of objects of this kind."""


class WatchFailed(ApiError):
    """The server ended a watch with an ERROR event of this status code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"the watch ended with {self.code}: {self.message}"


#: What decoding raises for bytes that others sent: not JSON, not UTF-8, numbers without end, or
#: nested too deeply.
MALFORMED = (msgspec.MsgspecError, ValueError, RecursionError)


class Cause(msgspec.Struct):
    """One error in an object."""

    reason: str | None = None
    message: str | None = None
    field: str | None = None


class Details(msgspec.Struct):
    """The machine-readable part of a Status."""

    name: str | None = None
    causes: list[Cause] | None = None
    retryAfterSeconds: float | None = None  # noqa: N815 - Kubernetes' name


class Status(msgspec.Struct):
    """The body of an error response."""

    code: int | None = None
    reason: str | None = None
    message: str | None = None
    details: Details | None = None


_STATUS = msgspec.json.Decoder(Status)
_SECONDS = re.compile("[0-9]{1,9}")
#: The message for a JSON patch whose test failed, which has no details at all.
_TEST_FAILED = "the server rejected our request due to an error in our request"
#: In the message of the authorizer of roles, and of those of cloud providers.
_CANNOT = re.compile(
    r'cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)"(?: in API group "(?P<group>[^"]*)")?'
    r'(?: in the namespace "(?P<namespace>[^"]*)")?'
)
#: In the message for a delete whose uid precondition failed.
_UID_DIFFERS = "UID in the precondition"
#: In the message for a required webhook that did not answer (``failurePolicy: Fail``).
_WEBHOOK_IS_DOWN = "failed calling webhook"
#: How many characters of a proxy's error page are shown.
_SHOWN = 400
_TITLE = re.compile(r"<(?:title|h1)[^>]*>([^<]+)", re.IGNORECASE)


def read_status(body: bytes) -> Status:
    """Return the Status of a response; if it is something else, like a proxy's page, its text."""
    try:
        return _STATUS.decode(body)
    except MALFORMED:
        text = " ".join(body.decode(errors="replace").split())
        page = _TITLE.search(text)
        if page or text[:1] == "<":
            title = f" ({page[1].strip()[:_SHOWN]})" if page else ""
            text = f"the response is a web page{title}, which is not from an API server"
        return Status(message=text[:_SHOWN])


def error_of(
    subject: str,
    code: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    creating: bool = False,
    of_status: bool = False,
    fixed: bool = False,
) -> DaskJobError:
    """Return the exception for an error response to a create, a status write or anything else.

    ``fixed``: no program renews the credentials.
    """
    status = read_status(body)
    message = status.message or f"the API server answered {code}"
    if 300 <= code < 400:
        message = f"the response {code} leads elsewhere, so it is not from an API server"
    full_message = f"{subject}: {message}"
    match code:
        case 401 if fixed:
            return Unauthorized(full_message)
        case 404 if status.details and status.details.name:
            return NotFound(full_message)
        case 404:
            return NoSuchResource(full_message)
        case 409 if status.reason == "AlreadyExists":
            return AlreadyExists(full_message)
        case 409 if _UID_DIFFERS in message:
            return Replaced(full_message)
        case 409:
            return Conflict(full_message)
        case 410:
            return Expired(full_message)
        case 429:
            return Throttled(full_message, _retry_after(status, headers or {}))
        case 403 if _permission_is_missing(message):
            return Forbidden(full_message, missing_permission(message))
        case 422 if _is_another_one(status):
            return Replaced(f"{subject}: another object has its name now")
        case 400 | 403 | 413 | 422 if creating:
            return CreateRejected(_rejection_kind(code, message), subject, message)
        case _ if of_status and 400 <= code < 500 and code not in (401, 408):
            # Never QUOTA: a message that mentions a quota quotes the status itself.
            by_admission = _is_rejected(code, message)
            kind = RejectionKind.REJECTED if by_admission else RejectionKind.INVALID
            return StatusRejected(kind, subject, message)
        case 403 | 422 if code == 422 or _names_admission(message):
            return ChangeDenied(full_message)
        case 500 if creating and _is_too_large(message):
            return CreateRejected(RejectionKind.INVALID, subject, message)
        case 500 if creating and _WEBHOOK_IS_DOWN in message:
            return CreateRejected(RejectionKind.UNREACHED, subject, message)
    if code == 400:
        return BadRequest(full_message)
    if code >= 500 or code == 408:
        # A timeout inside the server is a 500 or 504, whether the object was written or not.
        return OutcomeUnknown(full_message) if creating else Unanswered(full_message)
    return ApiError(full_message)


def _permission_is_missing(message: str) -> bool:
    return 'forbidden: User "' in message and " cannot " in message


def missing_permission(message: str) -> Permission | None:
    """Return the permission that is missing, from the message of a 403."""
    found = _CANNOT.search(message)
    if found is None:
        return None
    return Permission(
        found["verb"], found["resource"], found["group"] or "", found["namespace"] or ""
    )


def _is_too_large(message: str) -> bool:
    """Return whether the object is too large for etcd, which is a 500."""
    return "request is too large" in message or "send message larger than max" in message


def _is_another_one(status: Status) -> bool:
    """Return whether a patch was rejected because the object has another uid."""
    causes = (status.details.causes if status.details else None) or []
    if any(cause.field == "metadata.uid" for cause in causes):
        return True
    return not causes and status.message == _TEST_FAILED


def _rejection_kind(code: int, message: str) -> RejectionKind:
    if "exceeded quota" in message:
        return RejectionKind.QUOTA
    return RejectionKind.REJECTED if _is_rejected(code, message) else RejectionKind.INVALID


def _is_rejected(code: int, message: str) -> bool:
    """Return whether admission rejected it; that may change, so it is worth retrying."""
    return code == 403 or _names_admission(message)


def _names_admission(message: str) -> bool:
    return "ValidatingAdmissionPolicy" in message or "admission webhook" in message


def _retry_after(status: Status, headers: Mapping[str, str]) -> float | None:
    given = headers.get("Retry-After", "")
    if _SECONDS.fullmatch(given):
        return float(given)
    return status.details.retryAfterSeconds if status.details else None
