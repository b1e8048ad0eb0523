"""Error responses of the API server as daskjob exceptions, with the server's own message.

Only the message distinguishes a missing permission from a rejected object, both 403, and an
admission policy from an invalid field, both 422. These messages have not changed since those
features exist; ``tests/kubernetes`` checks them on a real server.
"""

from __future__ import annotations

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
    RejectionKind,
    StatusRejected,
)


class AlreadyExists(Conflict):
    """There is an object of this name: look at it, it may be the one that we wanted."""


class Replaced(Conflict):
    """The object that was meant is gone: another one has its name now."""


class NoSuchResource(ApiError):
    """The server knows no objects of this kind: the CRDs are not installed, or not yet served."""


class Expired(ApiError):
    """What was asked for is too old for the server to remember: list again."""


class Unreachable(ApiError):
    """There was no connection: the server never saw the request."""


class Unanswered(ApiError):
    """The server could not answer, or its answer was lost: the same again may help."""


class OutcomeUnknown(Unanswered):
    """The creation was sent, and nobody knows whether it happened: repeat it under its name."""


class Throttled(ApiError):
    """The server has too much to do; ``retry_after`` says for how many seconds, if it did."""

    def __init__(self, words: str, retry_after: float | None = None) -> None:
        super().__init__(words, retry_after)
        self.words = words
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.words


class UnexpectedObject(ApiError):
    """The response is not what the API server sends for objects of this kind."""


class WatchFailed(ApiError):
    """The server ended a watch with an ERROR event; ``code`` is its reason."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(code, words)
        self.code = code
        self.words = words

    def __str__(self) -> str:
        return f"the watch ended with {self.code}: {self.words}"


class Cause(msgspec.Struct):
    """One thing that is wrong with an object."""

    reason: str | None = None
    message: str | None = None
    field: str | None = None


class Details(msgspec.Struct):
    """What a Status says for programs."""

    name: str | None = None
    causes: list[Cause] | None = None
    retryAfterSeconds: float | None = None  # noqa: N815 - Kubernetes' name


class Status(msgspec.Struct):
    """The body of an answer that is a no."""

    code: int | None = None
    reason: str | None = None
    message: str | None = None
    details: Details | None = None


_STATUS = msgspec.json.Decoder(Status)
#: How a JSON patch whose test failed is refused, with no details at all.
_TEST_FAILED = "the server rejected our request due to an error in our request"
#: How a deletion of another uid is refused.
_UID_DIFFERS = "UID in the precondition"
#: How the API server says that a webhook, without which it makes nothing, did not answer.
_WEBHOOK_IS_DOWN = "failed calling webhook"
#: What of a proxy's page is shown.
_SHOWN = 400


def read_status(body: bytes) -> Status:
    """Return the Status of an answer; of one that is none, such as a proxy's page, its text."""
    try:
        return _STATUS.decode(body)
    except msgspec.MsgspecError:
        text = " ".join(body.decode(errors="replace").split())
        return Status(message=text[:_SHOWN])


def error_of(
    subject: str,
    code: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    creating: bool = False,
    of_status: bool = False,
) -> DaskJobError:
    """Return the error that an answer is: to a new object, to a status, or to anything else."""
    status = read_status(body)
    words = status.message or f"the API server answered {code}"
    told = f"{subject}: {words}"
    match code:
        case 404 if status.details and status.details.name:
            return NotFound(told)
        case 404:
            return NoSuchResource(told)
        case 409 if status.reason == "AlreadyExists":
            return AlreadyExists(told)
        case 409 if _UID_DIFFERS in words:
            return Replaced(told)
        case 409:
            return Conflict(told)
        case 410:
            return Expired(told)
        case 429:
            return Throttled(told, _retry_after(status, headers or {}))
        case 403 if _permission_is_missing(words):
            return Forbidden(told)
        case 422 if _is_another_one(status):
            return Replaced(f"{subject}: it is another one than the one that was meant")
        case 400 | 403 | 413 | 422 if creating:
            return CreateRejected(_rejection_kind(code, words), subject, words)
        case _ if of_status and 400 <= code < 500 and code not in (401, 408):
            # A quota that its words may speak of is what the status tells of.
            judged = _is_rejected(code, words)
            kind = RejectionKind.REJECTED if judged else RejectionKind.INVALID
            return StatusRejected(kind, subject, words)
        case 403 | 422 if code == 422 or _speaks_of_admission(words):
            return ChangeDenied(told)
        case 500 if creating and _is_too_large(words):
            return CreateRejected(RejectionKind.INVALID, subject, words)
        case 500 if creating and _WEBHOOK_IS_DOWN in words:
            return CreateRejected(RejectionKind.UNREACHED, subject, words)
    if code >= 500 or code == 408:
        # A time-out inside the server comes as 500 or 504, whatever happened to the object.
        return OutcomeUnknown(told) if creating else Unanswered(told)
    return ApiError(told)


def _permission_is_missing(words: str) -> bool:
    return 'forbidden: User "' in words and " cannot " in words


def _is_too_large(words: str) -> bool:
    """Say whether the store behind the server will never take an object, which comes as a 500."""
    return "request is too large" in words or "send message larger than max" in words


def _is_another_one(status: Status) -> bool:
    """Say whether a patch met an object of another uid than the patch was meant for."""
    causes = (status.details.causes if status.details else None) or []
    if any(cause.field == "metadata.uid" for cause in causes):
        return True
    return not causes and status.message == _TEST_FAILED


def _rejection_kind(code: int, words: str) -> RejectionKind:
    if "exceeded quota" in words:
        return RejectionKind.QUOTA
    return RejectionKind.REJECTED if _is_rejected(code, words) else RejectionKind.INVALID


def _is_rejected(code: int, words: str) -> bool:
    """Say whether it was admission that said no, which may come to think better of it."""
    return code == 403 or _speaks_of_admission(words)


def _speaks_of_admission(words: str) -> bool:
    return "ValidatingAdmissionPolicy" in words or "admission webhook" in words


def _retry_after(status: Status, headers: Mapping[str, str]) -> float | None:
    given = headers.get("Retry-After", "")
    if given.isdigit():
        return float(given)
    return status.details.retryAfterSeconds if status.details else None
