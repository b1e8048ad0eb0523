"""Many deferred tasks in a real triggerer: one watch, and an event loop that is never blocked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.cluster.fake_nodes import ENDS_AFTER
from tests.cluster.plugin import Audited, Kubernetes
from tests.operator.jobs import Manifest, fake_job, python_job
from tests.orchestrators.airflow.dags.crowd import COUNT
from tests.orchestrators.airflow.jobs import Jobs
from tests.orchestrators.airflow.servers import PATIENCE, Servers
from tests.waiting import wait_until

#: What may block the loop of a triggerer: Airflow warns of more.
MOST_BLOCKED_SECONDS = 0.2
#: What a triggerer may need, also for a thousand jobs: DASKJOB_TEST_CROWD=1001.
MOST_MIB = 1024
RUN = "crowd"
#: A program whose log is long; it ends when the others do.
PRINTS = """
import pathlib, time
for number in range(20_000):
    print("line", number, "of a program that prints much")
print("printed", flush=True)
while not pathlib.Path("/tmp/go").exists():
    time.sleep(0.2)
"""
GAUGE = "tests.orchestrators.airflow.gauge.GaugeTrigger"
TRIGGER = "daskjob.integrations.airflow.triggers.DaskJobTrigger"


def deferred(servers: Servers, folder: Path, triggers: list[tuple[str, dict[str, Any]]]) -> None:
    """Defer the tasks of the crowd to these triggers."""
    servers.trigger("crowd", RUN, paused=True)
    file = folder / "triggers.json"
    file.write_text(json.dumps(triggers))
    program = [sys.executable, "-m", "tests.orchestrators.airflow.defer", "crowd", RUN, str(file)]
    done = subprocess.run(program, env=servers.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def running(jobs: Jobs) -> int:
    """Return how many jobs of the crowd are running."""
    return sum(
        job.get("status", {}).get("phase") == "Running"
        for job in jobs.kubectl.items("daskjobs")
        if job["metadata"]["name"].startswith(("crowd-", "loud"))
    )


def test_many_deferred_tasks_share_a_watch_and_block_no_loop_of_a_triggerer(
    with_crds: Kubernetes,
    servers: Servers,
    jobs: Jobs,
    fake_nodes: Callable[[int], None],
    audit: Callable[[], AbstractContextManager[Audited]],
    tmp_path: Path,
) -> None:
    fake_nodes(1)
    place = jobs.kubectl.namespace
    path = f"/apis/kubernetes.dask.org/v1/namespaces/{place}/daskjobs"
    crowd = [fake_job(f"crowd-{number}", workers=1) for number in range(COUNT - 2)]
    loud = python_job(with_crds.image("dask"), PRINTS, name="loud")
    for job in (*crowd, loud):
        with_crds.access.request("POST", path, body=job)

    def trigger(job: Manifest) -> tuple[str, dict[str, Any]]:
        name = job["metadata"]["name"]
        return TRIGGER, {"name": name, "namespace": place, "get_logs": name == "loud"}

    with audit() as audited:
        measure = (GAUGE, {"folder": str(tmp_path)})
        deferred(servers, tmp_path, [measure, trigger(loud), *map(trigger, crowd)])
        wait_until(tmp_path.joinpath("started").exists, PATIENCE, servers.logs, pause=0.2)
        log = f"/api/v2/dags/crowd/dagRuns/{RUN}/taskInstances/task/logs/1?map_index=1"
        wait_until(lambda: '"printed"' in json.dumps(servers.get(log)), PATIENCE, pause=0.5)
        wait_until(lambda: running(jobs) == COUNT - 1, PATIENCE, lambda: running(jobs), pause=0.5)
        ends = ("pods", "--selector=dask.org/component=job-runner", f"{ENDS_AFTER}=0s")
        jobs.kubectl("annotate", "--overwrite", *ends)
        jobs.let_end(json.loads(jobs.kubectl("get", "daskjob", "loud", "--output=json")))

        def resumed() -> int:
            return sum(task["state"] == "scheduled" for task in servers.tasks("crowd", RUN))

        wait_until(lambda: resumed() == COUNT - 1, PATIENCE, resumed, pause=0.5)
        tmp_path.joinpath("stop").touch()
        report = tmp_path / "gauge.json"
        wait_until(report.exists, PATIENCE, servers.logs, pause=0.2)
    found = json.loads(report.read_text())
    watches = [
        request
        for request in audited.requests
        if request.verb == "watch" and request.resource == "daskjobs"
    ]
    memory = servers.memory_mib("triggerer")
    print(f"{COUNT} triggers, {len(watches)} watches, {memory:.0f} MiB: {json.dumps(found)}")
    assert found["longest"][0][0] < MOST_BLOCKED_SECONDS, found
    # That of the operator may start again meanwhile.
    assert len(watches) <= 3
    assert memory < MOST_MIB
