"""Commands about a cluster that cannot be used: one message, and exit code 125."""

from __future__ import annotations

import json
import threading
import time
import traceback
from asyncio import CancelledError
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from daskjob import KubeCluster
from daskjob.core.connection_advice import advice
from daskjob.core.errors import DaskJobError
from daskjob.errors import OperatorNotInstalled
from daskjob.kube.errors import Unreachable
from daskjob.submit.cli import connection
from daskjob.submit.cli.cluster_place import ClusterPlace
from tests.cli.command import Daskjob, Done

#: As a real API server writes it.
FORBIDDEN = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "message": 'daskjobs.kubernetes.dask.org is forbidden: User "me" cannot {verb} resource '
    '"daskjobs" in API group "kubernetes.dask.org" in the namespace "team"',
    "reason": "Forbidden",
    "code": 403,
}
UNAUTHORIZED = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "message": "Unauthorized",
    "reason": "Unauthorized",
    "code": 401,
}

COMMANDS = [("submit", "job.json"), ("list",), ("logs", "sums"), ("cancel", "sums")]


class Handler(BaseHTTPRequestHandler):
    """Answers as the first part of the path says."""

    def answer(self, verb: str) -> None:
        case = self.path.split("/")[1]
        code = int(case)
        body = {401: json.dumps(UNAUTHORIZED), 403: json.dumps(FORBIDDEN)}.get(code)
        data = (body or "404 page not found\n").replace("{verb}", verb).encode()
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.answer("list" if self.path.partition("?")[0].endswith("daskjobs") else "get")

    def do_POST(self) -> None:
        self.answer("create")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server that rejects every request."""
    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=found.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    thread.join()
    found.server_close()


@pytest.fixture(autouse=True)
def kubeconfig(daskjob: Daskjob, server: str) -> Path:
    """A kubeconfig with a context for each answer; ``refused`` is the current one."""
    servers = {code: f"{server}/{code}" for code in ("401", "403", "404")}
    servers["refused"] = "http://127.0.0.1:1"
    names = list(servers)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "refused",
        "clusters": [{"name": name, "cluster": {"server": servers[name]}} for name in names],
        "users": [{"name": "me", "user": {"token": "t"}}],
        "contexts": [{"name": n, "context": {"cluster": n, "user": "me"}} for n in names],
    }
    daskjob.manifest({**MANIFEST})
    path = daskjob.folder / "kubeconfig"
    path.write_text(json.dumps(config))
    daskjob.variables["KUBECONFIG"] = str(path)
    return path


MANIFEST = {
    "apiVersion": "kubernetes.dask.org/v1",
    "kind": "DaskJob",
    "metadata": {"name": "sums"},
    "spec": {
        "job": {"spec": {"containers": [{"name": "job", "image": "none"}]}},
        "cluster": {
            "spec": {
                "worker": {"spec": {"containers": [{"name": "worker", "image": "none"}]}},
                "scheduler": {"spec": {"containers": [{"name": "scheduler", "image": "none"}]}},
            }
        },
    },
}


def failed(done: Done, *, lines: int = 1) -> str:
    """The last line of an error."""
    assert (done.code, done.text) == (125, "")
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) == lines
    return done.err.splitlines()[-1]


def with_place(words: tuple[str, ...], *place: str) -> tuple[str, ...]:
    return (words[0], *place, *words[1:])


@pytest.mark.parametrize("words", COMMANDS)
def test_missing_permission_is_reported_with_the_rule_of_a_role(
    daskjob: Daskjob, words: tuple[str, ...]
) -> None:
    text = failed(daskjob(*with_place(words, "--context", "403", "-n", "team")))
    verb = {"submit": "create", "list": "list"}.get(words[0], "get")
    assert "a Role in namespace team grants it with the rule {apiGroups:" in text
    assert f"resources: [daskjobs], verbs: [{verb}]}}" in text


@pytest.mark.parametrize("words", COMMANDS)
def test_cluster_without_daskjobs_is_reported_with_how_to_install_it(
    daskjob: Daskjob, words: tuple[str, ...]
) -> None:
    text = failed(daskjob(*with_place(words, "--context", "404", "-n", "team")))
    assert text == "daskjob: this Kubernetes has no DaskJobs; install daskjob: daskjob install"


@pytest.mark.parametrize(
    "words",
    [("list",), ("scale", "mine", "3"), ("create", "mine", "--image", "none"), ("notebook",)],
)
def test_cluster_without_daskclusters_is_reported_in_these_words(
    daskjob: Daskjob, words: tuple[str, ...]
) -> None:
    text = failed(daskjob("cluster", *with_place(words, "--context", "404", "-n", "team")))
    assert text == "daskjob: this Kubernetes has no DaskClusters; install daskjob: daskjob install"


@pytest.mark.parametrize("mode", ["CREATE_ONLY", "CONNECT_ONLY", "CREATE_OR_CONNECT"])
def test_a_kubecluster_without_daskclusters_is_one_error_without_causes(
    kubeconfig: Path, mode: str
) -> None:
    with pytest.raises(OperatorNotInstalled) as caught:
        KubeCluster(
            "mine", namespace="team", create_mode=mode, kubeconfig=str(kubeconfig), context="404"
        )
    assert str(caught.value).startswith("this Kubernetes has no DaskClusters; install daskjob: ")
    shown = "".join(traceback.format_exception(caught.value))
    assert "another exception" not in shown
    assert "direct cause" not in shown


@pytest.mark.parametrize("words", COMMANDS[:3])
def test_rejected_credentials_are_one_message(daskjob: Daskjob, words: tuple[str, ...]) -> None:
    text = failed(daskjob(*with_place(words, "--context", "401", "-n", "team")))
    assert text.endswith("Unauthorized; log in again, or name another context with --context")


@pytest.mark.parametrize("words", COMMANDS[:3])
def test_context_that_does_not_exist_is_named(
    daskjob: Daskjob, kubeconfig: Path, words: tuple[str, ...]
) -> None:
    text = failed(daskjob(*with_place(words, "--context", "prod")))
    assert (
        f"kubeconfig {kubeconfig} cannot be used: there is no context 'prod'; existing contexts: "
        in text
    )


@pytest.mark.parametrize("words", COMMANDS[:3])
def test_missing_kubeconfig_is_reported(daskjob: Daskjob, words: tuple[str, ...]) -> None:
    daskjob.variables["KUBECONFIG"] = ""
    text = failed(daskjob(*with_place(words, "-n", "team")))
    assert "kubeconfig ~/.kube/config cannot be used" in text
    assert "set KUBECONFIG" in text


def test_first_message_about_an_unreachable_server_comes_before_the_retries(
    daskjob: Daskjob,
) -> None:
    process = daskjob.start("list", "-n", "team")
    assert process.stderr is not None
    first, at = process.stderr.readline(), time.monotonic()
    assert first == b"daskjob: the API server does not respond; trying again\n"
    rest = process.communicate()[1].decode()
    assert time.monotonic() - at > 1
    assert rest.startswith("daskjob: list of daskjobs: Cannot connect to host 127.0.0.1:1 ")
    assert rest.count("\n") == 1
    assert "check the network" in rest
    assert process.returncode == 125


@pytest.mark.parametrize("fault", ["self-signed certificate", "unable to get local issuer"])
def test_untrusted_certificate_has_its_own_advice(fault: str) -> None:
    text = f"list of daskjobs: Cannot connect to host h [CERTIFICATE_VERIFY_FAILED] {fault}"
    assert "certificate-authority" in advice(Unreachable(text))
    assert "check the network" in advice(Unreachable("list of daskjobs: refused"))


@pytest.mark.parametrize("missing", [["aiohttp"], ["kr8s"], ["msgspec", "aiohttp"]])
def test_missing_package_is_reported_with_what_to_install(
    missing: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(name: str) -> object:
        return None if name in missing else find_spec(name)

    monkeypatch.setattr("daskjob.submit.cli.connection.find_spec", found)
    with pytest.raises(DaskJobError) as caught:
        connection.connected(ClusterPlace())
    assert str(caught.value) == (
        f"jobs of a cluster need {', '.join(sorted(missing))}: pip install 'daskjob[kubernetes]'"
    )


@pytest.mark.parametrize(
    ("requests", "printed"),
    [
        ([("DaskJob", 200), ("DaskJob", 404)], []),
        ([("DaskJob", 0)] * 3, ["the API server of context c does not respond; trying again"]),
        (
            [("DaskJob", 0), ("DaskJob", 0), ("DaskJob", 503), ("DaskJob", 200)],
            [
                "the API server of context c does not respond; trying again",
                "the API server responds again",
            ],
        ),
        # A log that is followed has no response before its first line.
        ([("Pod", 0)] * 3, []),
    ],
)
def test_outage_is_reported_once_and_so_is_its_end(
    requests: list[tuple[str, int]], printed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    outage = connection.Outage("c")
    for kind, code in requests:
        outage.see("get", kind, code, 0.1)
    assert capsys.readouterr().err.splitlines() == [f"daskjob: {line}" for line in printed]


@pytest.mark.parametrize(("seconds", "is_reported"), [(0.1, False), (3.9, False), (15.0, True)])
def test_request_that_the_command_cancels_is_no_outage(
    seconds: float, is_reported: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    outage = connection.Outage("")
    try:
        raise CancelledError
    except CancelledError:
        outage.see("list", "DaskJob", 0, seconds)
    assert bool(capsys.readouterr().err) is is_reported
