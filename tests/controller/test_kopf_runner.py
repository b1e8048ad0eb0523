"""kopf alongside the operator: it starts, stops and restarts, and cannot harm the operator.

There is no API server here: kopf gets only as far as looking for it. Plugins' handlers of objects
are tested on a real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import kopf
import pytest

from daskjob.controller.kopf_runner import FINALIZER, Backoffs, KopfRunner, KopfThread, harden
from daskjob.controller.namespaces import namespaces_of
from daskjob.controller.plugins import Plugin
from tests.waiting import until

#: An address without a listener.
KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: nowhere
contexts: [{name: nowhere, context: {cluster: nowhere, user: nobody}}]
clusters: [{name: nowhere, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: nobody, user: {token: hunter2}}]
"""


@pytest.fixture(autouse=True)
def _isolated_kopf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test its own registry of handlers, and a kubeconfig without a server behind it."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    before = kopf.get_default_registry()
    # Not kopf's default one: with the package kubernetes installed, that has a login which reads
    # the kubeconfig of the time of its import.
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(kopf.login_with_kubeconfig)
    kopf.set_default_registry(registry)
    yield
    kopf.set_default_registry(before)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daskjob.controller.kopf_runner.FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr("daskjob.controller.kopf_runner.BEAT_SECONDS", 0.2)
    # kopf waits 5 s for its search for the missing API server.
    monkeypatch.setattr("daskjob.controller.kopf_runner.STOP_SECONDS", 1.0)


@contextlib.asynccontextmanager
async def running(
    *plugins: Callable[[], object], namespaces: str = "default"
) -> AsyncIterator[KopfRunner]:
    """Run kopf with these plugins during the block."""
    kopf_runner = KopfRunner(
        [Plugin(getattr(load, "__name__", "plugin"), load) for load in plugins],
        namespaces_of([namespaces]),
    )
    task = asyncio.create_task(kopf_runner.run())
    try:
        yield kopf_runner
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=20)
        assert task.done()


def kopf_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "kopf"]


async def test_handlers_of_plugins_start_and_clean_up_in_a_separate_thread() -> None:
    happened: list[str] = []

    def plugin() -> None:
        @kopf.on.startup()
        async def start(settings: kopf.OperatorSettings, **_: object) -> None:
            assert settings.peering.standalone
            assert threading.current_thread().name == "kopf"
            happened.append("start")

        @kopf.on.cleanup()
        async def clean_up(**_: object) -> None:
            happened.append("clean up")

        @kopf.on.create("service", labels={"dask.org/component": "scheduler"})
        async def handle(**_: object) -> None:
            """Never called: there is no API server."""

    async with running(plugin):
        await until(lambda: happened == ["start"])
        await asyncio.sleep(0.2)
    assert happened == ["start", "clean up"]
    await until(lambda: not kopf_threads())


async def test_without_plugins_there_is_no_kopf() -> None:
    await KopfRunner([], namespaces_of([])).run()
    assert kopf_threads() == []


async def test_kopf_is_not_started_if_no_plugin_can_be_loaded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def plugin() -> None:
        raise RuntimeError("no")

    kopf_runner = KopfRunner([Plugin("broken", plugin)], namespaces_of([]))
    async with asyncio.timeout(20):
        await kopf_runner.run()
    assert kopf_threads() == []
    assert "plugin broken could not be loaded and is skipped: RuntimeError: no" in caplog.text
    assert "no plugin could be loaded: kopf is not started" in caplog.text


# kopf leaves some of its own coroutines unawaited when a start-up handler fails.
@pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited:RuntimeWarning")
async def test_kopf_is_restarted_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    starts: list[float] = []

    def plugin() -> None:
        @kopf.on.startup()
        async def start(**_: object) -> None:
            starts.append(time.monotonic())
            if len(starts) < 2:
                raise kopf.PermanentError("the plugin cannot start")

    with caplog.at_level(logging.WARNING):
        async with running(plugin):
            await until(lambda: len(starts) == 2)
    assert "kopf ended: ActivityError: " in caplog.text
    assert "restarting the plugins' handlers in" in caplog.text


async def test_plugins_are_loaded_once_across_restarts_of_kopf() -> None:
    loads: list[str] = []
    starts: list[str] = []

    def plugin() -> None:
        loads.append("plugin")

        @kopf.on.startup()
        async def start(**_: object) -> None:
            starts.append("start")

    kopf_runner = KopfRunner([Plugin("plugin", plugin)], namespaces_of(["default"]))
    for count in (1, 2):
        task = asyncio.create_task(kopf_runner.run())
        await until(lambda count=count: len(starts) == count)  # type: ignore[misc]
        task.cancel()
        await asyncio.wait([task])
    assert loads == ["plugin"]


async def test_plugin_that_blocks_while_loading_blocks_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    free = threading.Event()

    async with running(free.wait):
        await until(lambda: "one is still being loaded" in caplog.text)
    free.set()


async def test_plugin_that_blocks_kopfs_loop_is_logged_and_abandoned(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskjob.controller.kopf_runner.STOP_SECONDS", 0.2)
    free = threading.Event()
    started = threading.Event()

    def plugin() -> None:
        @kopf.on.startup()
        async def start(**_: object) -> None:
            started.set()
            free.wait()

    async with running(plugin):
        await until(started.is_set)
        await until(lambda: "a plugin blocks kopf's loop" in caplog.text)
    assert "a plugin prevents kopf from stopping; its thread is abandoned" in caplog.text
    free.set()
    await until(lambda: not kopf_threads())


async def test_abandoned_kopf_must_end_before_another_one_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("daskjob.controller.kopf_runner.STOP_SECONDS", 0.1)
    free = threading.Event()
    starts: list[float] = []

    def plugin() -> None:
        @kopf.on.startup()
        async def start(**_: object) -> None:
            starts.append(time.monotonic())
            free.wait()

    kopf_runner = KopfRunner([Plugin("plugin", plugin)], namespaces_of(["default"]))
    task = asyncio.create_task(kopf_runner.run())
    await until(lambda: starts)
    task.cancel()
    await asyncio.wait([task])
    task = asyncio.create_task(kopf_runner.run())
    await asyncio.sleep(0.3)
    assert len(starts) == len(kopf_threads()) == 1
    free.set()
    await until(lambda: len(starts) == 2)
    task.cancel()
    await asyncio.wait([task])
    await until(lambda: not kopf_threads())


async def test_thread_stopped_before_it_runs_does_nothing() -> None:
    ran: list[str] = []

    async def operator(_stop: asyncio.Event) -> None:
        ran.append("operator")

    thread = KopfThread(operator)
    await thread.stop(0.01)
    thread.start()
    assert await thread.ended() is None
    assert ran == []


async def test_any_exception_in_the_thread_is_reported() -> None:
    async def operator(_stop: asyncio.Event) -> None:
        raise SystemExit(3)

    thread = KopfThread(operator)
    thread.start()
    assert isinstance(await thread.ended(), SystemExit)


# Settings


def hardened(namespaces: str = "") -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    harden(settings, namespaces_of([namespaces]))
    return settings


def test_kopf_never_gives_up_on_the_api_server() -> None:
    backoffs = hardened().networking.error_backoffs
    assert not hasattr(backoffs, "__len__")
    assert isinstance(backoffs, Backoffs)
    for _ in range(2):
        waits = [wait for wait, _ in zip(backoffs, range(1000), strict=False)]
        assert len(waits) == 1000
        assert waits[0] <= 1.2
        assert 24.0 <= min(waits[10:]) <= max(waits) <= 36.0


@pytest.mark.parametrize(("namespaces", "scans"), [("", False), ("a,b", False), ("team-*", True)])
def test_kopf_scans_namespaces_only_for_patterns(namespaces: str, scans: bool) -> None:
    assert hardened(namespaces).scanning.disabled is not scans


def test_kopf_does_not_kill_the_process_and_uses_no_annotations_of_dask_kubernetes() -> None:
    settings = hardened()
    assert settings.process.ultimate_exiting_timeout is None
    assert settings.persistence.finalizer == FINALIZER
    assert settings.persistence.finalizer != kopf.OperatorSettings().persistence.finalizer
