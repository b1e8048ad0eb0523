"""The launcher of workers: what it prints when it is ended while its workers start."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from distributed.core import Status

from daskjob.backends.local import worker_launcher
from daskjob.backends.local.ports import reserve

LAUNCHER = worker_launcher.__file__


def start(folder: Path, port: int, *options: str) -> subprocess.Popen[str]:
    """Start a launcher whose scheduler does not answer."""
    scheduler = f"tcp://127.0.0.1:{port}"
    own = ["--host", "127.0.0.1", "--no-dashboard", "--local-directory", str(folder)]
    return subprocess.Popen(
        [sys.executable, LAUNCHER, str(folder / "x.deaths"), scheduler, *own, *options],
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )


@pytest.mark.parametrize("options", [[], ["--nworkers", "2"], ["--death-timeout", "60"]])
def test_launcher_ended_while_its_workers_start_is_silent(
    tmp_path: Path, options: list[str]
) -> None:
    (tmp_path / "sign.py").write_text("def dask_setup(nanny):\n    open('started', 'w').close()\n")
    with reserve(1) as ports:
        process = start(tmp_path, ports.ports[0], "--preload-nanny", "sign.py", *options)
        while process.poll() is None and not (tmp_path / "started").exists():
            pass
        os.kill(process.pid, signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Received signal SIGTERM" in err
    assert "Traceback" not in err
    assert "Error" not in err


def test_nanny_that_is_closed_starts_no_worker() -> None:
    class Plain:
        status = Status.running
        started = 0

        async def instantiate(self) -> None:
            self.started += 1

    nanny = worker_launcher.reporting_nanny(Plain, "deaths")()
    asyncio.run(nanny.instantiate())
    nanny.status = Status.closed
    with pytest.raises(RuntimeError):
        asyncio.run(nanny.instantiate())
    assert nanny.started == 1


def test_launcher_shows_why_a_worker_cannot_start(tmp_path: Path) -> None:
    process = start(tmp_path, 9, "--worker-class", "absent.Worker")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Traceback" in err
    assert "No module named 'absent'" in err
