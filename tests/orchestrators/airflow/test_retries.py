"""A retry policy that knows an evicted pod from a bug, in Airflow's own processes."""

from __future__ import annotations

from tests.orchestrators.airflow.jobs import PATIENCE, Jobs
from tests.orchestrators.airflow.servers import Servers
from tests.waiting import wait_until


def evict(jobs: Jobs, pod: str) -> None:
    """Evict a pod, as a drained node does."""
    place = jobs.kubectl.namespace
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": place},
    }
    path = f"/api/v1/namespaces/{place}/pods/{pod}/eviction"
    jobs.kubectl.kubernetes.access.request("POST", path, body=body)


def test_a_task_is_tried_again_after_an_eviction_and_not_after_a_bug(
    servers: Servers, jobs: Jobs
) -> None:
    servers.trigger("evicted", "evicted")
    servers.trigger("bug", "bug")
    evict(jobs, jobs.running("evicted")["status"]["jobRunnerPodName"])
    assert servers.until("bug", "bug", "failed")["try_number"] == 1
    assert "no such table" in servers.log("bug", "bug")

    wait_until(lambda: len(jobs.of("evicted")) == 2, PATIENCE, servers.logs, pause=0.3)
    first, _second = jobs.of("evicted")
    assert first["status"]["phase"] == "Failed"
    assert "InfrastructureFailure" in servers.log("evicted", "evicted")
    jobs.let_end(jobs.running("evicted"))
    servers.until("evicted", "evicted", "success", tries=2)
    assert jobs.phases("evicted") == ["Failed", "Succeeded"]
    assert jobs.phases("bug") == ["Failed"]
