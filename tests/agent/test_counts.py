"""The agent's counts are exact, whatever happens to the tasks."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, wait

from tests.agent.conftest import Cluster
from tests.waiting import wait_until

MANY = 20_000


def fail(x: int) -> float:
    return x / 0


def one(*_: Any) -> int:
    return 1


def wait_for_file(path: str) -> int:
    while not Path(path).exists():
        time.sleep(0.01)
    return 1


def states(dask_scheduler: Any) -> dict[str, int]:
    """Count the scheduler's tasks by state, by walking all of them, without data."""
    found: dict[str, int] = {}
    for ts in dask_scheduler.tasks.values():
        if ts.run_spec is not None:
            found[ts.state] = found.get(ts.state, 0) + 1
    return found


def truth(client: Client) -> dict[str, int]:
    found: dict[str, int] = client.run_on_scheduler(states)
    return found


def test_20000_tasks_are_counted_while_queued_and_leave_the_total_when_released(
    cluster: Cluster,
) -> None:
    client = cluster.client()
    keys = [("one-x", i) for i in range(MANY)]
    futures = client.get(dict.fromkeys(keys, (one, 1)), keys, sync=False)
    counted = cluster.settled(total=MANY)
    assert counted["queued"] + counted["noWorker"] == MANY
    assert counted["done"] == counted["erred"] == counted["processing"] == 0
    assert sum(truth(client).values()) == MANY
    del futures
    cluster.settled(total=0, queued=0, noWorker=0)
    assert truth(client) == {}


def test_2001_tasks_that_fail_with_their_common_input_are_all_erred(cluster: Cluster) -> None:
    cluster.add_workers("a")
    client = cluster.client()
    keys = [("one-x", i) for i in range(2000)]
    graph: dict[Any, Any] = dict.fromkeys(keys, (one, "fail-x"))
    graph["fail-x"] = (fail, 1)
    futures = client.get(graph, keys, sync=False)
    assert cluster.settled(erred=2001)["total"] == 2001
    del futures
    wait_until(lambda: not truth(client), shows="every task is forgotten")
    assert cluster.settled(erred=2001)["total"] == 2001


def test_2000_done_tasks_stay_done_when_they_are_released_and_forgotten(cluster: Cluster) -> None:
    cluster.add_workers("a", arguments=("--no-nanny", "--nthreads=50"))
    client = cluster.client()
    graph: dict[Any, Any] = {("one-x", i): (one, i) for i in range(1999)}
    graph["sum-x"] = (sum, list(graph))
    future = client.get(graph, "sum-x", sync=False)
    assert future.result() == 1999
    assert cluster.settled(done=2000)["total"] == 2000
    # All but the last are released already: only the counts still have them as done.
    assert truth(client).get("memory") == 1
    del future
    wait_until(lambda: not truth(client), shows="every task is forgotten")
    tasks = cluster.tasks()
    assert (tasks["total"], tasks["done"]) == (2000, 2000)
    rows = {row[0]: row for row in cluster.report()["prefixes"]["rows"]}
    assert rows["one-x"][1] == 1999
    assert rows["sum-x"][1] == 1


def test_20_results_on_a_killed_worker_are_not_done_until_computed_again(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.add_workers("a")
    client = cluster.client()
    gate = tmp_path / "gate"
    gate.touch()
    futures = [client.submit(wait_for_file, str(gate), key=f"gated-{i}") for i in range(20)]
    wait(futures)
    assert cluster.settled(done=20)["total"] == 20
    gate.unlink()
    cluster.workers.pop("a").end(signal.SIGKILL)
    lost = cluster.settled(done=0)
    assert lost["total"] == 20
    assert lost["queued"] + lost["noWorker"] + lost["waiting"] == 20
    cluster.add_workers("b")
    wait_until(lambda: cluster.tasks()["processing"], shows="they are computed again")
    assert cluster.tasks()["done"] == 0
    gate.touch()
    wait(futures)
    assert cluster.settled(done=20)["total"] == 20
    assert cluster.report()["workers"]["lost"] == 1


def test_7_results_lost_and_no_longer_wanted_count_as_done(cluster: Cluster) -> None:
    cluster.add_workers("a")
    client = cluster.client()
    futures = client.map(one, range(7))
    wait(futures)
    cluster.settled(done=7)
    cluster.workers.pop("a").end(signal.SIGKILL)
    cluster.settled(done=0, total=7)
    client.cancel(futures)
    cluster.settled(done=7, total=7)


def test_4_of_10_cancelled_tasks_leave_the_total_and_6_done_stay(cluster: Cluster) -> None:
    cluster.add_workers("a")
    client = cluster.client()
    done = client.map(one, range(6))
    wait(done)
    never = [
        client.submit(one, i, resources={"nowhere": 1}, key=f"never-{i}", pure=False)
        for i in range(4)
    ]
    assert cluster.settled(noWorker=4)["total"] == 10
    client.cancel(never)
    assert cluster.settled(total=6)["noWorker"] == 0
    assert cluster.tasks()["done"] == 6


def test_3_erred_tasks_with_3_dependents_are_6_erred_until_tried_again(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.add_workers("a")
    client = cluster.client()
    there = str(tmp_path / "there")
    first = client.map(_read, [there] * 3, pure=False)
    second = client.map(one, first)
    wait(second)
    assert cluster.settled(erred=6)["total"] == 6
    Path(there).touch()
    client.retry(second)
    assert client.gather(second) == [1, 1, 1]
    assert cluster.settled(erred=0)["done"] == 6


def _read(path: str) -> str:
    return Path(path).read_text()


def test_5_erred_tasks_stay_erred_when_forgotten(cluster: Cluster) -> None:
    cluster.add_workers("a")
    client = cluster.client()
    futures = client.map(fail, range(5))
    wait(futures)
    del futures
    wait_until(lambda: not truth(client), shows="they are forgotten")
    tasks = cluster.tasks()
    assert (tasks["total"], tasks["erred"], tasks["done"]) == (5, 5, 0)


def test_8_scattered_values_are_not_counted_but_2_tasks_that_use_them_are(cluster: Cluster) -> None:
    cluster.add_workers("a")
    client = cluster.client()
    data = client.scatter(list(range(8)))
    assert cluster.tasks()["total"] == 0
    results = [client.submit(one, data[0]), client.submit(one, data[1])]
    wait(results)
    assert cluster.settled(done=2)["total"] == 2
    del data
    wait_until(lambda: len(_all_keys(client)) <= 4, shows="unused values are forgotten")
    tasks = cluster.tasks()
    assert (tasks["total"], tasks["done"]) == (2, 2)
    assert [row[0] for row in cluster.report()["prefixes"]["rows"]] == ["one"]


def _all_keys(client: Client) -> list[Any]:
    keys: list[Any] = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks))
    return keys


def test_a_scattered_value_lost_with_its_worker_changes_no_count(cluster: Cluster) -> None:
    cluster.add_workers("a", "b")
    client = cluster.client()
    future = client.submit(one, 1, workers=["b"], key="one-b")
    wait(future)
    client.scatter([1], workers=["a"])
    cluster.workers.pop("a").end(signal.SIGKILL)
    wait_until(lambda: len(cluster.rows()) == 1, shows="the worker is removed")
    tasks = cluster.tasks()
    assert (tasks["total"], tasks["done"]) == (1, 1)


def test_restart_keeps_9_done_tasks_and_drops_4_that_never_ran(cluster: Cluster) -> None:
    cluster.add_workers("a", arguments=("--nanny",))
    client = cluster.client()
    done = client.map(one, range(9))
    wait(done)
    waiting = [client.submit(one, -i, resources={"nowhere": 1}, pure=False) for i in range(4)]
    cluster.settled(total=13, noWorker=4)
    client.restart(timeout=20)
    del waiting
    tasks = cluster.settled(total=9)
    assert (tasks["done"], tasks["noWorker"]) == (9, 0)
    wait(client.map(one, range(100, 103)))
    assert cluster.settled(done=12)["total"] == 12
    assert cluster.report()["prefixes"]["rows"][0][:2] == ["one", 12]
    assert [row[0] for row in cluster.report()["peakMemory"]["rows"]] == ["a"]


def test_tasks_before_each_of_several_restarts_are_in_the_rows(cluster: Cluster) -> None:
    cluster.add_workers("a", arguments=("--nanny",))
    client = cluster.client()
    for function, count in ((one, 5), (abs, 3), (one, 4)):
        wait(client.map(function, range(count)))
        # Sooner than the next sample of the prefixes.
        client.restart(timeout=20)
    report = cluster.report()
    assert report["tasks"]["done"] == 12
    assert {row[0]: row[1] for row in report["prefixes"]["rows"]} == {"one": 9, "abs": 3}


@pytest.mark.parametrize("closing", ["client", "worker"])
def test_a_lost_actor_is_counted_once_as_erred_and_the_total_stays_1(
    cluster: Cluster, closing: str
) -> None:
    cluster.add_workers("a", "b")
    client = cluster.client()
    actor = client.submit(list, actor=True, workers=["a"], key="list-a")
    wait(actor)
    assert cluster.settled(done=1)["total"] == 1
    if closing == "worker":
        cluster.workers.pop("a").end(signal.SIGKILL)
        assert cluster.settled(erred=1)["total"] == 1
        assert cluster.tasks()["done"] == 0
    else:
        del actor
        wait_until(lambda: not truth(client), shows="it is forgotten")
        assert cluster.tasks()["done"] == 1


def test_idle_since_is_null_while_a_task_runs_and_the_last_transition_after(
    cluster: Cluster, tmp_path: Path
) -> None:
    started = cluster.state()
    assert started["idleSince"] == started["startedAt"]
    assert started["lastTransition"] is None
    cluster.add_workers("a")
    client = cluster.client()
    gate = tmp_path / "gate"
    future = client.submit(wait_for_file, str(gate))
    cluster.settled(processing=1)
    assert cluster.state()["idleSince"] is None
    assert cluster.state()["clients"] == 1
    gate.touch()
    wait(future)
    cluster.settled(done=1)
    state = cluster.state()
    assert state["idleSince"] == state["lastTransition"] > state["startedAt"]
