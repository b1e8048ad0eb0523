"""What the agent reports of tasks that are left when the clients are gone."""

from __future__ import annotations

import time
from typing import Any

from distributed import fire_and_forget

from tests.agent.conftest import Cluster, Start, agent_answers
from tests.waiting import PATIENCE_SECONDS, wait_until


def slept(path: str, seconds: float) -> None:
    with open(f"{path}.began", "w"):
        pass
    time.sleep(seconds)


def unfinished(cluster: Cluster, **wanted: int) -> dict[str, Any]:
    """Return the answer as soon as it has these values."""
    last: dict[str, Any] = {}

    def reached() -> bool:
        nonlocal last
        _, last = cluster.ask("unfinished")
        return all(last[key] == value for key, value in wanted.items())

    wait_until(reached, PATIENCE_SECONDS, lambda: f"wanted {wanted}, got {last}")
    return last


def test_promised_tasks_stay_and_abandoned_ones_are_counted_until_they_end(start: Start) -> None:
    cluster = agent_answers(start())
    cluster.add_workers("w0")
    client = cluster.client()
    path = str(cluster.folder / "task")
    assert unfinished(cluster, clients=1)["promised"] == 0
    running = client.submit(slept, path, 2)
    wait_until(lambda: (cluster.folder / "task.began").exists())
    queued = client.submit(slept, path, 0.2, pure=False)
    promised = client.submit(slept, path, 0.3, pure=False)
    fire_and_forget(promised)
    client.close()
    del running, queued
    unfinished(cluster, clients=0, promised=1, dropped=2)
    # As soon as the worker has sent a heartbeat.
    left = unfinished(cluster, stale=0, abandoned=1)
    assert left["promised"] == 1
    left = unfinished(cluster, promised=0, processing=0)
    assert left["dropped"] == 2
    unfinished(cluster, abandoned=0)
