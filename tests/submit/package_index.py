"""A package index on loopback, with tiny wheels that a test makes; it counts what it is asked."""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
) -> Path:
    """Make a wheel with one module that knows its version; return its path."""
    module = name.replace("-", "_")
    path = folder / f"{module}-{version}-{tag}.whl"
    info = f"{module}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {item}\n" for item in requires)
    texts = {
        f"{module}.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{place},,\n" for place in (*texts, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for place, text in {**texts, f"{info}/RECORD": record}.items():
            # A fixed time: the same wheel has the same hash.
            archive.writestr(zipfile.ZipInfo(place), text)
    return path


@dataclass
class Index:
    """The wheels of a folder, as PEP 503 has them."""

    folder: Path
    url: str = ""
    #: ``user:password``; empty: everyone may read.
    login: str = ""
    #: Whether it fails for now.
    is_down: bool = False
    #: How long clients may keep an answer, as public indexes allow.
    max_age_seconds: int = 0
    #: The paths that were asked for.
    asked: list[str] = field(default_factory=list)

    def add(self, name: str, version: str, *, requires: Sequence[str] = ()) -> Path:
        """Add a wheel."""
        return make_wheel(self.folder, name, version, requires=requires)

    def page(self, path: str) -> bytes | None:
        """Return what a path has."""
        parts = [part for part in path.split("/") if part]
        if parts[:1] == ["files"]:
            found = self.folder / parts[-1]
            return found.read_bytes() if found.is_file() else None
        wheels = [
            wheel
            for wheel in sorted(self.folder.glob("*.whl"))
            if wheel.name.split("-")[0].replace("_", "-").lower() == parts[-1]
        ]
        if not wheels:
            return None
        links = (
            f'<a href="/files/{wheel.name}#sha256={hash_of(wheel)}">{wheel.name}</a>'
            for wheel in wheels
        )
        return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()


def hash_of(wheel: Path) -> str:
    """Return the hash of a file, as indexes have it."""
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@contextmanager
def serving(index: Index) -> Iterator[Index]:
    """Serve an index on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(self.path)
            expected = f"Basic {base64.b64encode(index.login.encode()).decode()}"
            if index.login and self.headers.get("Authorization") != expected:
                self._answer(401, b"")
                return
            if index.is_down:
                self._answer(503, b"")
                return
            page = index.page(self.path.partition("?")[0])
            self._answer(200 if page is not None else 404, page or b"")

        def do_HEAD(self) -> None:
            self.do_GET()

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="index"')
            is_page = not self.path.startswith("/files/")
            self.send_header("Content-Type", "text/html" if is_page else "application/zip")
            self.send_header("Content-Length", str(len(body)))
            if index.max_age_seconds:
                self.send_header("Cache-Control", f"max-age={index.max_age_seconds}")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        index.url = f"http://127.0.0.1:{server.server_address[1]}/simple"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()


def variables_for(index: Index, home: Path) -> dict[str, str]:
    """Return the variables of a user whose uv and pip know this index only."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PIP_CONFIG_FILE": os.devnull,
        "UV_DEFAULT_INDEX": index.url,
        "UV_CACHE_DIR": str(home / "uv-cache"),
        "UV_HTTP_RETRIES": "0",
    }
