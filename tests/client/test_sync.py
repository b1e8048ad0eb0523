"""The blocking form: what is raised in the caller ends the call; forks; event loops."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import pytest

from daskjob.core.errors import NotFound
from daskjob.core.manifests import Manifest
from daskjob.submit import sync
from daskjob.submit.client.async_client import AsyncJobClient
from daskjob.submit.client.sync_client import JobClient
from daskjob.submit.jobs import JobRef
from tests.client.given import job
from tests.cluster.plugin import Kubernetes
from tests.waiting import wait_until


class Endless:
    """A coroutine that never ends, and records how it was ended."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended_by: list[str] = []

    async def __call__(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            self.ended_by.append(type(error).__name__)
            raise


class Alarm(BaseException):
    """Raised by a signal handler."""


@contextmanager
def handler(number: int, error: BaseException) -> Iterator[None]:
    def handle(_number: int, _frame: FrameType | None) -> NoReturn:
        raise error

    before = signal.signal(number, handle)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (signal.SIGINT, KeyboardInterrupt()),
        (signal.SIGALRM, Alarm()),
        (signal.SIGTERM, SystemExit(3)),
    ],
)
def test_what_a_signal_handler_raises_ends_the_call(
    number: signal.Signals, error: BaseException
) -> None:
    endless = Endless()

    def interrupt() -> None:
        endless.began.wait(10)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt).start()
    with handler(number, error), pytest.raises(type(error)):
        sync.run(endless, name="JobClient.wait")
    # Already: the call returned after its coroutine.
    assert endless.ended_by == ["CancelledError"]


def test_the_thread_serves_other_calls_meanwhile() -> None:
    endless = Endless()
    thread = threading.Thread(target=_interrupted, args=(endless,))
    thread.start()
    endless.began.wait()

    async def answer() -> int:
        return 42

    assert sync.run(answer, name="x") == 42
    sync.bridge().call(_cancel_all)
    thread.join(5)
    assert endless.ended_by == ["CancelledError"]


def _interrupted(endless: Endless) -> None:
    with pytest.raises(asyncio.CancelledError):
        sync.run(endless, name="x")


async def _cancel_all() -> None:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


@pytest.mark.parametrize("method", ["wait", "get", "logs"])
def test_a_call_inside_a_running_loop_names_the_asynchronous_form(method: str) -> None:
    client = JobClient("team", kubeconfig="/nowhere")

    async def inside() -> None:
        getattr(client, method)(JobRef("sums", "team", "uid"))

    with pytest.raises(sync.WouldBlock, match=rf"AsyncJobClient\.{method}"):
        asyncio.run(inside())


async def _numbers(closed: list[bool]) -> AsyncGenerator[int, None]:
    try:
        for number in range(1_000_000):
            yield number
    finally:
        closed.append(True)


@pytest.mark.parametrize("end", ["close", "error", "collected"])
def test_an_iterator_is_closed_however_it_ends(end: str) -> None:
    closed: list[bool] = []
    numbers = sync.iterate(lambda: _numbers(closed), name="JobClient.logs")
    assert [next(numbers), next(numbers)] == [0, 1]
    if end == "close":
        numbers.close()  # type: ignore[attr-defined]
    elif end == "error":
        with pytest.raises(Alarm):
            numbers.throw(Alarm())  # type: ignore[attr-defined]
    del numbers
    gc.collect()
    assert wait_until(lambda: closed, 5) == [True]


# On a cluster


def client_of(kubernetes: Kubernetes, namespace: str) -> JobClient:
    return JobClient(namespace, kubeconfig=str(kubernetes.kubeconfig))


def in_child(run: Callable[[], object]) -> int:
    """Run a function in a forked process, and return its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the child hangs")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_client_is_of_use_in_a_child_that_was_forked_after_its_use(
    with_crds: Kubernetes, namespace: str
) -> None:
    with client_of(with_crds, namespace) as client:
        ref = client.submit(job())
        assert in_child(lambda: client.get(ref)) == 0
        assert in_child(lambda: in_child(lambda: client.cancel(ref))) == 0
        # The parent's connection still works.
        assert client.get(ref).manifest["spec"]["cancel"]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_while_another_thread_waits_is_no_hang(
    with_crds: Kubernetes, namespace: str
) -> None:
    with client_of(with_crds, namespace) as client:
        ref = client.submit(job())
        waiting = threading.Thread(target=_until_deleted, args=(client, ref))
        waiting.start()
        for _ in range(3):
            assert in_child(lambda: client.get(ref)) == 0
        client.delete(ref, force=True)
        waiting.join(30)
        assert not waiting.is_alive()


def _until_deleted(client: JobClient, ref: JobRef) -> None:
    with pytest.raises(NotFound):
        client.wait(ref)


def test_a_call_that_is_interrupted_leaves_no_request_behind(
    with_crds: Kubernetes, namespace: str
) -> None:
    with client_of(with_crds, namespace) as client:
        ref = client.submit(job())
        for _ in range(3):
            with handler(signal.SIGALRM, Alarm()):
                signal.setitimer(signal.ITIMER_REAL, 0.2)
                with pytest.raises(Alarm):
                    client.wait(ref)
        assert client.cancel(ref)
        assert client.get(ref).manifest["spec"]["cancel"]


def test_an_asynchronous_client_is_of_use_in_one_loop_after_the_other_and_in_two_at_once(
    with_crds: Kubernetes, namespace: str
) -> None:
    client = AsyncJobClient(namespace, kubeconfig=str(with_crds.kubeconfig))
    names: list[str] = []

    async def submit(name: str) -> None:
        names.append((await client.submit(job(name))).name)
        await client.close()

    asyncio.run(submit("first"))
    asyncio.run(submit("second"))
    threads = [
        threading.Thread(target=lambda name=name: asyncio.run(submit(name)))
        for name in ("third", "fourth")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(names) == ["first", "fourth", "second", "third"]


PROGRAM = """
import sys, daskjob
assert not {"aiohttp", "asyncio", "msgspec"} & set(sys.modules), "the import is heavy"
client = daskjob.JobClient(sys.argv[1], kubeconfig=sys.argv[2])
ref = client.submit(%r)
for job in client.watch(ref):
    break
logs = client.logs(ref, follow=True)
print(client.get(ref).name)
"""


def test_a_program_that_closes_nothing_ends_without_a_word(
    with_crds: Kubernetes, namespace: str
) -> None:
    manifest: Manifest = job()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM % manifest, namespace, str(with_crds.kubeconfig)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("sums\n", "", 0)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    import daskjob

    assert daskjob.JobClient is JobClient
    assert daskjob.errors.NotFound is NotFound
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        daskjob.Nothing  # noqa: B018


WITHOUT_EXTRA = """
import sys
sys.modules["aiohttp"] = sys.modules["msgspec"] = None
from daskjob import JobClient
assert JobClient.local().place.name == "this machine"
try:
    JobClient()
except ImportError as error:
    print(error)
"""


def test_without_the_packages_for_clusters_the_local_form_works(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRA],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "DASKJOB_STATE_DIR": str(tmp_path)},
    )
    assert "pip install 'daskjob[kubernetes]'" in done.stdout
