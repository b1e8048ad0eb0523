"""The agent holds back the first client of a scheduler until the expected workers are there."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from distributed import Client

from daskjob.core.desired.agent import EXPECTED_VARIABLE
from tests.agent.conftest import SOURCE, Cluster, Start, agent_answers
from tests.waiting import PATIENCE_SECONDS, wait_until

#: The agent, but a client waits only this long.
SHORT_WAIT = SOURCE.replace("EXPECTED_SECONDS = 90.0", "EXPECTED_SECONDS = 0.3")


def waiting_for(start: Start, workers: object, source: str = SOURCE) -> Cluster:
    return agent_answers(start(source=source, more={EXPECTED_VARIABLE: str(workers)}))


class Connecting:
    """A client that connects in a thread; what it saw when it had connected."""

    def __init__(self, cluster: Cluster) -> None:
        self._address = cluster.address
        self.seen: tuple[int, str] | None = None
        self._thread = threading.Thread(target=self._connect)
        self._thread.start()

    def _connect(self) -> None:
        with Client(self._address, timeout=60) as client:
            self.seen = len(client.ncores()), repr(client)

    def result(self) -> tuple[int, str]:
        self._thread.join(PATIENCE_SECONDS)
        assert self.seen is not None, "the client still waits"
        return self.seen


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_first_client_finds_all_workers_that_are_expected(start: Start, workers: int) -> None:
    cluster = waiting_for(start, workers)
    client = Connecting(cluster)
    cluster.add_workers(*(f"w{number}" for number in range(workers)))
    cluster.ask("expect", {"workers": workers})
    count, text = client.result()
    assert count == workers
    assert f"processes={workers}" in text


def test_client_waits_until_the_run_has_seen_the_scheduler(start: Start) -> None:
    cluster = waiting_for(start, 1)
    client = Connecting(cluster)
    cluster.add_workers("w0")
    wait_until(lambda: cluster.rows(), shows="the worker is there")
    assert cluster.ask("expect", {"workers": 2})[1]["open"] is False
    assert client.seen is None
    assert cluster.ask("expect", {"workers": 1})[1]["open"] is True
    assert client.result()[0] == 1


def test_client_waits_while_one_of_two_workers_is_missing(start: Start) -> None:
    cluster = waiting_for(start, 2)
    client = Connecting(cluster)
    cluster.add_workers("w0")
    wait_until(lambda: "Receive client connection" not in cluster.scheduler.output)
    assert client.seen is None
    assert cluster.ask("expect", {"workers": 2}) == (
        200,
        {"open": False, "expected": 2, "missing": 0},
    )
    assert cluster.ask("expect", {"workers": 1})[1]["open"] is True
    assert client.result()[0] == 1


def test_client_passes_after_the_longest_wait_and_the_missing_are_counted(start: Start) -> None:
    cluster = waiting_for(start, 3, SHORT_WAIT)
    cluster.add_workers("w0")
    assert Connecting(cluster).result()[0] == 1
    assert cluster.ask("expect", {"workers": 1}) == (
        200,
        {"open": True, "expected": 3, "missing": 2},
    )


def test_later_clients_do_not_wait_for_workers_that_were_lost(start: Start) -> None:
    cluster = waiting_for(start, 1)
    cluster.add_workers("w0")
    cluster.ask("expect", {"workers": 1})
    assert Connecting(cluster).result()[0] == 1
    cluster.workers["w0"].end()
    wait_until(lambda: not cluster.rows(), shows="the worker is gone")
    assert Connecting(cluster).result()[0] == 0


@pytest.mark.parametrize("value", ["0", "", "many", "-1"])
def test_nothing_is_held_back_without_a_number_of_workers(start: Start, value: str) -> None:
    cluster = waiting_for(start, value)
    assert Connecting(cluster).result()[0] == 0
    assert cluster.ask("expect", {"workers": 3}) == (200, {"open": True})


@pytest.mark.parametrize("body", [b"no JSON", [], {}, {"workers": "2"}, {"workers": True}])
def test_request_without_a_number_of_workers_is_400(shared: Cluster, body: Any) -> None:
    assert shared.ask("expect", body)[0] == 400
