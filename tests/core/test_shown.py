"""Expected errors of the classes for interactive work, as their users see them."""

from __future__ import annotations

import logging
import traceback

import pytest

from daskjob.core.errors import DaskJobError, NotFound
from daskjob.core.shown import shown
from daskjob.kube.errors import Throttled, Unreachable


def raised(error: DaskJobError) -> DaskJobError:
    """The error as it arrives from inside: with the calls, and the failure that caused it."""
    try:
        try:
            raise OSError("Connect call failed")
        except OSError as cause:
            raise error from cause
    except DaskJobError as found:
        return found


def text(error: DaskJobError) -> str:
    return "".join(traceback.format_exception(error))


def test_only_the_message_is_left_and_the_rest_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    error = raised(NotFound("there is no cluster 'a'"))
    with caplog.at_level(logging.DEBUG, "daskjob"):
        found = shown(error)
    assert found is error
    assert text(found) == "daskjob.core.errors.NotFound: there is no cluster 'a'\n"
    assert "Connect call failed" in caplog.text


def test_an_error_of_the_connection_says_once_what_to_do() -> None:
    error = shown(shown(raised(Unreachable("DaskCluster a/b: Cannot connect to host"))))
    assert str(error) == (
        "DaskCluster a/b: Cannot connect to host; check the network, a VPN, and the context "
        "(kubectl config get-contexts); daskjob doctor -n NAMESPACE checks the connection"
    )


def test_another_context_is_chosen_by_an_argument() -> None:
    assert str(shown(DaskJobError("list of pods: Unauthorized"))).endswith(
        "; log in again, or name another context with context="
    )


def test_an_error_with_parts_keeps_them() -> None:
    assert shown(Throttled("later", 3.0)).args == ("later", 3.0)
