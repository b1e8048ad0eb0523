"""A container as a process of this machine: command line, environment, paths."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from daskjob.backends.local.translate import (
    ContainerProcess,
    Machine,
    Paths,
    container_process,
    expanded,
    unsupported,
)
from daskjob.core.spec import DaskJob, parse
from tests.cli.command import job

MACHINE = Machine(
    comm="127.0.0.1:40001",
    dashboard="127.0.0.1:40002",
    environment={"PATH": "/bin", "HOME": "/home/ada"},
    cwd=Path("/work"),
    memory_bytes=8 * 2**30,
    workers=4,
    scratch=Path("/tmp/scratch"),
)


def process(container: dict[str, Any], paths: Paths | None = None) -> ContainerProcess:
    pod = {"metadata": {"name": "a-worker-1", "namespace": "default", "labels": {}}}
    complete = {"name": "main", **container}
    return container_process(complete, pod, MACHINE, paths or Paths(), Path("/tmp/message"))


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$(A)", "1"),
        ("$(A)$(A)", "11"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$()", "$()"),
        ("$(A", "$(A"),
        ("$$", "$"),
    ],
)
def test_expansion_follows_kubernetes(text: str, result: str) -> None:
    assert expanded(text, {"A": "1"}) == result


def test_python_is_this_one_and_other_programs_stay() -> None:
    assert process({"args": ["python", "a.py"]}).argv == (sys.executable, "a.py")
    assert process({"command": ["python3"], "args": ["-c", "1"]}).argv[0] == sys.executable
    assert process({"args": ["sh", "-c", "python"]}).argv == ("sh", "-c", "python")
    assert process({"args": ["/opt/python", "a.py"]}).argv == ("/opt/python", "a.py")


def test_scheduler_listens_at_the_runs_ports_whatever_its_options() -> None:
    args = ["dask", "scheduler", "--port", "8786", "--host=0.0.0.0", "--dashboard-prefix", "/a"]
    argv = process({"args": args}).argv
    assert argv[2:] == (
        *("--dashboard-prefix", "/a"),
        *("--host", "127.0.0.1", "--port", "40001", "--dashboard-address", "127.0.0.1:40002"),
    )


def value(argv: tuple[str, ...], option: str) -> str:
    assert argv.count(option) == 1
    return argv[argv.index(option) + 1]


def test_worker_gets_a_name_a_quarter_of_the_memory_and_no_dashboard() -> None:
    argv = process({"args": ["dask", "worker", "--dashboard", "--dashboard-address", "8788"]}).argv
    assert value(argv, "--name") == "a-worker-1"
    assert value(argv, "--memory-limit") == str(2 * 2**30)
    assert value(argv, "--host") == "127.0.0.1"
    assert "--no-dashboard" in argv
    assert "8788" not in argv


def test_workers_own_options_and_limits_win() -> None:
    limits = {"resources": {"limits": {"memory": "1Gi", "cpu": "1500m"}}}
    argv = process({"args": ["dask", "worker"], **limits}).argv
    assert value(argv, "--memory-limit") == str(2**30)
    assert value(argv, "--nthreads") == "2"
    own = ["dask", "worker", "--name", "mine", "--memory-limit=3GB", "--nthreads", "7"]
    argv = process({"args": own, **limits}).argv
    assert value(argv, "--name") == "mine"
    assert value(argv, "--nthreads") == "7"
    assert "--memory-limit=3GB" in argv
    assert "--memory-limit" not in argv


def test_container_gets_the_users_environment_overridden_by_its_own() -> None:
    env = process({"args": ["a"], "env": [{"name": "HOME", "value": "/x"}]}).env
    assert (env["PATH"], env["HOME"]) == ("/bin", "/x")


@pytest.mark.parametrize(
    ("name", "given", "warnings"),
    [
        ("a-13abc", None, None),
        ("a-13isi", None, "ignore:invalid decimal literal::<unknown>"),
        ("a-1or2", "error", "error,ignore:invalid decimal literal::<unknown>"),
    ],
)
def test_names_in_variables_of_dask_cause_no_warning(
    name: str, given: str | None, warnings: str | None
) -> None:
    env = [{"name": "DASK_WORKER_NAME", "value": name}]
    env += [{"name": "PYTHONWARNINGS", "value": given}] if given else []
    assert process({"args": ["dask", "worker"], "env": env}).env.get("PYTHONWARNINGS") == warnings


def test_mount_paths_become_folders_only_at_path_boundaries() -> None:
    paths = Paths({"/data": Path("/real")})
    args = ["a", "/data/x.csv", "--in=/data", "/database", "/mnt/data", "x/data", "/data:/data"]
    assert process({"args": args}, paths).argv == (
        "a",
        "/real/x.csv",
        "--in=/real",
        "/database",
        "/mnt/data",
        "x/data",
        "/real:/real",
    )


def test_working_directory_is_the_containers_if_it_exists() -> None:
    assert process({"args": ["a"], "workingDir": "/"}).cwd == Path("/")
    assert process({"args": ["a"], "workingDir": "/no/such"}).cwd == Path("/work")


def test_a_plain_job_asks_for_nothing_unsupported() -> None:
    assert unsupported(parse(DaskJob, job("pass"))) == []


def test_unsupported_fields_are_listed_with_their_name_and_pod() -> None:
    worker = {
        "image": "gpu:1",
        "resources": {"limits": {"nvidia.com/gpu": 1}},
    }
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    manifest = job("pass", worker=worker, pod={"volumes": [claim], "nodeSelector": {"a": "b"}})
    assert unsupported(parse(DaskJob, manifest)) == [
        "image gpu:1 (this Python runs instead)",
        "node selector of the runner",
        "volume data (persistentVolumeClaim; its path is this machine's own)",
        "nvidia.com/gpu for the worker",
    ]


@pytest.mark.parametrize(
    ("container", "note"),
    [
        ({"args": ["python", "/etc/app/a.py"]}, ""),
        ({"args": ["python"], "env": [{"name": "A", "value": "/etc/app"}]}, ""),
        ({"args": ["python", "a.py"]}, "path /etc/app of the runner"),
    ],
)
def test_mount_that_only_the_program_can_know_is_named(
    container: dict[str, Any], note: str
) -> None:
    mounts = [{"name": "c", "mountPath": "/etc/app"}, {"name": "claim", "mountPath": "/data"}]
    volumes = [{"name": "c", "configMap": {"name": "c"}}, {"name": "claim", "nfs": {}}]
    runner = {"name": "job-runner", "volumeMounts": mounts, **container}
    found = unsupported(parse(DaskJob, job("", pod={"containers": [runner], "volumes": volumes})))
    assert [thing for thing in found if "/data" in thing] == []
    assert [note in thing for thing in found if "/etc/app" in thing] == ([True] if note else [])
