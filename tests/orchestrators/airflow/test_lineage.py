"""What OpenLineage gets to know, with Airflow's own provider of it."""

from __future__ import annotations

import json
from typing import Any

from tests.orchestrators.airflow.servers import PATIENCE, Servers
from tests.waiting import wait_until


def event(servers: Servers, job: str, kind: str) -> Any:
    """Wait for an event about a task; return its run."""

    def found() -> Any:
        if not servers.lineage.exists():
            return None
        events = [json.loads(line) for line in servers.lineage.read_text().splitlines()]
        fitting = [e for e in events if e["job"]["name"] == job and e["eventType"] == kind]
        return fitting[0]["run"] if fitting else None

    return wait_until(found, PATIENCE, servers.logs, pause=0.3)


def test_events_of_openlineage_have_the_job_and_its_end(servers: Servers) -> None:
    servers.trigger("lineage", "done")
    servers.trigger("lineage_fails", "failed")
    servers.until("lineage", "done", "success")
    servers.until("lineage_fails", "failed", "failed")

    started = event(servers, "lineage.task", "START")
    assert started["facets"]["daskjob"]["local"] is True
    done = event(servers, "lineage.task", "COMPLETE")
    known = done["facets"]["daskjob"]
    assert (known["phase"], known["exit_code"]) == ("Succeeded", 0)
    # By it, a program's own events name the task as their parent.
    parent = servers.returned("lineage", "done")["parent"]
    assert parent.split("/")[1:] == ["lineage.task", done["runId"]]

    failed = event(servers, "lineage_fails.task", "FAIL")
    assert failed["facets"]["daskjob"]["exit_code"] == 7
    assert failed["facets"]["daskjob"]["phase"] == "Failed"
