"""A Prefect server as a process, and questions to its API."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.waiting import wait_until

#: On a busy machine, a server takes minutes to start.
START_SECONDS = 480.0


@dataclass(frozen=True)
class Server:
    """A Prefect server on loopback."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def environment(self) -> dict[str, str]:
        """The variables of processes that use it."""
        return {**QUIET, "PREFECT_API_URL": self.url, "PREFECT_HOME": str(self.folder)}

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ask(self, path: str, body: Any = None) -> Any:
        """Return the answer to a request."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def state(self, flow_run: object) -> str:
        """Return the name of the state of a flow run."""
        return str(self.ask(f"flow_runs/{flow_run}")["state"]["name"])

    def logs(self, flow_run: object) -> list[str]:
        """Return the messages of a flow run's log, in order."""
        wanted = {"flow_run_id": {"any_": [str(flow_run)]}}
        found = self.ask("logs/filter", {"logs": wanted, "sort": "TIMESTAMP_ASC", "limit": 200})
        return [line["message"] for line in found]

    def artifacts(self, flow_run: object) -> list[dict[str, Any]]:
        """Return the artifacts of a flow run."""
        wanted = {"flow_run_id": {"any_": [str(flow_run)]}}
        found: list[dict[str, Any]] = self.ask("artifacts/filter", {"artifacts": wanted})
        return found


QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.3",
    "PREFECT_CLI_PROMPT": "false",
}


def started_server(folder: Path) -> Server:
    """Start a server whose database is in a folder; return it once it responds."""
    port = free_port()
    log = folder / "server.log"
    command = [*(sys.executable, "-m", "prefect", "server", "start"), "--host", "127.0.0.1"]
    # By default, its pages ask a server at the default port.
    own = {"PREFECT_HOME": str(folder), "PREFECT_UI_API_URL": f"http://127.0.0.1:{port}/api"}
    environ = {**os.environ, **QUIET, **own}
    environ.pop("PREFECT_API_URL", None)
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=stream, stderr=stream, env=environ
        )
    server = Server(f"http://127.0.0.1:{port}/api", folder, process)
    wait_until(lambda: _responds(server), START_SECONDS, log.read_text, pause=0.2)
    return server


def _responds(server: Server) -> bool:
    assert server.process.poll() is None, "the server has ended"
    try:
        return bool(server.ask("health"))
    except OSError:
        return False


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
