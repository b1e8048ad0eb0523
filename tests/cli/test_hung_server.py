"""Commands about a server that accepts connections and never answers: a message, and an end."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from daskjob.kube import patience
from tests.cli.command import Daskjob, Done
from tests.cli.in_process import call
from tests.cli.test_cluster_errors import MANIFEST

#: Instead of 25 s and 3 s.
FIRST_ANSWER, FIRST_MESSAGE = 0.5, 0.1


class Hung:
    """A server that accepts every connection; it answers only as its ``reply`` says."""

    def __init__(self, reply: bytes = b"") -> None:
        self._reply = reply
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._accepted: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for accepted in (*self._accepted, self._socket):
            accepted.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._socket.accept()
                self._accepted.append(accepted)
                if self._reply:
                    accepted.recv(65536)
                    accepted.sendall(self._reply)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Hung]]:
    found = {
        "silent": Hung(),
        # The beginning of an answer, and nothing after it.
        "stuck": Hung(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"),
        "failing": Hung(
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 54\r\n\r\n"
            b"<html><head><title>502 Bad Gateway</title></head>x</p>"
        ),
        "login": Hung(b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n<html>Login</html>"[:-1]),
        "elsewhere": Hung(b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n"),
        "missing": Hung(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNot Found"),
        "endless": Hung(b"HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n{"),
    }
    yield found
    for server in found.values():
        server.close()


@pytest.fixture
def user(daskjob: Daskjob, servers: dict[str, Hung], monkeypatch: pytest.MonkeyPatch) -> Daskjob:
    """A user with a context for each server, who waits for less time."""
    monkeypatch.setattr(patience, "FIRST_ANSWER_SECONDS", FIRST_ANSWER)
    monkeypatch.setattr(patience, "FIRST_MESSAGE_SECONDS", FIRST_MESSAGE)
    clusters = {name: {"server": f"http://{found.address}"} for name, found in servers.items()}
    silent = servers["silent"].address
    clusters["tls"] = {"server": f"https://{silent}"}
    clusters["proxy"] = {"server": "https://10.1.2.3:6443", "proxy-url": f"http://{silent}"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": found} for name, found in clusters.items()],
        "users": [{"name": "me", "user": {"token": "t"}}],
        "contexts": [{"name": n, "context": {"cluster": n, "user": "me"}} for n in clusters],
    }
    daskjob.manifest({**MANIFEST})
    path = daskjob.folder / "kubeconfig"
    path.write_text(json.dumps(config))
    daskjob.variables["KUBECONFIG"] = str(path)
    return daskjob


def run(user: Daskjob, *words: object) -> Done:
    started = time.monotonic()
    done = call(words, user.environment)
    assert time.monotonic() - started < FIRST_ANSWER + 3
    assert "Traceback" not in done.err
    return done


SUBMIT = ("submit", "-f", "{work}/job.json")
COMMANDS = {
    "submit": (*SUBMIT, "--context", "{context}", "--namespace", "team"),
    "list": ("list", "--context", "{context}", "-n", "team"),
    "logs": ("logs", "--context", "{context}", "-n", "team", "-f", "sums"),
    "attach": ("attach", "--context", "{context}", "-n", "team", "sums"),
    "cluster": ("cluster", "list", "--context", "{context}", "-n", "team"),
    "install": ("install", "--context", "{context}"),
}


def words_of(user: Daskjob, command: str, context: str) -> list[str]:
    return [word.format(work=user.work, context=context) for word in COMMANDS[command]]


@pytest.mark.parametrize(
    ("context", "command"),
    [
        *((context, "submit") for context in ("silent", "stuck", "endless", "tls", "proxy")),
        *((context, "list") for context in ("silent", "stuck", "tls", "proxy")),
        *(("silent", command) for command in ("logs", "attach", "cluster", "install")),
    ],
)
def test_server_that_does_not_answer_is_named_soon_and_given_up(
    user: Daskjob, context: str, command: str
) -> None:
    done = run(user, *words_of(user, command, context))
    first, last, *more = done.messages
    assert first.startswith("daskjob: waiting for the API server at ")
    assert first.endswith(f"(context {context}) …")
    assert f"(context {context}) has not answered for 0.5 s; check the network, a VPN" in last
    assert "daskjob doctor" in last
    assert done.code == 125
    may_exist = "if the job was created, this cancels it: daskjob cancel --context"
    assert [may_exist in line for line in more] == ([True] if command == "submit" else [])


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ("silent", (*COMMANDS["submit"], "--wait", "--timeout", "1s")),
        ("tls", (*COMMANDS["attach"], "--timeout", "1s")),
        ("proxy", ("wait", "--context", "{context}", "-n", "team", "sums", "--timeout", "1s")),
    ],
)
def test_timeout_limits_the_first_connection_too(
    user: Daskjob, context: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not the limit for the first answer.
    monkeypatch.setattr(patience, "FIRST_ANSWER_SECONDS", 30.0)
    started = time.monotonic()
    done = run(user, *(word.format(work=user.work, context=context) for word in words))
    assert 0.9 < time.monotonic() - started < 2.5
    assert done.code == 124
    assert "did not answer before the end of --timeout" in done.err


@pytest.mark.parametrize("command", ["submit", "list", "install"])
def test_server_that_only_fails_is_given_up(user: Daskjob, command: str) -> None:
    done = run(user, *words_of(user, command, "failing"))
    assert done.code == 125
    assert "the response is a web page (502 Bad Gateway)" in done.err
    assert "try again later; daskjob doctor" in done.err
    assert ("if the job was created" in done.err) is (command == "submit")


@pytest.mark.parametrize("context", ["login", "elsewhere", "missing"])
@pytest.mark.parametrize("command", ["submit", "list", "install", "cluster"])
def test_server_that_is_no_api_server_is_one_message_with_what_to_do(
    user: Daskjob, context: str, command: str
) -> None:
    done = run(user, *words_of(user, command, context))
    assert (done.code, done.text) == (125, "")
    (line,) = done.err.splitlines()
    if context != "missing":
        assert "not from an API server" in line
    elif command == "install":
        assert "check the server of your kubeconfig: kubectl cluster-info" in line
    else:
        # As an API server without CRDs answers.
        assert "install daskjob: daskjob install" in line


def test_message_about_a_server_with_a_password_in_its_url_has_no_password() -> None:
    found = patience.Patience(print)
    assert "pass" not in str(found.error("https://user:pass@10.0.0.1:6443/path"))


def test_doctor_reports_a_server_that_does_not_answer(user: Daskjob) -> None:
    done = run(user, "doctor", "--context", "silent")
    assert done.code == 1
    assert "has not answered for 0.5 s" in done.text
