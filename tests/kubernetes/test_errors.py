"""The meaning of the API server's error responses, from answers of real servers."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

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
from daskjob.kube.errors import (
    AlreadyExists,
    Expired,
    NoSuchResource,
    OutcomeUnknown,
    Replaced,
    Throttled,
    Unanswered,
    Unauthorized,
    Unreachable,
    WatchFailed,
    error_of,
)

UID = "00000000-0000-0000-0000-000000000000"
IMMUTABLE = f'Pod "p1" is invalid: metadata.uid: Invalid value: "{UID}": field is immutable'


def rejection(code: int, reason: str, message: str, **details: Any) -> bytes:
    """Return a Status as a server writes it."""
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    found = {**status, "code": code, "reason": reason, "message": message}
    return json.dumps({**found, "details": details} if details else found).encode()


def error(
    code: int,
    reason: str,
    message: str,
    *,
    creating: bool = False,
    of_status: bool = False,
    **details: Any,
) -> Any:
    body = rejection(code, reason, message, **details)
    return error_of("Pod default/p1", code, body, creating=creating, of_status=of_status)


def test_an_object_that_is_not_there_is_not_found_with_kubernetes_message() -> None:
    found = error(404, "NotFound", 'pods "p1" not found', name="p1", kind="pods")
    assert type(found) is NotFound
    assert str(found) == 'Pod default/p1: pods "p1" not found'


def test_an_unserved_kind_is_not_reported_as_a_missing_object() -> None:
    found = error(404, "NotFound", "the server could not find the requested resource")
    assert type(found) is NoSuchResource
    plain = error_of("list of daskjobs", 404, b"404 page not found\n")
    assert type(plain) is NoSuchResource
    assert str(plain) == "list of daskjobs: 404 page not found"


def test_a_missing_permission_is_forbidden() -> None:
    message = (
        'pods is forbidden: User "system:serviceaccount:ns:op" cannot create resource "pods" in '
        'API group "" in the namespace "default"'
    )
    assert type(error(403, "Forbidden", message, creating=True)) is Forbidden
    assert type(error(403, "Forbidden", message)) is Forbidden


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (403, 'pods "p1" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, '
         "limited: pods=2", RejectionKind.QUOTA),
        (403, 'pods "p1" is forbidden: violates PodSecurity "restricted:latest": allowPrivilege…',
         RejectionKind.REJECTED),
        (403, 'admission webhook "v.x.io" denied the request: no', RejectionKind.REJECTED),
        (400, 'admission webhook "v.x.io" denied the request: no', RejectionKind.REJECTED),
        (403, 'pods "p1" is forbidden: unable to create new content in namespace ns because it '
         "is being terminated", RejectionKind.REJECTED),
        (422, "pods \"p1\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied "
         "request: no", RejectionKind.REJECTED),
        (422, 'Pod "p1" is invalid: spec.containers[0].name: Invalid value: "A_B"',
         RejectionKind.INVALID),
        (400, 'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal string',
         RejectionKind.INVALID),
        (413, "Request entity too large: limit is 3145728", RejectionKind.INVALID),
        (500, 'Internal error occurred: failed calling webhook "v.x.io": failed to call webhook: '
         'Post "https://v.x.svc:443/?timeout=10s": service "v" not found', RejectionKind.UNREACHED),
    ],
)  # fmt: skip
def test_a_rejected_create_has_its_kind(code: int, message: str, kind: RejectionKind) -> None:
    found = error(code, "", message, creating=True)
    assert type(found) is CreateRejected
    assert (found.kind, found.name, found.message) == (kind, "Pod default/p1", message)


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (400, "json: cannot unmarshal string", RejectionKind.INVALID),
        (400, 'admission webhook "v.x.io" denied the request: no', RejectionKind.REJECTED),
        (403, 'admission webhook "v.x.io" denied the request: no', RejectionKind.REJECTED),
        (405, "the server does not allow this method", RejectionKind.INVALID),
        (413, "Request entity too large: limit is 3145728", RejectionKind.INVALID),
        (415, "the body of the request was in an unknown format", RejectionKind.INVALID),
        (422, 'DaskJob "j" is invalid: status.message: Invalid value: "exceeded quota: q"',
         RejectionKind.INVALID),
    ],
)  # fmt: skip
def test_a_rejected_status_has_its_kind_and_is_never_a_quota(
    code: int, message: str, kind: RejectionKind
) -> None:
    found = error(code, "", message, causes=[{"field": "status"}], of_status=True)
    assert type(found) is StatusRejected
    assert (found.kind, found.name, found.message) == (kind, "Pod default/p1", message)


@pytest.mark.parametrize(("fixed", "retryable"), [(True, False), (False, True)])
def test_a_rejected_token_is_final_if_only_a_person_renews_it(fixed: bool, retryable: bool) -> None:
    found = error_of("Pod default/p1", 401, b'{"message": "Unauthorized"}', fixed=fixed)
    assert str(found) == "Pod default/p1: Unauthorized"
    assert isinstance(found, ApiError)
    assert isinstance(found, Unauthorized) == fixed
    assert found.retryable == retryable


@pytest.mark.parametrize("code", [401, 404, 408, 409, 410, 429, 500, 503])
def test_a_transient_failure_of_a_status_is_no_rejection(code: int) -> None:
    assert not isinstance(error(code, "", "not now", of_status=True), CreateRejected)


@pytest.mark.parametrize(
    "message",
    [
        "etcdserver: request is too large",
        "rpc error: code = ResourceExhausted desc = trying to send message larger than max "
        "(2100000 vs. 2097152)",
    ],
)
def test_an_object_too_large_for_etcd_is_invalid_though_the_code_is_500(
    message: str,
) -> None:
    found = error(500, "", message, creating=True)
    assert type(found) is CreateRejected
    assert found.kind is RejectionKind.INVALID
    assert type(error(500, "", message)) is Unanswered


def test_a_rejected_change_is_no_rejected_create() -> None:
    for code in (400, 403, 413):
        found = error(code, "Invalid", "no", causes=[{"field": "spec"}])
        assert isinstance(found, ApiError)
        assert not isinstance(found, CreateRejected)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (422, 'Pod "p1" is invalid: spec: Forbidden: pod updates may not change fields'),
        (422, "ValidatingAdmissionPolicy 'no' with binding 'no' denied request: not here"),
        (403, 'admission webhook "no.example.com" denied the request: not here'),
    ],
)
def test_a_change_rejected_after_validation_is_denied(code: int, message: str) -> None:
    assert type(error(code, "Invalid", message, causes=[{"field": "spec"}])) is ChangeDenied


def test_a_taken_name_is_distinguished_from_a_version_conflict() -> None:
    taken = error(409, "AlreadyExists", 'pods "p1" already exists', creating=True)
    assert type(taken) is AlreadyExists
    modified = error(409, "Conflict", "the object has been modified; please apply your changes")
    assert type(modified) is Conflict


@pytest.mark.parametrize(
    "body",
    [
        rejection(
            409,
            "Conflict",
            "Operation cannot be fulfilled: the UID in the precondition (a) does "
            "not match the UID in record (b)",
        ),
        rejection(
            422, "Invalid", IMMUTABLE, causes=[{"field": "metadata.uid", "message": "immutable"}]
        ),
        rejection(422, "Invalid", "the server rejected our request due to an error in our request"),
    ],
    ids=["delete", "merge patch", "test of a JSON patch"],
)  # fmt: skip
def test_another_object_of_the_name_is_recognized_in_every_form(body: bytes) -> None:
    code = json.loads(body)["code"]
    assert type(error_of("Pod default/p1", code, body)) is Replaced


def test_a_status_rejected_by_the_schema_is_no_other_object() -> None:
    message = 'DaskJob "j" is invalid: status.attempt: Invalid value: "string"'
    assert (
        type(error(422, "Invalid", message, causes=[{"field": "status.attempt"}])) is ChangeDenied
    )


def test_too_many_requests_carries_retry_after() -> None:
    body = rejection(429, "TooManyRequests", "too many requests", retryAfterSeconds=3)
    assert error_of("x", 429, body).retry_after == 3  # type: ignore[attr-defined]
    header = error_of("x", 429, b"slow down", {"Retry-After": "5"})
    assert isinstance(header, Throttled)
    assert (header.retry_after, str(header)) == (5, "x: slow down")
    none = error_of("x", 429, b"")
    assert isinstance(none, Throttled)
    assert none.retry_after is None


@pytest.mark.parametrize("code", [408, 500, 502, 503, 504])
def test_a_server_error_leaves_the_outcome_of_a_create_unknown(code: int) -> None:
    assert type(error(code, "", "no")) is Unanswered
    assert type(error(code, "", "no", creating=True)) is OutcomeUnknown


def test_a_too_old_version_has_expired() -> None:
    assert type(error(410, "Expired", "too old resource version: 1 (214)")) is Expired


def test_a_proxys_error_page_is_shortened() -> None:
    found = error_of("x", 502, b"<html>\n  <h1>Bad   Gateway</h1>\n" + b"x" * 10_000)
    assert str(found).startswith("x: the response is a web page (Bad Gateway), which is not from")
    assert len(str(found)) < 500


@pytest.mark.parametrize(
    "found",
    [
        AlreadyExists("a"),
        Replaced("a"),
        Expired("a"),
        NoSuchResource("a"),
        OutcomeUnknown("a"),
        Unanswered("a"),
        Unreachable("a"),
        Throttled("a", 3.0),
        WatchFailed(410, "too old"),
    ],
    ids=lambda found: type(found).__name__,
)
def test_every_error_survives_pickling_and_is_one_of_ours(found: DaskJobError) -> None:
    again = pickle.loads(pickle.dumps(found))
    assert type(again) is type(found)
    assert (str(again), again.__dict__) == (str(found), found.__dict__)


@pytest.mark.parametrize(
    ("message", "permission"),
    [
        (
            'pods "a" is forbidden: User "me" cannot get resource "pods/log" in API group "" in '
            'the namespace "team"',
            Permission("get", "pods/log", "", "team"),
        ),
        (
            'daskjobs.kubernetes.dask.org is forbidden: User "me" cannot list resource "daskjobs" '
            'in API group "kubernetes.dask.org" at the cluster scope',
            Permission("list", "daskjobs", "kubernetes.dask.org"),
        ),
        (
            'pods is forbidden: User "me@x.io" cannot create resource "pods" in API group "" '
            'in the namespace "x": requires one of ["container.pods.create"] permission(s).',
            Permission("create", "pods", "", "x"),
        ),
        ('x is forbidden: User "me" cannot impersonate the Pope', None),
    ],
)
def test_a_missing_permission_is_read_from_the_message(
    message: str, permission: Permission | None
) -> None:
    found = error(403, "Forbidden", message)
    assert isinstance(found, Forbidden)
    assert found.permission == permission
    if permission:
        assert f"verbs: [{permission.verb}]" in str(found)
