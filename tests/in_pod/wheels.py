"""Small wheels, and an index that serves them."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


def wheel(folder: Path, name: str, version: str, requires: Sequence[str] = ()) -> Path:
    """Write a wheel with one module, whose VERSION is that of the package."""
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    files = {
        f"{module}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(zipfile.ZipInfo(file), text)
    return path


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def sha256(path: Path) -> str:
    """The hash of a wheel, as requirements have it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Pages(SimpleHTTPRequestHandler):
    """Serves a folder; asks for a login if one is set."""

    login = ""
    status = 0

    def do_GET(self) -> None:
        """Answer with a file, or with an error."""
        expected = f"Basic {base64.b64encode(self.login.encode()).decode()}"
        if self.status:
            self.send_error(self.status)
        elif self.login and self.headers.get("Authorization") != expected:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *args: object) -> None:
        """Print nothing."""


@contextmanager
def index(wheels: Path, *, login: str = "", status: int = 0) -> Iterator[str]:
    """Serve the wheels of a folder as a simple index; yields its URL."""
    pages(wheels)
    kind = type("Handler", (Pages,), {"login": login, "status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, directory=str(wheels))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/simple/"
        finally:
            server.shutdown()
            thread.join()


def pages(wheels: Path) -> None:
    """Write the pages of a simple index beside the wheels."""
    by_name: dict[str, list[str]] = {}
    for path in sorted(wheels.glob("*.whl")):
        by_name.setdefault(path.name.split("-")[0].replace("_", "-"), []).append(path.name)
    for name, files in by_name.items():
        page = wheels / "simple" / name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("".join(f'<a href="../../{file}">{file}</a>' for file in files))
    (wheels / "simple").mkdir(exist_ok=True)
    links = "".join(f'<a href="{name}/">{name}</a>' for name in by_name)
    (wheels / "simple" / "index.html").write_text(links)
