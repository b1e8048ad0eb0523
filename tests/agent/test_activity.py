"""What the agent reports for people: running tasks, what they wait for, and lost workers."""

from __future__ import annotations

import os
import signal
import threading
import time

from distributed import Lock, fire_and_forget, wait

from daskjob.core.dask import Activity, dask_state
from tests.agent.conftest import Cluster
from tests.waiting import wait_until


def activity(cluster: Cluster) -> Activity:
    return dask_state(cluster.state()).activity


def hang(n: int) -> int:
    threading.Event().wait()
    return n


def take(name: str) -> None:
    Lock(name).acquire()
    threading.Event().wait()


def die(n: int) -> None:
    del n
    time.sleep(0.7)
    os.kill(os.getpid(), signal.SIGSEGV)


def test_two_tasks_and_one_lock_are_named_with_their_workers_and_the_lock(cluster: Cluster) -> None:
    cluster.add_workers("a", "b")
    client = cluster.client()
    before = time.time()
    futures = client.map(take, ["the-lock"] * 2, pure=False)

    def is_quiet() -> bool:
        found = activity(cluster)
        return found.quiet_since is not None and len(found.running) == 2

    wait_until(is_quiet, shows="nothing moves")
    found = activity(cluster)
    assert {(task.name, task.worker) for task in found.running} == {("take", "a"), ("take", "b")}
    assert all(task.since and before - 1 < task.since.timestamp() for task in found.running)
    assert found.quiet_since is not None
    assert found.quiet_since.timestamp() > before - 1
    wait_until(lambda: activity(cluster).locks == ("the-lock",), shows="the lock is known")
    del futures


def test_a_resource_that_nobody_offers_and_one_of_which_there_is_too_little(
    cluster: Cluster,
) -> None:
    cluster.add_workers("a", arguments=("--no-nanny", "--resources=DISK=1"))
    client = cluster.client()
    assert activity(cluster).stuck is None
    futures = [
        client.submit(hang, 1, resources={"GPU": 1}),
        client.submit(hang, 2, resources={"DISK": 4}),
        client.submit(abs, -3, workers="tcp://127.0.0.1:1"),
    ]

    def resources() -> list[tuple[str, float, float]]:
        stuck = activity(cluster).stuck
        found = stuck.resources if stuck and stuck.since else ()
        return [(resource.name, resource.amount, resource.offered) for resource in found]

    expected = [("DISK", 4.0, 1.0), ("GPU", 1.0, 0.0)]
    wait_until(lambda: resources() == expected, shows="the resources are named")
    stuck = activity(cluster).stuck
    assert stuck is not None
    assert set(stuck.names) == {"hang", "abs"}
    assert stuck.workers == ("tcp://127.0.0.1:1",)
    client.cancel(futures)
    wait_until(lambda: activity(cluster).stuck is None, shows="nothing is stuck")


def test_a_lost_worker_is_reported_with_the_task_that_it_ran(cluster: Cluster) -> None:
    cluster.add_workers("a", "b", arguments=("--no-nanny", "--death-timeout=30"))
    client = cluster.client()
    future = client.submit(die, 1, workers=["a"])
    wait_until(lambda: bool(activity(cluster).losses), shows="the loss is known")
    [loss] = activity(cluster).losses
    assert (loss.worker, loss.tasks, loss.memory_limit) == ("a", ("die",), 10**9)
    assert loss.memory > 10**6
    report = cluster.report()
    assert report["workers"]["losses"][0][:1] == ["a"]
    assert report["workers"]["lost"] == 1
    del future


def test_what_a_script_drops_is_counted_and_what_it_leaves_stays_in_the_total(
    cluster: Cluster,
) -> None:
    cluster.add_workers("a")
    assert cluster.report()["clients"] == 0
    client = cluster.client()
    assert cluster.report()["clients"] == 1
    wait(client.submit(abs, -1))
    dropped = client.map(hang, range(5))
    cluster.settled(total=6, done=1)
    del dropped
    cluster.settled(total=1, done=1, dropped=5)
    left = client.map(hang, range(10, 13))
    fire_and_forget(left)
    del left
    cluster.settled(total=4, done=1, dropped=5)
