"""``python -m daskjob.controller`` as a real process: its start, its end, and its memory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controller.plugin_packages import install
from tests.controller.test_kopf_runner import KUBECONFIG
from tests.waiting import wait_until

HERE = Path(__file__).parent
#: How long a busy machine may take to start a process.
PATIENCE_SECONDS = 60.0


class Process:
    """An operator process, its log, and a stub of Kubernetes."""

    def __init__(self, folder: Path, *arguments: str, world: str = "reachable") -> None:
        self.log = folder / "log"
        (folder / "kubeconfig").write_text(KUBECONFIG)
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("KUBE")},
            "KUBECONFIG": str(folder / "kubeconfig"),
            "PYTHONPATH": os.pathsep.join([str(HERE / "stub"), str(folder)]),
        }
        if world != "real":
            environment |= {"STUB": world, "PYTHONWARNINGS": "error"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "daskjob.controller", *arguments],
                stdout=log,
                stderr=log,
                env=environment,
            )

    @property
    def text(self) -> str:
        return self.log.read_text()

    def until(self, pattern: str) -> str:
        """Wait until a line of the log matches; return the line."""

        def matching() -> str | None:
            for line in self.text.splitlines():
                if re.search(pattern, line):
                    return line
            assert self.process.poll() is None, f"it has ended\n{self.text}"
            return None

        line = wait_until(matching, PATIENCE_SECONDS, lambda: f"no line {pattern!r}\n{self.text}")
        assert line is not None
        return line

    def end(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """End it by a signal; return its exit code and the seconds it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_SECONDS)
        return code, time.monotonic() - started

    def get(self, path: str) -> tuple[int, str]:
        """Return its answer at a path of the address in its log."""
        url = self.until("serving probes at").rpartition(" ")[2]
        base = re.sub(r"(:\d+)/.*", r"\1", url)
        try:
            with urllib.request.urlopen(base + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def rss_megabytes(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for the files of a process."""
    return tmp_path


@contextlib.contextmanager
def operator(folder: Path, *arguments: str, world: str = "reachable") -> Iterator[Process]:
    started = Process(folder, *arguments, world=world)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
            started.process.wait()


LIVENESS = "--liveness=http://127.0.0.1:0/healthz"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_operator_logs_readiness_and_exits_with_0_on_a_signal(folder: Path, number: int) -> None:
    with operator(folder, "--all-namespaces") as process:
        process.until("is ready after")
        process.until("became the leader; making passes")
        code, seconds = process.end(number)
        assert (code, seconds < 5.0) == (0, True), process.text
        assert "daskjob has shut down" in process.text
        assert "Traceback" not in process.text


def test_operator_answers_probes_and_serves_metrics(folder: Path) -> None:
    with operator(folder, LIVENESS) as process:
        process.until("became the leader; making passes")
        assert process.get("/healthz") == (200, "ok\n")
        assert process.get("/readyz") == (200, "leader\n")
        code, text = process.get("/metrics")
        assert code == 200
        assert "daskjob_leader 1\n" in text
        assert process.get("/other")[0] == 404


def test_operator_waits_for_a_missing_api_server_and_still_obeys_the_signal(folder: Path) -> None:
    with operator(folder, LIVENESS, world="unreachable") as process:
        assert process.get("/readyz") == (503, "the first lists are not complete\n")
        assert process.get("/healthz") == (200, "ok\n")
        assert process.end()[0] == 0, process.text


def test_missing_credentials_are_logged_and_retried(folder: Path) -> None:
    with operator(folder, world="no credentials") as process:
        line = process.until("cannot connect to Kubernetes")
        assert "there is no service account here, and no kubeconfig; trying again in" in line
        process.until(r"trying again in 2 s")
        assert process.end()[0] == 0, process.text


def test_real_backend_waits_for_a_missing_api_server(folder: Path) -> None:
    with operator(folder, LIVENESS, world="real") as process:
        process.until("127.0.0.1:9|[Cc]onnect")
        assert process.get("/readyz")[0] == 503
        assert process.end()[0] == 0, process.text
        assert "hunter2" not in process.text


@pytest.mark.parametrize(
    "arguments",
    [["--no-such-flag"], ["-A", "-n", "a"], ["--liveness=nowhere"], ["--log-format=xml"]],
)
def test_wrong_command_line_exits_with_2(folder: Path, arguments: list[str]) -> None:
    with operator(folder, *arguments) as process:
        assert process.process.wait(PATIENCE_SECONDS) == 2
        assert "usage: python -m daskjob.controller" in process.text
        assert "Traceback" not in process.text


def test_address_in_use_exits_with_1(folder: Path) -> None:
    with operator(folder, LIVENESS) as process:
        port = process.until("serving probes at").rpartition(":")[2].partition("/")[0]
        other = folder / "other"
        other.mkdir()
        with operator(other, f"--liveness=http://127.0.0.1:{port}/") as second:
            assert second.process.wait(PATIENCE_SECONDS) == 1
            assert "daskjob cannot start: " in second.text
            assert "Traceback" not in second.text


def test_logs_are_json_on_request(folder: Path) -> None:
    with operator(folder, "--log-format=json", "--standalone") as process:
        process.until("became the leader; making passes")
        process.end()
        lines = [json.loads(line) for line in process.text.splitlines()]
        assert all({"timestamp", "severity", "logger", "message"} <= set(line) for line in lines)
        assert any("--standalone has no effect" in line["message"] for line in lines)


def test_plugin_that_blocks_forever_does_not_block_the_exit(folder: Path) -> None:
    install(
        folder,
        "blocking",
        """
        import threading
        import kopf

        @kopf.on.startup()
        def start(**_):
            print("a handler blocks", flush=True)
            threading.Event().wait()
        """,
    )
    with operator(folder, LIVENESS) as process:
        process.until("a handler blocks")
        assert process.get("/healthz") == (200, "ok\n")
        code, seconds = process.end()
        assert code == 0, process.text
        assert seconds < 15.0


def test_operator_without_plugins_stays_below_80_mb(folder: Path) -> None:
    with operator(folder, LIVENESS) as process:
        process.until("became the leader; making passes")
        assert process.get("/metrics")[0] == 200
        assert process.rss_megabytes() < 80.0


PRINTS_IMPORTS = """\
import importlib, pkgutil, sys
import daskjob.controller
for module in pkgutil.iter_modules(daskjob.controller.__path__, "daskjob.controller."):
    importlib.import_module(module.name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_importing_the_operator_loads_neither_dask_nor_kopf() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRINTS_IMPORTS], capture_output=True, text=True, check=True
    )
    outside = set(done.stdout.split()) - sys.stdlib_module_names
    assert not outside & {"dask", "distributed", "tornado", "kopf", "kr8s", "click", "rich"}
    ours = {name for name in outside if not name.startswith(("_", "__"))}
    assert ours - {"daskjob", "sitecustomize"} == set(), "the operator imports third-party packages"
