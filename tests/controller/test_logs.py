"""Logs: one line per record, with its object, for people and for programs, without secrets."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from daskjob.controller.logs import LogFormat, configure, without_secrets
from daskjob.core.manifests import Key

KEY = Key("DaskJob", "default", "sums")
TOKEN = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(log_format: LogFormat, message: str, *arguments: Any, **how: Any) -> str:
    """Return the output for one record."""
    stream = io.StringIO()
    configure(
        level=how.pop("level", logging.INFO),
        log_format=log_format,
        traces=how.pop("traces", False),
        stream=stream,
        **({"reference": how.pop("reference")} if "reference" in how else {}),
    )
    logging.getLogger("daskjob.test").warning(message, *arguments, **how)
    return stream.getvalue()


def error() -> Exception:
    try:
        raise KeyError("spec")
    except KeyError as raised:
        return raised


def test_line_for_people_has_time_level_object_and_message() -> None:
    line = logged(LogFormat.FULL, "trying again in %d s", 5, extra={"key": KEY})
    moment, rest = line.split(" ", 1)
    assert rest == "WARNING DaskJob default/sums: trying again in 5 s\n"
    assert len(moment) == len("2026-11-21T12:00:00.250Z")
    assert moment.endswith("Z")


def test_plain_line_has_no_time() -> None:
    assert logged(LogFormat.PLAIN, "ready") == "ready\n"


def test_json_line_has_the_object_as_fields() -> None:
    line = json.loads(logged(LogFormat.JSON, "ready: %s", "ä", extra={"key": KEY}))
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "severity": "warn",
        "logger": "daskjob.test",
        "message": "ready: ä",
        "object": {"kind": "DaskJob", "namespace": "default", "name": "sums"},
    }


def test_objects_field_is_named_by_log_refkey() -> None:
    line = json.loads(logged(LogFormat.JSON, "ready", reference="k8s", extra={"key": KEY}))
    assert line["k8s"]["name"] == "sums"


def test_records_of_kopf_name_their_object_too() -> None:
    reference = {"kind": "Service", "namespace": "a", "name": "b", "uid": "1", "apiVersion": None}
    line = logged(LogFormat.FULL, "done", extra={"k8s_ref": reference, "k8s_skip": False})
    assert line.endswith("WARNING Service a/b: done\n")


def test_line_breaks_in_users_text_do_not_split_a_line() -> None:
    line = logged(LogFormat.FULL, "bad\nERROR forged\x1b[31m", extra={"key": KEY})
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert r"bad\nERROR forged\x1b[31m" in line


def test_search_for_secrets_is_fast() -> None:
    texts = ["x" * 8192, "token" * 1600, "a-" * 4096, "eyJ" * 2700, "://a:" * 1600, '"' * 8192]
    started = time.process_time()
    for text in texts:
        without_secrets(text)
    assert time.process_time() - started < 2.0


def test_long_message_is_truncated() -> None:
    assert len(logged(LogFormat.PLAIN, "x" * 100_000)) == 4097


def test_format_error_loses_no_line() -> None:
    assert logged(LogFormat.PLAIN, "100 %s of %s", "one") == "100 %s of %s\n"


def test_traceback_is_shown_to_people_only_on_request() -> None:
    assert "Traceback" not in logged(LogFormat.FULL, "broke", exc_info=error())
    assert "Traceback" in logged(LogFormat.FULL, "broke", exc_info=error(), traces=True)
    line = json.loads(logged(LogFormat.JSON, "broke", exc_info=error()))
    assert "KeyError: 'spec'" in line["traceback"]


def test_level_is_kept() -> None:
    assert logged(LogFormat.PLAIN, "ready", level=logging.ERROR) == ""


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {TOKEN}",
        f"the token {TOKEN} is refused",
        f"'token': '{TOKEN[:30]}'",
        'token="hunter2hunter2"',
        "DASKJOB_AGENT_TOKEN=hunter2hunter2",
        '{"password": "hunter2hunter2"}',
        "GET https://me:hunter2hunter2@example.com/",
        "Authorization: Basic aHVudGVyMmh1bnRlcjI=",
        "client-key-data: hunter2hunter2",
        "aws_secret=hunter2hunter2",
    ],
)
def test_secrets_are_left_out(text: str) -> None:
    for log_format in LogFormat:
        line = logged(log_format, "%s", text)
        assert "hunter2" not in line
        assert TOKEN[:30] not in line
        assert "aHVudGVyMmh1bnRlcjI=" not in line
        assert "***" in line


@pytest.mark.parametrize(
    "text",
    [
        "DaskJob default/tokens: Running",
        "serviceaccounts/token cannot be created",
        "the password policy of the registry",
        'pods is forbidden: User "system:serviceaccount:a:b" cannot list resource "pods"',
        "http://0.0.0.0:8080/healthz",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert without_secrets(text) == text
