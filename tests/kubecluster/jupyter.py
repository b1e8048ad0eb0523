"""A JupyterLab with everything that users of Dask have in it, as a process on loopback."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp

from tests.cluster.plugin import ROOT

#: JupyterLab's environment, as its users have it.
REQUIREMENTS = ("jupyterlab>=4", "ipywidgets>=8", "dask-labextension>=7")
START_SECONDS = 60.0
#: A cluster starts within this time, also on a busy machine.
ANSWER_SECONDS = 120.0
_OPTIONS = (
    *("--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", "--ServerApp.root_dir=."),
    # Nothing is requested from elsewhere.
    *(
        "--LabApp.news_url=",
        "--LabApp.extension_manager=readonly",
        "--LabApp.expose_app_in_browser=1",
    ),
)


@cache
def environment() -> Path:
    """Return the ``bin`` folder of an environment with JupyterLab; it is created once."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["kubernetes"]
    command = [str(ROOT / "scripts" / "venv"), *REQUIREMENTS, *extra]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip()) / "bin"


@dataclass(frozen=True)
class Jupyter:
    """A running server."""

    #: The folder of its notebooks.
    work: Path
    address: str
    token: str

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Make a request to its HTTP API; return the answer."""
        headers = {"Authorization": f"token {self.token}"}
        timeout = aiohttp.ClientTimeout(ANSWER_SECONDS)
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as client,
            client.request(method, f"{self.address}{path}", json=body) as response,
        ):
            text = await response.text()
            assert response.status < 400, f"{method} {path}: {response.status} {text}"
            return json.loads(text) if text.startswith(("[", "{")) else text


@contextmanager
def jupyter(folder: Path, config: Mapping[str, Any], *options: str) -> Iterator[Jupyter]:
    """Start JupyterLab in an empty folder, with a configuration of Dask."""
    token = secrets.token_hex(16)
    for name in ("dask", "home", "work"):
        (folder / name).mkdir()
    (folder / "dask" / "dask.yaml").write_text(json.dumps(config))
    log = folder / "jupyter.log"
    program = str(environment() / "jupyter-lab")
    command = [program, *_OPTIONS, f"--IdentityProvider.token={token}", *options]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=folder / "work",
            env=_variables(folder),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    try:
        yield Jupyter(folder / "work", _address(folder, process, log), token)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _variables(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DASK", "JUPYTER", "KUBE"))}
    return {
        **kept,
        "HOME": str(folder / "home"),
        "DASK_CONFIG": str(folder / "dask"),
        "PATH": f"{environment()}{os.pathsep}{os.environ['PATH']}",
    }


def _address(folder: Path, process: subprocess.Popen[bytes], log: Path) -> str:
    """Return the address of the server as soon as it listens."""
    runtime = folder / "home" / ".local" / "share" / "jupyter" / "runtime"
    give_up = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < give_up:
        for file in runtime.glob("jpserver-*.json"):
            with suppress(ValueError, KeyError, OSError):
                found = json.loads(file.read_text())
                # The file is there before the server listens.
                socket.create_connection((found["hostname"], found["port"]), 1).close()
                return str(found["url"])
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()}")
