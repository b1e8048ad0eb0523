"""The fixtures work as documented: exact counts, waits by watches, reports of failures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.cluster import images
from tests.cluster.access import RequestRejected
from tests.cluster.audit import Request, counted, table
from tests.cluster.fake_nodes import fake_placement
from tests.cluster.plugin import (
    AUDIT_VARIABLE,
    Audited,
    Kubectl,
    KubectlFailed,
    Kubernetes,
    WaitFor,
)
from tests.cluster.providers import PROCESS_VARIABLE

ROOT = Path(__file__).parents[2]


def test_audit_counts_every_request_of_a_block_and_none_before_or_after(
    kubectl: Kubectl, namespace: str, audit: Callable[[], AbstractContextManager[Audited]]
) -> None:
    kubectl("create", "configmap", "before")
    with audit() as audited:
        for name in ("a", "b", "c"):
            kubectl("create", "configmap", name)
        kubectl("delete", "configmap", "a")
    kubectl("create", "configmap", "after")
    ours = [r for r in audited.requests if r.namespace == namespace and r.user == "admin"]
    assert Counter((r.verb, r.resource, r.name) for r in ours if r.writes) == {
        ("create", "configmaps", "a"): 1,
        ("create", "configmaps", "b"): 1,
        ("create", "configmaps", "c"): 1,
        ("delete", "configmaps", "a"): 1,
    }


def test_audit_counts_by_impersonated_user(
    kubectl: Kubectl, namespace: str, audit: Callable[[], AbstractContextManager[Audited]]
) -> None:
    user = f"system:serviceaccount:{namespace}:default"
    with audit() as audited, pytest.raises(KubectlFailed, match="Forbidden"):
        kubectl("delete", "pod", "none", "--as", user)
    # kubectl reads first, and is not allowed to.
    rejected = [r for r in audited.requests if r.uri.endswith("/pods/none")]
    assert {(r.verb, r.resource, r.code) for r in rejected} == {("delete", "pods", 403)}


def test_table_of_counts_has_the_most_frequent_first() -> None:
    def request(verb: str) -> Request:
        return Request("admin", verb, "pods", "", "", 200, "", "", "")

    requests = [request("get"), request("list"), request("list")]
    assert counted(requests) == {("admin", "get", "pods"): 1, ("admin", "list", "pods"): 2}
    assert table(requests).splitlines() == [
        "REQUESTS  USER   VERB  RESOURCE",
        "2         admin  list  pods",
        "1         admin  get   pods",
    ]


def test_wait_returns_an_object_that_is_created_later(
    wait_for: WaitFor, kubernetes: Kubernetes, namespace: str
) -> None:
    later = kubernetes.command(f"--namespace={namespace}", "create", "configmap", "later")
    with subprocess.Popen(["sh", "-c", 'sleep 1; exec "$@"', "sh", *later]):
        found = wait_for("configmap", "later", bool)
    assert found["metadata"]["name"] == "later"


def test_wait_that_times_out_fails_and_shows_the_last_state(
    kubectl: Kubectl, wait_for: WaitFor
) -> None:
    kubectl("create", "configmap", "empty", "--from-literal=answer=41")
    with pytest.raises(pytest.fail.Exception, match='"answer": "41"'):
        wait_for("configmap", "empty", lambda c: c["data"]["answer"] == "42", seconds=2)
    with pytest.raises(pytest.fail.Exception, match="it never existed"):
        wait_for("configmap", "none", bool, seconds=1)


def test_pods_on_fake_nodes_become_running(
    kubectl: Kubectl,
    apply: Callable[..., None],
    wait_for: WaitFor,
    fake_nodes: Callable[[int], None],
) -> None:
    fake_nodes(2)
    container = {"name": "main", "image": "nowhere.invalid/nothing"}
    apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "fake"},
            "spec": {"containers": [container], **fake_placement()},
        }
    )
    running = wait_for("pod", "fake", lambda p: p["status"].get("phase") == "Running")
    assert running["spec"]["nodeName"].startswith("fake-")
    kubectl("delete", "pod", "fake", "--timeout=30s")


def test_new_pod_with_a_reused_name_on_fake_nodes_is_not_deleted(
    kubernetes: Kubernetes, namespace: str, wait_for: WaitFor, fake_nodes: Callable[[int], None]
) -> None:
    fake_nodes(2)
    pods, access = kubernetes.access.path("pod", namespace), kubernetes.access
    container = {"name": "main", "image": "nowhere.invalid/nothing"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "again"},
        "spec": {"containers": [container], **fake_placement()},
    }
    uid = ""
    for _ in range(20):
        while True:
            try:
                uid = json.loads(access.request("POST", pods, body=pod))["metadata"]["uid"]
                break
            except RequestRejected as error:
                if error.code != 409:
                    raise
        wait_for("pod", "again", lambda pod: pod["status"].get("phase") == "Running", seconds=20)
        time.sleep(0.1)
        there = access.find("pod", namespace, "again")
        assert there is not None
        assert (there["metadata"]["uid"], "deletionTimestamp" in there["metadata"]) == (uid, False)
        access.request("DELETE", f"{pods}/again")


FAILING = """
def test_that_fails(kubectl, wait_for):
    kubectl("run", "evidence", "--image={image}", "--image-pull-policy=IfNotPresent")
    wait_for("pod", "evidence", lambda pod: pod["status"].get("phase") == "Running")
    assert False, "on purpose"
"""


def run_pytest(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a test file like one of the project's."""
    others = {k: v for k, v in os.environ.items() if k not in (PROCESS_VARIABLE, AUDIT_VARIABLE)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml",
         f"--rootdir={ROOT}", "-p", "tests.cluster.plugin", str(path)],
        cwd=ROOT,
        env={**others, **environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )  # fmt: skip


def test_objects_of_a_failed_test_are_collected_before_its_namespace_is_deleted(
    kubernetes: Kubernetes, tmp_path: Path
) -> None:
    path = tmp_path / "test_failing.py"
    image = kubernetes.provider.load(images.pause())
    path.write_text(FAILING.format(image=image))
    reports = tmp_path / "reports"
    done = run_pytest(
        path,
        DASKJOB_TEST_KUBECONFIG=str(kubernetes.kubeconfig),
        DASKJOB_TEST_CLUSTER="external",
        DASKJOB_TEST_REPORTS=str(reports),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "on purpose" in done.stdout
    (folder,) = reports.iterdir()
    assert f"everything, with logs, is in {folder}" in done.stdout
    assert "name: evidence" in (folder / "objects.yaml").read_text()
    assert "Started" in (folder / "events.txt").read_text()
    assert (folder / "evidence.log").exists()
    assert "pod/evidence" in (folder / "summary.txt").read_text()


def test_only_none_skips_tests_and_the_summary_reports_it(tmp_path: Path) -> None:
    path = tmp_path / "test_some.py"
    path.write_text("def test_some(kubernetes):\n    pass\n")
    done = run_pytest(path, DASKJOB_TEST_CLUSTER="none")
    assert done.returncode == 0
    assert "1 skipped" in done.stdout
    assert "tests that need a Kubernetes were skipped" in done.stdout


def test_unavailable_cluster_fails_the_run(tmp_path: Path) -> None:
    path = tmp_path / "test_some.py"
    path.write_text("def test_some(kubernetes):\n    pass\n")
    nowhere = str(tmp_path / "none")
    done = run_pytest(path, DASKJOB_TEST_CLUSTER="external", DASKJOB_TEST_KUBECONFIG=nowhere)
    assert done.returncode == 1
    assert "the file does not exist" in done.stdout
