"""What can never start on this machine is known before the start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from daskjob.backends.local.config import Config
from daskjob.backends.local.startable import absent_scripts, check_startable
from daskjob.core.errors import Invalid
from daskjob.core.spec import DaskJob, parse
from tests.cli.command import job


@pytest.mark.parametrize(
    ("manifest", "path", "message"),
    [
        (
            job(["python"], worker={"args": ["dsk", "worker"]}),
            "worker.spec.containers[0].args[0]",
            "did you mean dask?",
        ),
        (
            job(["python"], scheduler={"args": None, "command": ["dask-schduler"]}),
            "scheduler.spec.containers[0].command[0]",
            "did you mean dask-scheduler?",
        ),
        (
            job(["python"], worker={"args": ["/no/such/tini", "dask"]}),
            "worker.spec.containers[0].args[0]",
            "no such program",
        ),
        (job([], pod={}), "spec.job.spec.containers[0].args", "write a command or args"),
        (
            job(["python"], worker={"args": [], "arg": ["dask"]}),
            "worker.spec.containers[0].args",
            "did you mean args instead of arg?",
        ),
        (
            job(["python"], pod={"initContainers": [{"name": "a", "image": "b"}]}),
            "spec.job.spec.initContainers[0].args",
            "images",
        ),
    ],
)
def test_container_that_cannot_start_is_named(
    manifest: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(Invalid) as caught:
        check_startable(parse(DaskJob, manifest), Config(), {"PATH": os.environ["PATH"]})
    (mistake,) = caught.value.errors
    assert mistake.path.endswith(path)
    assert message in mistake.allowed


@pytest.mark.parametrize(
    "worker",
    [
        {"args": ["dask-worker"]},
        {"args": ["sh", "-c", "dask worker"]},
        {"args": ["/code/run.sh"], "volumeMounts": [{"name": "code", "mountPath": "/code"}]},
        {"args": ["$(SHELL)"]},
        {"args": ["only-there"], "env": [{"name": "PATH", "value": "/there"}]},
    ],
)
def test_command_that_may_start_is_left_to_the_start(worker: dict[str, Any]) -> None:
    job_ = parse(DaskJob, job(["no-such-program"], worker=worker))
    check_startable(job_, Config(), {"PATH": os.environ["PATH"]})


@pytest.mark.parametrize(
    ("command", "absent"),
    [
        (["python", "none.py"], "none.py"),
        (["python", "-u", "-W", "error", "none.py", "there.py"], "none.py"),
        (["python3", "/no/such/none.py"], "/no/such/none.py"),
        (["python", "there.py"], ""),
        (["python", "-m", "none"], ""),
        (["python", "-c", "none.py"], ""),
        (["python", "$(SCRIPT)"], ""),
        (["sh", "none.sh"], ""),
    ],
)
def test_script_that_does_not_exist_is_a_note(
    tmp_path: Path, command: list[str], absent: str
) -> None:
    (tmp_path / "there.py").write_text("")
    notes = absent_scripts(parse(DaskJob, job(command)), tmp_path)
    assert [absent in note for note in notes] == ([True] if absent else [])
