"""Retirement moves data and is confirmed; targets and reports are correct."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from distributed import Client, Scheduler, Worker, wait
from distributed.core import Status

from daskjob.agent import Agent, at_risk, retire
from daskjob.core.desired.agent import AgentGroup, groups_json
from tests.agent.conftest import TOKEN, Cluster, Start, agent_answers
from tests.waiting import wait_until


def one(*_: Any) -> int:
    return 1


def slow(path: str, *_: Any) -> int:
    while not Path(path).exists():
        time.sleep(0.01)
    return 1


def began(path: str) -> Path:
    """Return the file that exists once a worker is stuck."""
    return Path(f"{path}.began")


class Stuck:
    """A value that cannot leave its worker: pickling it blocks until the file exists."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self) -> Any:
        began(self.path).touch()
        slow(self.path)
        return Stuck, (self.path,)


def status(cluster: Cluster, name: str) -> str:
    found: str = cluster.rows()[name]["status"]
    return found


def test_retire_moves_3_unique_values_and_confirms_the_address(cluster: Cluster) -> None:
    cluster.add_workers("a", "b")
    client = cluster.client()
    futures = [client.submit(one, i, workers=["a"], key=f"one-{i}") for i in range(3)]
    wait(futures)
    retiring, staying = cluster.addresses("a", "b")
    code, answer = cluster.ask(
        "retire", {"workers": [retiring, "tcp://127.0.0.1:1"], "timeout": 15}
    )
    assert (code, answer) == (
        200,
        {"retired": [retiring], "remaining": [], "unknown": ["tcp://127.0.0.1:1"]},
    )
    assert all(staying in holders for holders in client.who_has(futures).values())
    # It was neither closed nor removed, it takes no work, and its end loses nothing.
    assert status(cluster, "a") == "closing_gracefully"
    assert cluster.workers["a"].child.poll() is None
    done = cluster.tasks()["done"]
    cluster.workers.pop("a").end(signal.SIGKILL)
    wait_until(lambda: len(cluster.rows()) == 1, shows="the worker is removed")
    assert cluster.tasks()["done"] == done
    assert cluster.report()["workers"]["lost"] == 0


def test_2_workers_that_share_a_value_are_confirmed_only_when_a_third_holds_it(
    cluster: Cluster,
) -> None:
    cluster.add_workers("a", "b", "c")
    client = cluster.client()
    future = client.submit(one, 1, workers=["a"], key="one-shared")
    wait(future)
    two = cluster.addresses("a", "b")
    client.replicate([future], workers=two)
    code, answer = cluster.ask("retire", {"workers": two, "timeout": 20})
    assert (code, sorted(answer["retired"])) == (200, sorted(two))
    (holders,) = client.who_has([future]).values()
    assert cluster.addresses("c")[0] in holders


def test_2_workers_that_share_a_value_which_cannot_move_are_not_both_retired(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.add_workers("a", "b", "c", arguments=("--no-nanny", "--nthreads=2"))
    client = cluster.client()
    gate = tmp_path / "gate"
    gate.touch()
    future = client.submit(Stuck, str(gate), workers=["a"], key="stuck-shared")
    wait(future)
    two = cluster.addresses("a", "b")
    client.replicate([future], workers=two)
    wait_until(lambda: len(client.who_has([future])["stuck-shared"]) == 2, shows="both hold it")
    gate.unlink()
    # distributed's policy accepts two replicas, though both would be gone. One of them may be
    # dropped meanwhile as superfluous, and its worker retired.
    code, answer = cluster.ask("retire", {"workers": two, "timeout": 1})
    (holders,) = client.who_has([future]).values()
    assert code == 200
    assert set(holders) & set(answer["remaining"])
    gate.touch()


def test_the_only_worker_with_data_remains_and_keeps_working(cluster: Cluster) -> None:
    cluster.add_workers("a")
    client = cluster.client()
    future = client.submit(one, 1)
    wait(future)
    addresses = cluster.addresses("a")
    code, answer = cluster.ask("retire", {"workers": addresses, "timeout": 5})
    assert (code, answer) == (200, {"retired": [], "remaining": addresses, "unknown": []})
    assert client.submit(one, 2).result(timeout=20) == 1
    assert status(cluster, "a") == "running"


def test_a_worker_not_empty_after_1_second_resumes_work(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_workers("a", "b", arguments=("--no-nanny", "--nthreads=2"))
    client = cluster.client()
    gate = str(tmp_path / "gate")
    future = client.submit(Stuck, gate, workers=["a"], key="stuck")
    wait(future)
    addresses = cluster.addresses("a")
    code, answer = cluster.ask("retire", {"workers": addresses, "timeout": 1})
    assert (code, answer) == (200, {"retired": [], "remaining": addresses, "unknown": []})
    assert status(cluster, "a") == "running"
    assert client.run_on_scheduler(_policies) == 0
    Path(gate).touch()
    again = client.submit(one, 1, workers=["a"], key="one-again")
    assert again.result(timeout=20) == 1
    wait_until(lambda: status(cluster, "a") == "running", shows="it stays running")


@pytest.mark.parametrize("requests", [1, 2])
def test_a_worker_confirmed_but_not_stopped_resumes_work_and_others_can_retire(
    requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller may have died meanwhile."""
    monkeypatch.setattr("daskjob.agent.CONFIRMED_SECONDS", 3.0)
    asyncio.run(_confirmed_and_forgotten(requests))


async def _confirmed_and_forgotten(requests: int) -> None:
    local: dict[str, Any] = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    async with (
        Scheduler(port=0, **local) as scheduler,
        Worker(scheduler.address, name="a", nthreads=1, **local),
        Worker(scheduler.address, name="b", nthreads=1, **local),
        Client(scheduler.address, asynchronous=True) as client,
    ):
        agent = Agent(scheduler, [])
        scheduler.add_plugin(agent)
        a, b = (scheduler.aliases[name] for name in "ab")
        for _ in range(requests):
            # A repeated request starts the full time again.
            assert (await retire(agent, [a], 5))["retired"] == [a]
            await asyncio.sleep(1.6)
            assert scheduler.workers[a].status == Status.closing_gracefully
        assert (await retire(agent, [b], 0.05))["retired"] == []
        async with asyncio.timeout(20):
            while scheduler.workers[a].status != Status.running:
                await asyncio.sleep(0.05)
        assert await client.submit(one, workers=[a]) == 1
        assert (await retire(agent, [b], 5))["retired"] == [b]
        # No timer is left for stopped workers.
        await scheduler.remove_worker(b, stimulus_id="stopped")
        assert not agent.holds


def _policies(dask_scheduler: Any) -> int:
    return sum("RetireWorker" in repr(p) for p in dask_scheduler.extensions["amm"].policies)


def test_a_retirement_is_cancelled_when_its_caller_disconnects(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.add_workers("a", "b", arguments=("--no-nanny", "--nthreads=2"))
    client = cluster.client()
    gate = tmp_path / "gate"
    future = client.submit(Stuck, str(gate), workers=["a"], key="stuck")
    wait(future)
    body = json.dumps({"workers": cluster.addresses("a"), "timeout": 60}).encode()
    head = (
        f"POST /daskjob/v1/retire HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", cluster.port)) as connection:
        connection.sendall(head.encode() + body)
        wait_until(lambda: status(cluster, "a") == "closing_gracefully", shows="it began")
        # The worker echoes its new status. If the echo came after the call back, only its next
        # message would correct it, and a stuck worker sends none.
        wait_until(began(str(gate)).exists, shows="its value is being moved")
        assert status(cluster, "a") == "closing_gracefully"
    wait_until(lambda: status(cluster, "a") == "running", shows="the worker is called back")
    gate.touch()


def test_a_second_request_for_0_seconds_does_not_call_back_workers_of_the_first(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.add_workers("a", "b", arguments=("--no-nanny", "--nthreads=2"))
    client = cluster.client()
    gate = tmp_path / "gate"
    future = client.submit(Stuck, str(gate), workers=["a"], key="stuck")
    wait(future)
    addresses = cluster.addresses("a")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cluster.ask, "retire", {"workers": addresses, "timeout": 15})
        wait_until(lambda: status(cluster, "a") == "closing_gracefully", shows="the first began")
        second = cluster.ask("retire", {"workers": addresses, "timeout": 0})
        assert second == (200, {"retired": [], "remaining": addresses, "unknown": []})
        assert status(cluster, "a") == "closing_gracefully"
        gate.touch()
        assert first.result()[1]["retired"] == addresses


def test_no_worker_is_retired_while_one_confirmed_before_is_still_there(
    cluster: Cluster,
) -> None:
    """Data moved from the first to the second would be on two retiring workers and no other.

    The scheduler would count one replica too many, and might drop the second's.
    """
    cluster.add_workers("a", "b", "c")
    client = cluster.client()
    futures = [client.submit(one, i, workers=["a"], key=f"one-{i}") for i in range(3)]
    wait(futures)
    first, second = cluster.addresses("a", "b")
    assert cluster.ask("retire", {"workers": [first], "timeout": 15})[1]["retired"] == [first]
    code, answer = cluster.ask("retire", {"workers": [second], "timeout": 1})
    assert (code, answer) == (200, {"retired": [], "remaining": [second], "unknown": []})
    assert status(cluster, "b") == "running"
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(cluster.ask, "retire", {"workers": [second], "timeout": 30})
        time.sleep(0.5)
        assert not waiting.done()
        cluster.workers.pop("a").end(signal.SIGKILL)
        assert waiting.result()[1]["retired"] == [second]
    done = cluster.tasks()["done"]
    cluster.workers.pop("b").end(signal.SIGKILL)
    wait_until(lambda: len(cluster.rows()) == 1, shows="the worker is removed")
    assert cluster.tasks()["done"] == done


def test_the_target_of_one_plain_group_is_the_schedulers_own(start: Start) -> None:
    cluster = agent_answers(start(groups=(AgentGroup("default", "x-default-worker-", 2),)))
    client = cluster.client()
    futures = client.map(one, range(500))
    cluster.settled(total=500)
    own = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.adaptive_target())
    assert cluster.state()["target"] == {"default": own}
    assert own > 1
    del futures


def test_6_tasks_that_need_a_gpu_ask_for_6_gpu_workers_and_plain_ones_for_the_default_group(
    start: Start,
) -> None:
    groups = (
        AgentGroup("default", "x-default-worker-", 4),
        AgentGroup("gpu", "x-gpu-worker-", 4, {"GPU": 1}),
    )
    config = {
        "DASK_DISTRIBUTED__SCHEDULER__DEFAULT_TASK_DURATIONS": "{'long': '60s', 'plain': '60s'}"
    }
    cluster = agent_answers(start(groups=groups, more=config))
    client = cluster.client()
    assert cluster.state()["target"] == {"default": 0, "gpu": 0}
    gpu = [client.submit(one, i, resources={"GPU": 1}, key=f"long-{i}") for i in range(6)]
    cluster.settled(total=6)
    # One GPU per worker, so one task at a time each, whatever the threads.
    assert cluster.state()["target"] == {"default": 0, "gpu": 6}
    plain = [client.submit(one, i, key=f"plain-{i}") for i in range(8)]
    cluster.settled(total=14)
    assert cluster.state()["target"] == {"default": 2, "gpu": 6}
    # A resource that no group offers counts for the default group, and changes no other target.
    none = client.submit(one, 9, resources={"FPGA": 1}, key="long-none")
    cluster.settled(total=15)
    assert cluster.state()["target"]["gpu"] == 6
    client.cancel([*gpu, *plain, none])
    cluster.settled(total=0)
    assert cluster.state()["target"] == {"default": 0, "gpu": 0}


def test_a_group_added_after_the_scheduler_is_named_in_the_query(start: Start) -> None:
    default = AgentGroup("default", "x-default-worker-", 4)
    late = AgentGroup("späte/gruppe & mehr", "x-gpu-worker-", 4, {"GPU": 1})
    cluster = agent_answers(start(groups=(default,)))
    client = cluster.client()
    futures = [client.submit(one, i, resources={"GPU": 1}) for i in range(6)]
    cluster.settled(total=6)
    query = quote(groups_json([default, late]), safe="")
    status, answer = cluster.ask(f"state?groups={query}")
    assert (status, answer["target"]) == (200, {"default": 0, late.name: 1})
    assert set(cluster.state()["target"]) == {"default"}
    del futures


@pytest.mark.parametrize("groups", ["[", "3", "[3]", '[{"name": "a"}]', "[" * 10_000])
def test_malformed_groups_in_the_query_are_a_400(cluster: Cluster, groups: str) -> None:
    status, answer = cluster.ask(f"state?groups={quote(groups, safe='')}")
    assert (status, answer) == (400, {"error": "groups is not a list of groups"})


def test_2_idle_gpu_workers_are_given_up_while_the_busy_default_worker_stays(
    start: Start, tmp_path: Path
) -> None:
    groups = (
        AgentGroup("default", "d-worker-", 1),
        AgentGroup("gpu", "g-worker-", 1, {"GPU": 1}),
    )
    cluster = agent_answers(start(groups=groups))
    cluster.add_workers("d-worker-1")
    cluster.add_workers("g-worker-1", "g-worker-2", arguments=("--no-nanny", "--resources=GPU=1"))
    client = cluster.client()
    gate = tmp_path / "gate"
    future = client.submit(slow, str(gate), workers=["d-worker-1"])
    cluster.settled(processing=1)
    assert cluster.state()["target"] == {"default": 1, "gpu": 0}
    busy = client.submit(slow, str(gate), 2, resources={"GPU": 1}, key="slow-gpu")
    cluster.settled(processing=2)
    assert cluster.state()["target"] == {"default": 1, "gpu": 1}
    gate.touch()
    wait([future, busy])


def test_groups_that_are_not_json_leave_only_the_target_empty(
    start: Start,
) -> None:
    cluster = agent_answers(start(more={"DASKJOB_AGENT_GROUPS": "[not json"}))
    assert cluster.state()["target"] == {}


def test_a_report_of_60_prefixes_fits_3584_bytes_and_names_the_20_longest(
    cluster: Cluster,
) -> None:
    cluster.add_workers("a", arguments=("--no-nanny", "--nthreads=20"))
    client = cluster.client()
    names = [f"a_rather_long_name_of_a_task_prefix_number_{i:02}" for i in range(60)]
    wait([client.submit(one, i, key=f"{name}-{'0' * 32}") for i, name in enumerate(names)])
    cluster.settled(done=60)
    report = cluster.report()
    assert len(json.dumps(report, separators=(",", ":"))) <= 3584
    assert 5 <= len(report["prefixes"]["rows"]) <= 20
    assert report["tasks"]["done"] == 60
    assert report["peakMemory"]["rows"][0][0] == "a"
    assert report["peakMemory"]["rows"][0][1] > 10_000_000
    assert report["workers"]["peak"] == 1
    assert report["workers"]["overTime"][-1][1] == 1
    code, full = cluster.ask("report?full=1")
    assert code == 200
    assert len(full["prefixes"]["rows"]) == 60


def test_workers_over_time_are_1_2_1(cluster: Cluster) -> None:
    cluster.add_workers("a")
    cluster.add_workers("b")
    cluster.workers.pop("b").end(signal.SIGKILL)
    wait_until(lambda: len(cluster.rows()) == 1, shows="the worker is removed")
    workers = cluster.report()["workers"]
    assert [count for _, count in workers["overTime"]] == [1, 2, 1]
    assert (workers["peak"], workers["now"], workers["seen"], workers["lost"]) == (2, 1, 2, 1)


def test_a_worker_stopped_orderly_by_its_nanny_is_not_lost(cluster: Cluster) -> None:
    cluster.add_workers("a", arguments=("--nanny",))
    cluster.workers.pop("a").end(signal.SIGTERM)
    wait_until(lambda: not cluster.rows(), shows="the worker is removed")
    assert cluster.report()["workers"]["lost"] == 0


@pytest.mark.parametrize(
    ("holders", "expected"),
    [
        ([Status.closing_gracefully], True),
        ([Status.closing_gracefully] * 2, True),
        ([Status.closing_gracefully, Status.closed], True),
        ([Status.closing_gracefully, Status.running], False),
        ([Status.closing_gracefully, Status.paused], False),
    ],
)
def test_a_value_is_at_risk_unless_a_staying_worker_holds_it(
    holders: list[Status], expected: bool
) -> None:
    workers = [SimpleNamespace(status=each) for each in holders]
    workers[0].has_what = [SimpleNamespace(who_has=workers)]
    assert at_risk(workers[0]) is expected


def test_workers_that_are_about_to_be_stopped_are_not_lost_and_the_next_of_their_names_are(
    cluster: Cluster,
) -> None:
    assert cluster.ask("leaving", {"workers": ["late", "early"]})[0] == 200
    # As a nanny that has no time left: killed as soon as the worker has registered.
    for name in ("early", "late"):
        cluster.add_workers(name)
        cluster.workers.pop(name).end(signal.SIGKILL)
        wait_until(lambda: not cluster.rows(), shows="the worker is removed")
    assert cluster.report()["workers"]["lost"] == 0
    assert cluster.ask("leaving", {"workers": []}) == (200, {"leaving": []})
    cluster.add_workers("late")
    cluster.workers.pop("late").end(signal.SIGKILL)
    wait_until(lambda: not cluster.rows(), shows="the worker is removed")
    assert cluster.report()["workers"]["lost"] == 1


@pytest.mark.parametrize("stopped", [["a"], ["a", "b"], ["b", "absent"]])
async def test_end_of_a_stopped_worker_that_is_seen_late_is_no_loss(stopped: list[str]) -> None:
    async with Scheduler(host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0") as scheduler:
        agent = Agent(scheduler, [])
        scheduler.add_plugin(agent)
        workers = [await Worker(scheduler.address, name=name) for name in ("a", "b")]
        agent.see_leaving(stopped)
        agent.see_leaving([])
        for worker in workers:
            await scheduler.remove_worker(worker.address, stimulus_id="handle-worker-cleanup-1")
            await worker.close()
        assert agent.lost == len({"a", "b"} - set(stopped))


@pytest.mark.parametrize("body", [{}, {"workers": "a"}, {"workers": [1]}])
def test_names_of_leaving_workers_are_texts(cluster: Cluster, body: dict[str, Any]) -> None:
    assert cluster.ask("leaving", body)[0] == 400
