"""Schedulers that do not answer, or lie: no worker is deleted because of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from tests.cluster.plugin import Kubectl, Kubernetes, WaitFor
from tests.operator.clusters import cluster
from tests.operator.installed import Operator
from tests.operator.jobs import SLEEPS, condition, container, pod_spec

Manifest = dict[str, Any]
Apply = Callable[..., None]

#: A fake scheduler: an HTTP server on the dashboard's port.
FALSE_SCHEDULER = """
import http.server, json, sys, time
MODE = sys.argv[1]
STRANGERS = {
    "columns": ["name", "address", "memory", "processing", "status"],
    "rows": [["somebody-%d" % n, "tcp://203.0.113.%d:4000" % n, 1, 0, "running"] for n in (1, 2)],
}
NOBODY = {"tasks": {}, "workers": {"columns": ["name"], "rows": []}, "retired": []}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if MODE == "silent":
            time.sleep(3600)
        if MODE == "redirecting" and self.path != "/nobody":
            self.send_response(302)
            self.send_header("Location", "/nobody")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        if MODE == "slow":
            for letter in json.dumps(NOBODY):
                self.wfile.write(letter.encode())
                time.sleep(1)
        if MODE == "endless":
            for _ in range(1024):
                self.wfile.write(b" " * (1 << 20))
        told = {"retired": [row[1] for row in STRANGERS["rows"]], "workers": STRANGERS}
        self.wfile.write(json.dumps(told if MODE == "lying" else NOBODY).encode())
    do_POST = do_GET
if MODE == "deaf":
    time.sleep(3600)
http.server.ThreadingHTTPServer(("", 8787), Handler).serve_forever()
"""
MODES = ("deaf", "silent", "slow", "endless", "redirecting", "lying")


def false_cluster(image: str, mode: str) -> Manifest:
    """A cluster with two workers that only sleep, and a fake scheduler."""
    manifest = cluster(image, 2)
    manifest["metadata"]["name"] = mode
    scheduler = container(image, "scheduler", "python", "-c", FALSE_SCHEDULER, mode)
    manifest["spec"]["scheduler"]["spec"] = pod_spec(scheduler)
    manifest["spec"]["worker"]["spec"] = pod_spec(container(image, "worker", *SLEEPS))
    return manifest


def ready(workers: int) -> Callable[[Manifest], bool]:
    """Return a check that this many workers exist and are ready."""
    return lambda found: (
        found.get("status", {}).get("replicas") == workers
        and found.get("status", {}).get("readyReplicas") == workers
    )


def test_no_worker_is_deleted_for_a_false_scheduler_while_other_clusters_scale_down(
    operator: Operator,
    kubernetes: Kubernetes,
    apply: Apply,
    kubectl: Kubectl,
    wait_for: WaitFor,
) -> None:
    image = kubernetes.image("dask")
    apply(*(false_cluster(image, mode) for mode in MODES), cluster(image, 2))
    for name in (*MODES, "simple"):
        wait_for("daskworkergroup", f"{name}-default", ready(2), seconds=180)
    for mode in MODES:
        kubectl("scale", "daskcluster", mode, "--replicas=0")
    for mode in MODES:
        wait_for(
            "daskworkergroup",
            f"{mode}-default",
            lambda g: condition(g, "WorkersReady").get("reason") == "ScaleDownBlocked",
            seconds=60,
        )
    kubectl("scale", "daskcluster", "simple", "--replicas=1")
    wait_for("daskworkergroup", "simple-default", ready(1), seconds=30)

    # Longer than the 2 s timeout of a query, its retries and the final failure.
    time.sleep(20)
    for mode in MODES:
        selector = f"--selector=dask.org/workergroup-name={mode}-default"
        found = json.loads(kubectl("get", "pods", selector, "-o", "json"))["items"]
        assert len(found) == 2, mode
        assert not [p for p in found if p["metadata"].get("deletionTimestamp")], mode
    pods = json.loads(operator.kubectl("get", "pods", "-o", "json"))["items"]
    restarts = [c["restartCount"] for p in pods for c in p["status"]["containerStatuses"]]
    assert restarts == [0]
