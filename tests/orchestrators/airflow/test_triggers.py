"""Triggers alone, in an event loop as the triggerer's: many jobs, one watch."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from daskjob.core.names import Kind
from tests.cluster.plugin import Audited, Kubernetes
from tests.orchestrators.airflow.conftest import connection_to
from tests.waiting import until

#: How many jobs one triggerer waits for here.
MANY = 150
#: What may block the loop of a triggerer: Airflow warns of more.
MOST_BLOCKED_SECONDS = 0.2
#: How long a cancellation may take on a machine that does much else.
PATIENCE = 120.0
SUCCEEDED = {
    "jobStatus": "Successful",
    "phase": "Succeeded",
    "attempt": 0,
    "exitCode": 0,
    "endTime": "2026-01-01T00:00:00Z",
    "result": {"total": 3},
}


def job(name: str) -> dict[str, Any]:
    """A DaskJob that no operator runs."""

    def pod(container: str) -> dict[str, Any]:
        return {"spec": {"containers": [{"name": container, "image": "none"}]}}

    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": name},
        "spec": {
            "job": pod("job"),
            "cluster": {"spec": {"scheduler": pod("scheduler"), "worker": pod("worker")}},
        },
    }


@pytest.fixture
def connected(with_crds: Kubernetes, namespace: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A namespace without an operator, and the default connection to it."""
    for key, value in connection_to(with_crds, namespace).items():
        monkeypatch.setenv(key, value)
    return namespace


async def event_of(name: str, namespace: str, **arguments: Any) -> dict[str, Any]:
    """Run a trigger, as it is after it was stored, to its event."""
    from daskjob.integrations.airflow import DaskJobTrigger

    path, stored = DaskJobTrigger(name, namespace, **arguments).serialize()
    assert path.endswith(".DaskJobTrigger")
    trigger = DaskJobTrigger(**json.loads(json.dumps(stored)))
    events = [event.payload async for event in trigger.run()]
    assert len(events) == 1
    assert len(json.dumps(events[0])) < 64 * 1024
    return dict(events[0])


class Gauge:
    """The longest time for which the loop's thread computed without a pause."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        """Measure until it is cancelled; by the clock of the thread, since machines are shared."""
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            await asyncio.sleep(0.005)
            self.longest = max(self.longest, time.thread_time() - before)


def test_many_deferred_jobs_share_one_watch_and_block_nothing(
    with_crds: Kubernetes,
    connected: str,
    audit: Callable[[], AbstractContextManager[Audited]],
) -> None:
    names = [f"job-{number}" for number in range(MANY)]
    path = f"/apis/kubernetes.dask.org/v1/namespaces/{connected}/daskjobs"
    uids = {
        name: json.loads(with_crds.access.request("POST", path, body=job(name)))["metadata"]["uid"]
        for name in names
    }

    # The triggerer has imported the trigger when it runs; the rest is imported by the trigger.
    import daskjob.integrations.airflow.triggers  # noqa: F401

    async def followed() -> tuple[list[dict[str, Any]], float]:
        from daskjob import AsyncJobClient
        from daskjob.core.manifests import ObjectRef

        gauge = Gauge()
        gauging = asyncio.create_task(gauge.run())
        common = {"get_logs": False, "operator_timeout_seconds": 3600.0}
        waits = [asyncio.create_task(event_of(name, connected, **common)) for name in names]
        await until(lambda: [shared.users for shared in _shared()] == [MANY], PATIENCE, pause=0.1)
        async with AsyncJobClient(connected, kubeconfig=str(with_crds.kubeconfig)) as client:
            api = (await client._connection.session()).api
            for name, uid in uids.items():
                ref = ObjectRef(Kind.JOB, connected, name, uid)
                await api.replace_status(ref, SUCCEEDED)
        events = await asyncio.gather(*waits)
        gauging.cancel()
        return events, gauge.longest

    with audit() as audited:
        events, blocked = asyncio.run(followed())
    assert {event["status"] for event in events} == {"ended"}
    assert {event["daskjob"]["name"] for event in events} == set(names)
    assert all(event["result"] == {"total": 3} for event in events)
    watches = [
        request
        for request in audited.requests
        if request.verb == "watch" and connected in request.uri and "daskjobs" in request.uri
    ]
    assert len(watches) <= 3
    assert blocked < MOST_BLOCKED_SECONDS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{MANY} jobs: {len(watches)} watches, {blocked:.3f} s blocked, {peak:.0f} MiB")


def _endings() -> set[Any]:
    from daskjob.integrations.airflow import triggers

    return triggers._endings


def _shared() -> list[Any]:
    from daskjob.integrations.airflow import shared_clients

    return [*shared_clients._shared.values()]


def test_a_killed_trigger_cancels_its_job_and_an_ended_one_does_not(
    with_crds: Kubernetes, connected: str
) -> None:
    from daskjob.integrations.airflow import DaskJobTrigger

    path = f"/apis/kubernetes.dask.org/v1/namespaces/{connected}/daskjobs"
    for name in ("stopped", "killed", "kept"):
        with_crds.access.request("POST", path, body=job(name))

    async def ended() -> None:
        for name in ("stopped", "killed", "kept"):
            action = "keep_job" if name == "kept" else "cancel_job"
            trigger = DaskJobTrigger(name, connected, get_logs=False, on_kill_action=action)
            running = asyncio.ensure_future(anext(trigger.run()))
            await asyncio.sleep(0.5)
            running.cancel()
            await asyncio.wait({running})
            if name != "stopped":
                # As the triggerer does, whose next round cancels this again.
                killing = asyncio.ensure_future(trigger.on_kill())
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                killing.cancel()
                await asyncio.wait({killing})
                await until(lambda: not _endings(), PATIENCE, pause=0.05)
            await trigger.cleanup()

    asyncio.run(ended())
    cancelled = {
        name: with_crds.access.get(f"{path}/{name}")["spec"].get("cancel", False)
        for name in ("stopped", "killed", "kept")
    }
    assert cancelled == {"stopped": False, "killed": True, "kept": False}
    assert _shared() == []


def test_a_trigger_reports_what_keeps_it_from_its_job(
    with_crds: Kubernetes, connected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/apis/kubernetes.dask.org/v1/namespaces/{connected}/daskjobs"
    with_crds.access.request("POST", path, body=job("alone"))
    quiet: dict[str, Any] = {"get_logs": False}
    kubeconfig = json.loads(with_crds.kubectl("config", "view", "--raw", "--output=json"))
    token = with_crds.kubectl("create", "token", "default", "--namespace=default").strip()
    kubeconfig["users"][0]["user"] = {"token": token}
    extra = {"conn_type": "kubernetes", "extra": {"kube_config": kubeconfig}}
    monkeypatch.setenv("AIRFLOW_CONN_NOBODY", json.dumps(extra))

    async def events() -> list[dict[str, Any]]:
        return [
            await event_of("missing", connected, **quiet),
            await event_of("alone", connected, deadline=time.time() + 0.5, **quiet),
            await event_of("alone", connected, operator_timeout_seconds=0.5, **quiet),
            await event_of("alone", connected, kubernetes_conn_id="nobody", **quiet),
            await event_of("alone", connected, kubernetes_conn_id="nowhere", **quiet),
        ]

    gone, timeout, hopeless, forbidden, nowhere = asyncio.run(events())
    assert gone["status"] == "gone"
    assert timeout["status"] == "timeout"
    assert (hopeless["status"], hopeless["error"]) == ("hopeless", "NotPickedUp")
    assert "no operator has picked up alone" in hopeless["message"]
    assert (forbidden["status"], forbidden["error"]) == ("rejected", "Forbidden")
    assert "the triggerer needs it too" in forbidden["message"]
    assert nowhere["status"] == "rejected"
    assert "nowhere" in nowhere["message"]
    assert token not in json.dumps(forbidden)
