"""The metrics of the installed operator, read with Prometheus' own parser."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.plugin import WaitFor
from tests.operator.installed import Operator
from tests.operator.jobs import ended, fake_job
from tests.waiting import wait_until

Manifest = dict[str, Any]


def scraped(operator: Operator) -> dict[str, Metric]:
    """Return the operator's metrics by name, through its port ``http``."""
    [pod] = json.loads(operator.kubectl("get", "pods", "-o", "json"))["items"]
    [port] = [p for c in pod["spec"]["containers"] for p in c["ports"] if p["name"] == "http"]
    where = f"{pod['metadata']['name']}:{port['containerPort']}"
    path = f"/api/v1/namespaces/{operator.namespace}/pods/{where}/proxy/metrics"
    text = operator.kubectl("get", "--raw", path)
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(found: dict[str, Metric], name: str, **labels: str) -> float:
    """Return the sum of a metric's samples with these labels."""
    family = found[name.removesuffix("_total").removesuffix("_count")]
    return sum(
        sample.value
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def without_jobs(operator: Operator) -> dict[str, Metric]:
    """Return the operator's metrics, once it has seen that the jobs of earlier tests are gone.

    Deleting a namespace deletes its pods, then its jobs: they may outlive a test by some seconds,
    and the operator manages all namespaces.
    """
    left = ("get", "daskjobs", "--all-namespaces", "--output=name")
    wait_until(lambda: not operator.kubectl(*left), 180, lambda: operator.kubectl(*left), pause=1)
    gone = "it still counts deleted jobs"
    wait_until(lambda: not value(scraped(operator), "daskjob_jobs"), 180, gone, pause=0.5)
    return scraped(operator)


def test_scrape_counts_a_job_that_succeeded_and_one_that_failed(
    operator: Operator,
    fake_nodes: Callable[[int], None],
    apply: Callable[..., None],
    wait_for: WaitFor,
) -> None:
    fake_nodes(2)
    before = without_jobs(operator)
    good = fake_job("good", ends_after="0s")
    bad = fake_job(
        "bad", ends_after="0s", failures=9, backoffLimit=1, backoff={"initialSeconds": 1}
    )
    apply(good, bad)
    for name in ("good", "bad"):
        wait_for("daskjob", name, ended)
    # Ended jobs are counted after their watch events.
    time.sleep(1)
    after = scraped(operator)

    def more(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert more("daskjob_jobs", phase="Succeeded") == 1
    assert more("daskjob_jobs", phase="Failed") == 1
    assert more("daskjob_attempts_total", reason="ExitCode") == 2
    assert more("daskjob_job_finished_seconds_count") == 2
    assert more("daskjob_api_requests_total", verb="create", kind="Pod", code="201") >= 6
    assert value(after, "daskjob_leader") == 1
    names = {label for family in after.values() for s in family.samples for label in s.labels}
    assert not names & {"name", "namespace", "job", "cluster", "pod"}
