"""Deaths of workers, as their nannies report them."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daskjob.backends.local import kubelet
from daskjob.backends.local.backend import LocalBackend
from daskjob.backends.local.deaths import Death, Deaths
from daskjob.backends.local.log_file import RunLogs
from daskjob.backends.local.processes import Processes
from daskjob.backends.local.retention import Limits
from daskjob.backends.local.run_folder import RunFolder
from daskjob.backends.local.translate import Machine
from daskjob.backends.store import ObjectStore
from daskjob.core import names
from daskjob.core.manifests import Manifest, object_ref
from daskjob.core.pods import ContainerFacts, pod_facts
from tests.core.manifests import container, pod
from tests.waiting import until


def only(tmp_path: Path, **record: object) -> tuple[int, str, str]:
    path = tmp_path / "deaths"
    path.write_text(json.dumps({"at": 1e9, **record}) + "\n")
    (death,) = Deaths(path).new()
    return death.exit_code, death.reason, death.message


def test_each_kind_of_death_is_explained(tmp_path: Path) -> None:
    memory = {"memory": 300_000_000, "limit": 256 * 2**20}
    assert only(tmp_path, code=143, **memory) == (
        *(137, "OOMKilled"),
        "it exceeded its memory limit of 256 MiB",
    )
    assert only(tmp_path, code=139) == (139, "Error", "it was killed by SIGSEGV")
    assert only(tmp_path, code=137) == (137, "Error", "it was killed by SIGKILL")
    assert only(tmp_path, code=3) == (3, "Error", "its process ended with exit code 3")


def test_each_death_is_returned_once_and_only_when_its_line_is_whole(tmp_path: Path) -> None:
    deaths = Deaths(tmp_path / "deaths")
    assert deaths.new() == []
    deaths.path.write_text('{"code": 1, "at": 5}\n{"code": 2, "at"')
    assert [death.exit_code for death in deaths.new()] == [1]
    assert deaths.new() == []
    with deaths.path.open("a") as file:
        file.write(': 6}\n{"code": 3, "at": 7}\n')
    assert [death.exit_code for death in deaths.new()] == [2, 3]


@pytest.mark.parametrize(
    "line",
    ["", "no JSON", "[]", "{}", '{"code": "1", "at": 1}', '{"code": 1}', '{"code":1,"at":1e99}'],
)
def test_lines_that_are_no_deaths_are_ignored(tmp_path: Path, line: str) -> None:
    path = tmp_path / "deaths"
    path.write_text(line + "\n")
    assert Deaths(path).new() == []


@pytest.mark.parametrize(
    ("code", "seconds", "expected"), [(1, 3, True), (1, 60, False), (0, 3, False), (143, 3, False)]
)
def test_a_nanny_that_cannot_restart_its_worker_fails_by_that_death(
    code: int, seconds: int, expected: bool
) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    death = Death(139, at)
    assert death.made_nanny_fail(code, at + timedelta(seconds=seconds)) is expected


def python_pod(component: names.Component, code: str) -> Manifest:
    """A pod that runs this code."""
    spec = {**pod(container(component.value, "python", "-c", code)), "restartPolicy": "Never"}
    labels = {names.LABEL_COMPONENT: component}
    meta = {"name": component.value, "namespace": "default", "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def main_of(store: ObjectStore, created: Manifest) -> ContainerFacts:
    """The present state of a pod's main container."""
    manifest = store.found(object_ref(created))
    assert manifest is not None
    main = pod_facts(manifest).main
    assert main is not None
    return main


async def test_a_death_is_in_the_status_before_the_script_that_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The regular look would show it too, but maybe later.
    monkeypatch.setattr(kubelet, "MEMORY_LOOK_SECONDS", 3600.0)
    (tmp_path / "logs").mkdir()
    address = "127.0.0.1:1"
    backend = LocalBackend(RunFolder(tmp_path), address, address)
    machine = Machine(
        comm=address,
        dashboard=address,
        environment=os.environ,
        cwd=tmp_path,
        memory_bytes=2**30,
        workers=1,
        scratch=tmp_path,
    )
    # The message's file is in the folder where a nanny reports deaths.
    dies = (
        "import json, pathlib, time\n"
        "record = json.dumps({'code': 139, 'at': time.time()})\n"
        "pathlib.Path('/dev/termination-log').with_suffix('.deaths').write_text(record + '\\n')\n"
        "pathlib.Path('reported').touch()\n"
        "time.sleep(60)\n"
    )
    fails = (
        "import os, time\n"
        "while not os.path.exists('reported'): time.sleep(0.01)\n"
        "raise SystemExit(1)\n"
    )
    logs = RunLogs(Limits().log_bytes)
    async with Processes(f"deaths-{uuid.uuid4().hex}") as processes:
        pods = kubelet.Kubelet(
            *(backend.store, processes, backend.folder, tmp_path, machine, backend.clock),
            logs=logs,
            stdin=False,
        )
        running = asyncio.create_task(pods.run())
        worker = backend.store.create(python_pod(names.Component.WORKER, dies))
        script = backend.store.create(python_pod(names.Component.RUNNER, fails))
        codes: list[int | None] = []

        def changed(*_: object) -> None:
            if main_of(backend.store, script).terminated:
                codes.append(main_of(backend.store, worker).last_exit_code)

        backend.store.watch(changed)
        await until(lambda: codes, 20)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    pods.finish_logs()
    logs.close()
    assert codes[0] == 139
