"""The hierarchy of errors: which are retryable, their messages, and pickling."""

from __future__ import annotations

import pickle

import pytest

from daskjob.core.errors import (
    ApiError,
    ChangeDenied,
    Conflict,
    CreateRejected,
    DaskJobError,
    Failed,
    FieldError,
    Forbidden,
    InfrastructureFailure,
    Invalid,
    InvalidFailure,
    NotFound,
    PolicyFailure,
    RejectionKind,
    StatusRejected,
    Timeout,
    UserFailure,
)

MISTAKE = FieldError("spec.job", None, "write the runner's pod")
EXAMPLES: list[DaskJobError] = [
    Invalid("DaskJob sums", [MISTAKE]),
    NotFound("DaskJob default/sums does not exist"),
    Conflict("taken"),
    Forbidden("pods is forbidden"),
    ApiError("500"),
    CreateRejected(RejectionKind.QUOTA, "Pod default/a", "exceeded quota: small"),
    StatusRejected(RejectionKind.INVALID, "DaskJob default/a", "status.attempt: Invalid value"),
    ChangeDenied("Pod default/a: denied by a policy"),
    Timeout("after 5 s"),
    Failed("ExitCode", "exited with 3", 3, "Traceback"),
    UserFailure("ExitCode", "exited with 3", 3, "Traceback"),
    InfrastructureFailure("Evicted", "memory"),
    PolicyFailure("Cancelled"),
    InvalidFailure("InvalidSpec"),
]


def _id(error: DaskJobError) -> str:
    return type(error).__name__


@pytest.mark.parametrize("error", EXAMPLES, ids=_id)
def test_every_error_is_a_daskjob_error_and_survives_pickling_with_its_fields(
    error: DaskJobError,
) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=_id)
def test_repr_of_an_error_is_its_message(error: DaskJobError) -> None:
    assert repr(error) == f"{type(error).__name__}({str(error)!r})"
    assert "FieldError(" not in repr(error)


def test_exactly_the_transient_errors_are_retryable() -> None:
    retryable = {type(e).__name__ for e in EXAMPLES if e.retryable}
    assert retryable == {
        "ApiError",
        "CreateRejected",
        "StatusRejected",
        "Timeout",
        "InfrastructureFailure",
    }


@pytest.mark.parametrize(
    "kind", [UserFailure, InfrastructureFailure, PolicyFailure, InvalidFailure]
)
def test_every_failure_of_a_job_is_caught_as_job_failed(kind: type[Failed]) -> None:
    assert issubclass(kind, Failed)
    assert kind("ExitCode", "why", 3, "log").exit_code == 3


def test_a_failure_names_its_reason_and_message() -> None:
    assert str(Failed("OOMKilled", "raise the limit")) == "OOMKilled: raise the limit"
    assert str(Failed("Cancelled")) == "Cancelled"


def test_invalid_lists_every_mistake_with_path_value_and_allowed_values() -> None:
    error = Invalid("DaskJob sums", [MISTAKE, FieldError("spec.cancel", 3, "write true or false")])
    assert str(error).splitlines() == [
        "DaskJob sums has 2 mistakes:",
        "  spec.job: is missing; write the runner's pod",
        "  spec.cancel: 3 is not allowed; write true or false",
    ]


def test_a_value_of_1000_characters_is_truncated_to_80_in_a_message() -> None:
    text = str(FieldError("spec.x", "v" * 1000, "write less"))
    assert len(text) < 120
    assert "..." in text


def test_a_rejection_names_the_object_and_has_the_servers_message() -> None:
    rejected = CreateRejected(RejectionKind.QUOTA, "Pod default/a", "exceeded quota: small")
    assert str(rejected) == "Pod default/a could not be created: exceeded quota: small"
