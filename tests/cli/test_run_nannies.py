"""Workers of a run as Dask's own: nannies, deaths, folders, sockets, and ways to start them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.command import MARK, Daskjob, Done, job
from tests.waiting import wait_until

#: What a client finds right after it has connected, and what plugins of nannies then change.
NANNIES = """\
import json, os, pathlib
from distributed import Client, get_worker
from distributed.diagnostics.plugin import Environ, UploadDirectory

def use():
    import otherpkg
    return otherpkg.VALUE

def variable():
    return os.environ.get("MODEL_HOME")

if __name__ == "__main__":
    folder = pathlib.Path("upload", "otherpkg")
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("VALUE = 5")
    client = Client()
    found = {"workers": len(client.ncores()), "reached": len(client.run(os.getpid))}
    found["repr"] = repr(client)
    client.register_plugin(Environ({"MODEL_HOME": "/models"}))
    found["variable"] = sorted(client.run(variable).values())
    plugin = UploadDirectory(str(folder.parent), update_path=True, restart_workers=True)
    client.register_plugin(plugin)
    found["module"] = client.submit(use).result()
    for _ in range(2):
        client.restart()
    found["restarted"] = len(client.ncores()), client.submit(sum, [1, 2]).result()
    print(json.dumps(found))
    pathlib.Path("ready").touch()
    while not pathlib.Path("seen").exists():
        pass
"""


@pytest.fixture(scope="module")
def nannies(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Done, list[tuple[str, str]]]:
    """A run on two workers, and the addresses at which its processes listened."""
    user = Daskjob(tmp_path_factory.mktemp("nannies"))
    try:
        process = user.start("run", "--workers", 2, user.script(NANNIES))
        wait_until(
            lambda: process.poll() is not None or (user.work / "ready").exists(),
            shows="the script has seen its workers",
        )
        sockets = listening(user)
        (user.work / "seen").touch()
        out, err = process.communicate(timeout=60)
        left = user.left_over()
        assert not left
        return Done(process.returncode, out, err.decode()), sockets
    finally:
        user.end()


def listening(user: Daskjob) -> list[tuple[str, str]]:
    """The command and the host of each listening socket of the user's processes."""
    found = []
    for process in psutil.process_iter(["environ", "cmdline"]):
        if (process.info["environ"] or {}).get(MARK) == user.mark:
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found.append((" ".join(process.info["cmdline"]), connection.laddr.ip))
    return found


def test_all_workers_are_there_when_the_first_client_connects(nannies: Any) -> None:
    found = nannies[0].object()
    assert found["workers"] == found["reached"] == 2
    assert "processes=2" in found["repr"]


def test_plugins_of_nannies_work_and_restarts_lose_no_worker(nannies: Any) -> None:
    done, _ = nannies
    found = done.object()
    assert found["variable"] == ["/models", "/models"]
    assert found["module"] == 5
    assert found["restarted"] == [2, 3]
    assert "restarted" not in done.err
    assert done.code == 0


def test_all_processes_of_a_run_listen_on_the_loopback_interface_only(nannies: Any) -> None:
    _, sockets = nannies
    assert {host for _, host in sockets} == {"127.0.0.1"}
    # A scheduler and its dashboard, two nannies, and two workers with an HTTP server each.
    assert len(sockets) == 8


DEATHS = """\
import os, signal, sys, time
from distributed import Client

def hog():
    kept = []
    while True:
        kept.append(b"x" * 10_000_000)
        time.sleep(0.01)

def crash():
    os.kill(os.getpid(), signal.SIGSEGV)

def leave():
    os._exit(3)

if __name__ == "__main__":
    task = {"hog": hog, "crash": crash, "leave": leave}[sys.argv[1]]
    Client().submit(task).result()
"""


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("hog", "1 worker, which died: it exceeded its memory limit of 228.9 MiB. Raise --memory"),
        ("crash", "1 worker, which died, with exit code 139 (SIGSEGV)"),
        ("leave", "1 worker, which died, with exit code 3"),
    ],
)
def test_death_of_a_worker_is_reported_with_its_cause(
    daskjob: Daskjob, task: str, message: str
) -> None:
    script = daskjob.script(DEATHS)
    environment = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    slow = {"DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE": "False"}
    words = ["run", "--workers", 1, "--memory", "240MB", script, task]
    done = daskjob(*words, env={**environment, **slow})
    assert done.code == 1
    assert message in done.err
    if task == "hog":
        # Its last heartbeat may have been long before.
        assert re.search(r"peak worker memory (≥ 228.9|2[23]\d\.\d|2[3-9]\d) MiB", done.err)


WHERE = """\
from distributed import Client, get_worker

def folder():
    return get_worker().local_directory

if __name__ == "__main__":
    print(Client().submit(folder).result())
"""


@pytest.mark.parametrize("way", ["environment", "option", "configuration"])
def test_workers_write_where_dask_is_configured_to_and_leave_nothing(
    daskjob: Daskjob, tmp_path: Path, way: str
) -> None:
    large = tmp_path / "large"
    config = tmp_path / "config"
    config.mkdir()
    (config / "dask.yaml").write_text(f"temporary-directory: {large}")
    variable = "DASK_TEMPORARY_DIRECTORY"
    environment = {
        "environment": {variable: str(large)},
        "option": {variable: str(tmp_path / "other")},
        "configuration": {"DASK_CONFIG": str(config)},
    }[way]
    words = ["--env", f"{variable}={large}"] if way == "option" else []
    done = daskjob("run", "--workers", 1, *words, daskjob.script(WHERE), env=environment)
    assert done.text.startswith(f"{large}/daskjob-")
    assert list(large.iterdir()) == []


SUM = "from distributed import Client; print(Client().submit(sum, [1, 2]).result())"


@pytest.mark.parametrize(
    ("scheduler", "worker"),
    [
        (["bash", "-c", "true; dask scheduler"], ["sh", "-c", "exec dask-worker --nthreads 2"]),
        (
            ["sh", "-ec", "python -m distributed.cli.dask_scheduler --port 8786 --host 0.0.0.0"],
            ["env", "A=1", "dask", "worker", "--name", "$(DASK_WORKER_NAME)"],
        ),
        (
            ["bash", "-lc", "cd / && /opt/conda/bin/dask scheduler --dashboard-address :8787"],
            ["bash", "-c", "dask worker $(DASK_SCHEDULER_ADDRESS) --no-nanny & wait"],
        ),
        (["sh", "start.sh", "scheduler"], ["sh", "start.sh", "worker", "--memory-limit", "1GB"]),
    ],
)
def test_scheduler_and_worker_may_be_started_by_another_program(
    daskjob: Daskjob, scheduler: list[str], worker: list[str]
) -> None:
    (daskjob.work / "start.sh").write_text('echo prepared\nexec dask "$@"\n')
    manifest = job(
        SUM, workers=1, scheduler={"args": scheduler}, worker={"args": worker}, name="shell"
    )
    done = daskjob("run", daskjob.manifest(manifest))
    assert (done.code, done.text) == (0, "3\n"), done.err


COUNT = "from distributed import Client; print(len(Client().ncores()))"


def test_worker_that_keeps_failing_is_reported_and_not_waited_for(daskjob: Daskjob) -> None:
    groups = [
        {
            "name": "broken",
            "replicas": 1,
            "spec": {"containers": [{"name": "worker", "args": ["dask", "worker", "--no-such"]}]},
        }
    ]
    manifest = job(COUNT, workers=1, name="broken", cluster={"workerGroups": groups})
    done = daskjob("run", daskjob.manifest(manifest))
    assert (done.code, done.text) == (0, "1\n")
    assert "1 worker failed to start (exit code 1); the script does not wait for them" in done.err


def test_script_without_workers_does_not_wait(daskjob: Daskjob) -> None:
    done = daskjob.run(daskjob.script(COUNT))
    assert (done.code, done.text) == (0, "0\n")


def test_nothing_of_a_worker_survives_the_kill_of_daskjob(daskjob: Daskjob) -> None:
    process = daskjob.start(
        "run", "--workers", 2, daskjob.script(SUM + "; print(flush=True); input()")
    )
    process.stdout.readline()  # type: ignore[union-attr]
    process.kill()
    process.communicate()
    wait_until(lambda: not daskjob.alive(), shows="all processes are gone")
    daskjob("list")
    assert json.dumps(daskjob.left_over()) == "[]"
