"""Authentication, rejected requests, and the prefix of the routes."""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.error
import urllib.request

import pytest

from tests.agent.conftest import TOKEN, Cluster, Start, agent_answers


@pytest.mark.parametrize("token", [None, "", "another token", TOKEN + "x", TOKEN[:-1]])
@pytest.mark.parametrize(("path", "body"), [("state", None), ("report", None), ("retire", {})])
def test_a_missing_or_wrong_token_is_401(
    shared: Cluster, path: str, body: object, token: str | None
) -> None:
    code, answer = shared.ask(path, body, token=token)
    assert (code, answer) == (401, {"error": "the token is missing or wrong"})


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe\x00", 400, "not JSON"),
        (b"[" * 60_000, 400, "not JSON"),
        (b"[]", 400, "an object"),
        (b"{}", 400, "list of addresses"),
        (b'{"workers": "tcp://a:1"}', 400, "list of addresses"),
        (b'{"workers": [1]}', 400, "list of addresses"),
        (b'{"workers": [], "timeout": "1"}', 400, "number of seconds"),
        (b'{"workers": [], "timeout": -1}', 400, "number of seconds"),
        (b'{"workers": [], "timeout": NaN}', 400, "number of seconds"),
        (b'{"workers": [], "timeout": true}', 400, "number of seconds"),
    ],
)
def test_a_bad_body_is_a_4xx_that_names_the_error(
    shared: Cluster, body: bytes, code: int, message: str
) -> None:
    status, answer = shared.ask("retire", body)
    assert status == code
    assert message in answer["error"]
    assert shared.ask("state")[0] == 200


def test_a_chunked_body_of_300_kib_is_413_too(shared: Cluster) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{shared.port}/daskjob/v1/retire",
        data=iter([b" " * 1024] * 300),
        headers={"Authorization": f"Bearer {TOKEN}", "Transfer-Encoding": "chunked"},
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=20)
    with caught.value as error:
        assert error.code == 413
        assert "256 KiB" in json.loads(error.read())["error"]


@pytest.mark.parametrize(("method", "path"), [("GET", "state"), ("POST", "retire")])
def test_a_body_of_1_mb_is_413_before_it_is_sent(shared: Cluster, method: str, path: str) -> None:
    # Only announced: after sending it all, the connection may be reset before the answer is read.
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=20)
    with contextlib.closing(connection):
        connection.putrequest(method, f"/daskjob/v1/{path}")
        connection.putheader("Authorization", f"Bearer {TOKEN}")
        connection.putheader("Content-Length", "1000000")
        connection.endheaders()
        response = connection.getresponse()
        answer = json.loads(response.read())
    assert (response.status, answer) == (413, {"error": "the body is larger than 256 KiB"})


@pytest.mark.parametrize(
    ("path", "method"),
    [("state", "POST"), ("report", "DELETE"), ("retire", "GET"), ("retire", "PUT")],
)
def test_a_wrong_method_is_405(shared: Cluster, path: str, method: str) -> None:
    body = b"{}" if method in ("POST", "PUT") else None
    assert shared.ask(path, body, method=method) == (405, {"error": "Method Not Allowed"})


def test_retiring_no_worker_is_answered_with_three_empty_lists(shared: Cluster) -> None:
    answer: dict[str, list[str]] = {"retired": [], "remaining": [], "unknown": []}
    assert shared.ask("retire", {"workers": []}) == (200, answer)


def test_routes_are_mounted_below_the_dashboard_prefix(start: Start) -> None:
    cluster = start("--dashboard-prefix=/user/me")
    cluster.prefix = "/user/me"
    agent_answers(cluster)
    cluster.prefix = "/user"
    assert cluster.ask("state") == (404, {})


def test_routes_are_mounted_without_a_dashboard(start: Start) -> None:
    agent_answers(start("--no-dashboard"))
