"""The end of a process with a KubeCluster: nothing is printed, and nothing stays."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import dask.config
import pytest
from distributed import Client

from daskjob.core.manifests import format_time, parse_time
from daskjob.kubecluster import lease as leases
from daskjob.kubecluster import process_end
from daskjob.kubecluster.errors import ClusterClosed
from tests.kubecluster.conftest import Place
from tests.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:Mismatched versions")

HEAD = """\
import asyncio, json, os, sys, threading, warnings
from daskjob import KubeCluster
warnings.simplefilter("default")
given = json.loads(os.environ["ARGUMENTS"])
"""
#: Programs, with what they print to standard error; `name` is the name of their cluster.
ENDS = {
    "exit": (
        "from distributed import Client\n"
        "warnings.filterwarnings('ignore', message='Mismatched')\n"
        "name = given.pop('name')\n"
        "kept = KubeCluster(f'{name}-kept', shutdown_on_close=False, **given)\n"
        "later = KubeCluster(f'{name}-kept-later', **given)\n"
        "later.shutdown_on_close = False\n"
        "cluster = KubeCluster(name, **given)\n"
        "client = Client(cluster)\n"
        "sys.exit('over')\n",
        "over\n",
    ),
    "closed-loop": (
        # Its connections are not closed: that is the program's mistake.
        "warnings.filterwarnings('ignore', category=ResourceWarning)\n"
        "async def main():\n"
        "    global cluster\n"
        "    cluster = await KubeCluster(asynchronous=True, **given)\n"
        "asyncio.run(main())\n",
        "",
    ),
    "fork": (
        "cluster = KubeCluster(**given)\n"
        "warnings.filterwarnings('ignore', message='.*fork')\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    sys.exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert cluster.status.name == 'running'\n"
        "cluster.scale(0)\n",
        "",
    ),
    "fork-in-with": (
        # Only the process that made it ends it: the other one has no thread for its loop.
        "from daskjob.kubecluster.errors import ClusterClosed\n"
        "warnings.filterwarnings('ignore', message='.*fork')\n"
        "with KubeCluster(**given) as cluster:\n"
        "    child = os.fork()\n"
        "    if child:\n"
        "        assert os.waitpid(child, 0)[1] == 0\n"
        "        cluster.scale(0)\n"
        "if child == 0:\n"
        "    cluster.close()\n"
        "    try:\n"
        "        cluster.scale(1)\n"
        "    except ClusterClosed as error:\n"
        "        assert 'forked' in str(error)\n",
        "",
    ),
}


def program(place: Place, text: str, name: str, **more: Any) -> subprocess.Popen[str]:
    arguments = place.arguments(name, **{"resource_timeout": 60, **more})
    environment = {**os.environ, "ARGUMENTS": json.dumps(arguments)}
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + text],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.check(36)
def test_no_end_prints_anything_or_leaves_a_cluster(place: Place) -> None:
    running = {name: program(place, text, name) for name, (text, _) in ENDS.items()}
    printed = {name: process.communicate(timeout=120) for name, process in running.items()}
    assert printed == {name: ("", err) for name, (_, err) in ENDS.items()}
    clusters = place.kubectl.items("daskclusters")
    place.kubectl("delete", "daskclusters", "--all")
    assert {c["metadata"]["name"] for c in clusters} == {"exit-kept", "exit-kept-later"}
    for cluster in clusters:
        assert leases.DURATION not in cluster["metadata"]["annotations"]


@pytest.mark.check(36)
@pytest.mark.check(12)
def test_a_failed_or_interrupted_start_prints_one_error_and_leaves_nothing(bare: Place) -> None:
    failed = program(bare, "KubeCluster(**given)\n", "failed", resource_timeout=1)
    interrupted = program(bare, "KubeCluster(**given)\n", "interrupted")
    there = "daskcluster.kubernetes.dask.org/interrupted"
    wait_until(lambda: there in bare.kubectl.there("daskclusters"), pause=0.1)
    interrupted.send_signal(signal.SIGINT)
    _, err = interrupted.communicate(timeout=60)
    assert err.count("Traceback") == 1
    assert err.rstrip().endswith("KeyboardInterrupt")
    _, err = failed.communicate(timeout=60)
    assert err.count("Traceback (most recent call last)") == 1, err
    assert "StartTimeout: cluster failed did not start within 1 s: no operator" in err
    assert not bare.kubectl.there("daskclusters")


@pytest.mark.check(36)
@pytest.mark.parametrize("pause", [0.0, 0.002, 0.02])
async def test_a_start_that_is_interrupted_again_leaves_nothing(bare: Place, pause: float) -> None:
    """Ctrl-C cancels the start where it is, and once more to wait for its end."""
    cluster = bare.cluster(f"again-{pause:g}".replace(".", "-"), asynchronous=True)
    start = asyncio.ensure_future(cluster._start())
    await asyncio.to_thread(wait_until, lambda: bare.kubectl.there("daskclusters"), pause=0.1)
    start.cancel()
    steps = cluster._starting._task
    assert steps is not None
    while not steps.done():
        await asyncio.sleep(pause)
        steps.cancel()
    await cluster._ending.abandon()
    assert not bare.kubectl.there("daskclusters")
    assert cluster.status.name == "closed"
    with pytest.raises(asyncio.CancelledError):
        await start


@pytest.mark.check(34)
@pytest.mark.parametrize("moment", ["at once", "a little later", "while it waits"])
async def test_a_close_during_the_start_ends_the_start(bare: Place, moment: str) -> None:
    cluster = bare.cluster(moment.replace(" ", "-"), asynchronous=True)
    start = asyncio.ensure_future(cluster._start())
    await asyncio.sleep(0.05 if moment == "a little later" else 0)
    if moment == "while it waits":
        await asyncio.to_thread(wait_until, lambda: bare.kubectl.there("daskclusters"), pause=0.1)
    await cluster.close()
    with pytest.raises(ClusterClosed, match="is closed"):
        await start
    assert not bare.kubectl.there("daskclusters")


@pytest.mark.check(36)
@pytest.mark.parametrize("count", [1, 3, 6])
def test_all_clusters_of_a_process_share_the_time_of_its_end(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_end, "SECONDS", 0.2)
    monkeypatch.setattr(process_end, "LEAST_SECONDS", 0.01)
    asked: list[float] = []

    class Hanging:
        process = os.getpid()

        def in_own_loop(self, seconds: float) -> bool:
            asked.append(seconds)
            time.sleep(seconds)
            raise TimeoutError

        async def elsewhere(self) -> None:
            await asyncio.Event().wait()

    began = time.monotonic()
    process_end._end([Hanging() for _ in range(count)])
    assert time.monotonic() - began >= 0.2
    assert sum(asked) < 0.2 + count * 0.01 + 0.001


@pytest.mark.check(38)
def test_shutdown_by_a_client_ends_the_cluster_too(place: Place) -> None:
    cluster = place.cluster("ended")
    other = place.cluster("ended-by-address")
    Client(cluster).shutdown()
    assert cluster.status.name == "closed"
    Client(other.scheduler_address).shutdown()
    wait_until(lambda: other.status.name == "closed", pause=0.1)
    assert not place.kubectl.there("daskclusters")


@pytest.mark.check(37)
def test_the_cluster_of_a_killed_program_is_deleted_with_an_event(place: Place) -> None:
    text = (
        "import dask, signal\n"
        "dask.config.set({'kubernetes.lease-duration-seconds': 5})\n"
        "KubeCluster(**given).wait_for_workers(1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = program(place, text, "killed", n_workers=1)
    assert process.communicate(timeout=120) == ("", "")
    # A client that works with it keeps it.
    with place.cluster("killed") as cluster:
        assert cluster.shutdown_on_close is False
        wait_until(lambda: leases.RENEWED in notes_of(place), pause=0.1)
        renewed = parse_time(notes_of(place)[leases.RENEWED])
        assert renewed is not None
        later = format_time(renewed + timedelta(seconds=6)) or ""
        wait_until(lambda: notes_of(place)[leases.RENEWED] > later, pause=0.2)
        assert leases.DURATION in notes_of(place)
    kinds = ("daskclusters", "daskworkergroups", "services", "pods")
    wait_until(lambda: "killed" not in str(place.kubectl.there(*kinds)), 90, pause=0.3)
    found = [e for e in place.kubectl.items("events") if e["reason"] == "LeaseExpired"]
    assert [e["involvedObject"]["name"] for e in found] == ["killed"]


@pytest.mark.check(37)
def test_a_lease_is_renewed_by_the_servers_clock(place: Place) -> None:
    with (
        dask.config.set({"kubernetes.lease-duration-seconds": 9}),
        place.cluster("leased") as cluster,
    ):
        first = notes_of(place)
        assert first[leases.DURATION] == "9"
        wait_until(lambda: leases.RENEWED in notes_of(place), pause=0.1)
        renewed = notes_of(place)[leases.RENEWED]
        assert renewed.endswith("Z")
        wait_until(lambda: notes_of(place)[leases.RENEWED] > renewed, pause=0.1)
        cluster.shutdown_on_close = False
    assert leases.DURATION not in notes_of(place)
    assert leases.RENEWED not in notes_of(place)
    place.kubectl("delete", "daskcluster", "leased")


def notes_of(place: Place) -> dict[str, str]:
    (found,) = place.kubectl.items("daskclusters")
    return dict(found["metadata"]["annotations"])


@pytest.mark.check(37)
@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(hours=-3), timedelta(minutes=7)])
async def test_a_wrong_clock_here_does_not_matter(ahead: timedelta) -> None:
    server = datetime(2026, 1, 1, 12, tzinfo=UTC)
    bodies: list[Any] = []

    class Recorder:
        async def patch(self, _: object, body: Any, **__: object) -> bytes:
            bodies.append(body)
            return b"{}"

    made = {"metadata": {"creationTimestamp": format_time(server)}}
    lease = leases.Lease(Recorder(), made, None, 300, now=lambda: server + ahead)  # type: ignore[arg-type]
    await lease.renew()
    assert bodies[0]["metadata"]["annotations"] == {leases.RENEWED: format_time(server)}


@pytest.mark.check(37)
@pytest.mark.parametrize("jump", [timedelta(hours=-3), timedelta(days=400), timedelta(minutes=-6)])
def test_a_clock_that_is_set_moves_no_lease(
    jump: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Jumped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + jump

    before = leases._now()
    monkeypatch.setattr(leases, "datetime", Jumped)
    assert timedelta(0) <= leases._now() - before < timedelta(minutes=1)


@pytest.mark.check(37)
@pytest.mark.parametrize("slept", [timedelta(0), timedelta(seconds=40), timedelta(minutes=4)])
async def test_a_machine_that_slept_renews_by_the_answers_time(slept: timedelta) -> None:
    server = datetime(2026, 1, 1, 12, tzinfo=UTC)
    written: list[str] = []

    class Server:
        async def patch(self, _: object, body: Any, **__: object) -> bytes:
            written.append(body["metadata"]["annotations"][leases.RENEWED])
            fields = [{"time": format_time(server + slept)}, {"time": format_time(server)}]
            return json.dumps({"metadata": {"managedFields": fields}}).encode()

    made = {"metadata": {"creationTimestamp": format_time(server)}}
    lease = leases.Lease(Server(), made, None, 300, now=lambda: server)  # type: ignore[arg-type]
    await lease.renew()
    await lease.renew()
    times = [format_time(server), *[format_time(server + slept)] * 2]
    assert written == (times if slept else times[:2])
