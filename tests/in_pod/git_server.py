"""A git server that asks for a login; a program of its own, for pods that have no more than git.

``python git_server.py FOLDER PORT`` serves the repositories of a folder; the variables USERNAME and
PASSWORD have the login.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Semaphore, Thread


class Gate:
    """Holds requests for repositories while it is shut."""

    def __init__(self) -> None:
        self.is_open = Event()
        self.is_open.set()
        #: Counts the held requests that have not been reported yet.
        self.held = Semaphore(0)

    def pass_through(self) -> None:
        """Wait until it is open."""
        if not self.is_open.is_set():
            self.held.release()
            self.is_open.wait()


class Git(BaseHTTPRequestHandler):
    """Answers as ``git http-backend`` does, after the login."""

    protocol_version = "HTTP/1.1"

    def __init__(self, folder: str, login: str, gate: Gate, *rest: object) -> None:
        self.folder, self.gate = folder, gate
        self.expected = f"Basic {base64.b64encode(login.encode()).decode()}"
        super().__init__(*rest)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer with a part of a repository."""
        path, _, query = self.path.partition("?")
        if path.startswith("/gate/"):
            self._use_gate(path)
            return
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.gate.pass_through()
        if self.headers.get("Authorization") != self.expected:
            self._answer(401, [("WWW-Authenticate", 'Basic realm="git"')], b"")
            return
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": self.folder,
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type") or "",
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
            "REMOTE_USER": "reader",
        }
        command = ["git", "http-backend"]
        # It fails as well if a request is wrong; then the answer says it.
        done = subprocess.run(
            command, input=content, env=environment, capture_output=True, check=False
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        lines = [line.partition(": ")[::2] for line in head.decode().splitlines()]
        status = next((text for name, text in lines if name == "Status"), "200")
        kept = [(name, text) for name, text in lines if name not in ("Status", "Content-Length")]
        self._answer(int(status.split()[0]), kept, body)

    do_POST = do_GET  # noqa: N815 - a name of http.server

    def _use_gate(self, path: str) -> None:
        """Shut or open the gate, or wait until it holds one more request."""
        if path == "/gate/shut":
            self.gate.is_open.clear()
        elif path == "/gate/held":
            self.gate.held.acquire()
        else:
            self.gate.is_open.set()
        self._answer(200, [], b"")

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, text in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Print nothing."""


def server(folder: str, port: int, login: str) -> ThreadingHTTPServer:
    """A server of the repositories of a folder, which waits to be started."""
    return ThreadingHTTPServer(("", port), partial(Git, folder, login, Gate()))


@contextmanager
def served(folder: Path, login: str) -> Iterator[str]:
    """Serve the repositories of a folder to this machine; yields the URL."""
    with server(str(folder), 0, login) as found:
        thread = Thread(target=found.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{found.server_port}"
        finally:
            found.shutdown()
            thread.join()


def repository(folder: Path, *versions: dict[str, str]) -> list[str]:
    """Create a repository whose commits have these files; return their hashes."""
    folder.mkdir(parents=True)
    settings = ["-c", "user.name=t", "-c", "user.email=t@example.com"]

    def git(*words: str) -> str:
        command = ["git", *settings, *words]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    commits = []
    for number, files in enumerate(versions):
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        git("add", ".")
        git("commit", "--quiet", "-m", str(number))
        commits.append(git("rev-parse", "HEAD"))
    return commits


if __name__ == "__main__":
    given = f"{os.environ['USERNAME']}:{os.environ['PASSWORD']}"
    server(sys.argv[1], int(sys.argv[2]), given).serve_forever()
