"""Decorated flows: a call runs as a DaskJob, and ends as the flow does."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Running

from daskjob.core.errors import ApiError, NotFound, WrongArgument
from daskjob.integrations.prefect import (
    daskjob,
    execute_bundle,
    results,
    server_storage,
)
from daskjob.submit.jobs import Job
from tests.cluster.plugin import ROOT, Kubernetes
from tests.orchestrators.prefect.conftest import Place
from tests.orchestrators.prefect.pool import API_KEY, HERE, PATIENCE, Pool, of_cluster, of_machine
from tests.orchestrators.prefect.server import Server, free_port
from tests.orchestrators.prefect.test_wrong_input import once
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect connections that Prefect leaves open: at its end, pytest takes them for errors."""
    yield
    gc.collect()


@contextmanager
def calling(pool: Pool, folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``called.py`` as a user's script beside a file of data."""
    shutil.copy(HERE / "called.py", folder)
    (folder / "rates.json").write_text('{"rate": 7}')
    # As installed: Prefect packs modules by value that are outside of such a folder.
    site = folder / "site-packages"
    site.mkdir()
    (site / "daskjob").symlink_to(ROOT / "daskjob")
    environ = {
        **os.environ,
        **pool.server.environment,
        "PREFECT_API_URL": pool.url,
        "PREFECT_API_KEY": API_KEY,
        "PYTHONPATH": str(site),
    }
    command = [sys.executable, str(folder / "called.py"), pool.name, *words]
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_calls_on_a_cluster(
    server: Server, cluster: Place, with_crds: Kubernetes, tmp_path: Path
) -> None:
    with (
        of_cluster(server, cluster, with_crds, tmp_path) as pool,
        calling(pool, tmp_path) as caller,
    ):
        try:
            waiting = wait_until(lambda: running(pool, "waiting"), PATIENCE, pause=0.5)
            shown = pool.kubectl("get", "daskjobs,pods,events,configmaps", "--output=json")
            blocks = server.ask("block_documents/filter", {})
            pool.cancel(waiting)
            printed, _ = caller.communicate(timeout=PATIENCE)
        except BaseException:
            print((tmp_path / "errors").read_text()[-20000:])
            raise
        ended = json.loads(printed.splitlines()[-1])
        assert ended["squares"] == {"sum": 14, "rate": 7}
        assert ended["waiting"].startswith("CancelledRun: ")
        assert "the flow, with its parameters and files, has 5." in ended["large"]
        assert "4.0 MiB" in ended["large"]
        states = {name: server.state(only(server, name)["id"]) for name in ended}
        assert states == {
            "squares": "Completed",
            "waiting": "Cancelled",
            "large": "Crashed",
        }
        assert pool.place.known(only(server, "large")["id"]) == []
        phases = {"squares": "Succeeded", "waiting": "Cancelled"}
        for name, phase in phases.items():
            run = only(server, name)
            job = pool.job_ended(run["id"], phase)
            assert run["infrastructure_pid"] == f"{job.ref.namespace}:{job.name}"
            assert_in_own_pod(job)
        # Nobody sees what a flow has brought, such as the key of Prefect's API in its settings.
        assert API_KEY not in shown
        assert blocks
        assert {block["data"].get("value", "********") for block in blocks} == {"********"}
        # A flow that will not run again is deleted; the pod does so after its end.
        wait_until(lambda: bundles(server) == [], 60, pause=0.5)


def assert_in_own_pod(job: Job) -> None:
    [container] = job.manifest["spec"]["job"]["spec"]["containers"]
    assert container["command"][3:6] == ["python", "-m", server_storage.EXECUTE]


def running(pool: Pool, name: str) -> Any:
    """Return the id of the flow run of this name once it runs."""
    found = runs(pool.server, name)
    return found[0]["id"] if found and found[0]["state"]["name"] == "Running" else None


def only(server: Server, name: str) -> Any:
    """Return the only flow run of a flow."""
    [found] = runs(server, name)
    return found


def runs(server: Server, name: str) -> list[Any]:
    found: list[Any] = server.ask("flow_runs/filter", {"flows": {"name": {"any_": [name]}}})
    return found


def bundles(server: Server) -> list[str]:
    """Return the names of the blocks that hold flows."""
    found = [str(block["name"]) for block in server.ask("block_documents/filter", {})]
    kept = [name for name in found if name.startswith("daskjob-bundle-")]
    return [name for name in kept if not name.startswith("daskjob-bundle-files-")]


def bound(pool: str) -> Any:
    @daskjob(work_pool=pool)
    @flow
    def nightly() -> str:
        return "done"

    return nightly


@pytest.mark.usefixtures("server")
def test_a_pool_that_does_not_exist_is_named() -> None:
    command = "prefect work-pool create --type daskjob never-was"
    for call in (bound("never-was"), bound("never-was").submit_to_work_pool):
        with pytest.raises(NotFound, match=f"has no work pool 'never-was'; {command}"):
            call()
    # Prefect would create it, without an image.
    with get_client(sync_client=True) as client:
        assert "never-was" not in [pool.name for pool in client.read_work_pools()]


@pytest.mark.usefixtures("server")
def test_a_pool_of_another_type_is_rejected() -> None:
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="processes", type="process"))
    with pytest.raises(WrongArgument, match="has the type 'process'"):
        bound("processes")()


def test_a_server_that_does_not_respond_is_named() -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(ApiError) as caught:
        bound("dask")()
    assert f"Prefect's server at {url} does not respond" in str(caught.value)


def test_a_worker_of_the_pool_runs_what_is_handed_over(
    server: Server, machine: Place, tmp_path: Path
) -> None:
    pool = of_machine(server, machine, tmp_path)
    with pytest.raises(WrongArgument) as caught:
        bound(pool.name).submit_to_work_pool()
    command = f"{server_storage.COMMAND} {pool.name}"
    assert command in str(caught.value)
    assert server_storage.main([pool.name]) == 0
    with calling(pool, tmp_path, "hand-over") as caller:
        [flow_run] = caller.communicate(timeout=PATIENCE)[0].split()
    assert server.state(flow_run) == "Scheduled"
    asyncio.run(once(pool))
    assert "no such table" in pool.ended(flow_run, "Failed")
    # Of the result storage, as each result and exception is.
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(flow_run)).state
    assert state is not None
    with pytest.raises(ValueError, match="no such table"):
        state.result(_sync=True)
    assert pool.job_ended(flow_run, "Failed").status.attempt == 0
    # Somebody may run it again.
    [kept] = bundles(server)
    server_storage.delete(kept.removeprefix("daskjob-bundle-"))
    assert bundles(server) == []


def test_a_pool_that_cannot_be_configured_is_named(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    del server
    assert server_storage.main(["never-was"]) == 1
    assert "has no work pool 'never-was'" in capsys.readouterr().err
    assert server_storage.main([]) == 2
    assert "usage: python -m daskjob.integrations.prefect" in capsys.readouterr().err


def test_a_bundle_that_is_gone_crashes_its_flow_run(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    @flow
    def gone() -> None: ...

    with get_client(sync_client=True) as client:
        made = client.create_flow_run(gone, state=Running())
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", str(made.id))
    assert execute_bundle.main(["--key", "0123-abc"]) == 1
    found = server.ask(f"flow_runs/{made.id}")["state"]
    assert found["name"] == "Crashed"
    assert "has no bundle 0123-abc any more" in found["message"]


@pytest.mark.usefixtures("server")
def test_results_are_kept_by_the_server() -> None:
    block = asyncio.run(results.results_block())
    same = asyncio.run(results.results_block())
    assert block._block_document_id == same._block_document_id

    @flow(result_storage=block, persist_result=True)
    def nightly() -> dict[str, list[int]]:
        return {"rows": list(range(1000))}

    @flow(result_storage=block, persist_result=True)
    def too_large() -> bytes:
        return os.urandom(results.RESULT_BYTES)

    assert kept(nightly(return_state=True)) == {"rows": list(range(1000))}
    # Prefect lets the flow complete, with a warning.
    state = too_large(return_state=True)
    with pytest.raises(ValueError, match=r"it may be larger than 4\.0 MiB"):
        kept(state, retry_result_failure=False)


def kept(state: Any, **how: Any) -> Any:
    """Return the result of a flow run as another process reads it."""
    with get_client(sync_client=True) as client:
        found: Any = client.read_flow_run(state.state_details.flow_run_id).state
    return found.result(_sync=True, **how)
