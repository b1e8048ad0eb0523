"""DaskJobs run to a correct end with the operator as users install it (design §3, §4)."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import yaml

from tests.cluster.plugin import Audited, Kubectl, Kubernetes, WaitFor
from tests.core.manifests import DOCUMENTED
from tests.operator.installed import Operator
from tests.operator.jobs import (
    condition,
    container,
    ended,
    job,
    pod_spec,
    python_job,
    says,
    until_only,
)

Manifest = dict[str, Any]
Apply = Callable[..., None]
Audit = Callable[[], AbstractContextManager[Audited]]

pytestmark = pytest.mark.usefixtures("operator")


@pytest.fixture
def image(kubernetes: Kubernetes) -> str:
    return kubernetes.image("dask")


def pods(kubectl: Kubectl) -> dict[str, Manifest]:
    return {pod["metadata"]["name"]: pod for pod in kubectl.items("pods")}


def test_documented_job_runs_unchanged_but_for_its_image(
    image: str, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    text = (DOCUMENTED / "job.yaml").read_text().replace("ghcr.io/dask/dask:latest", image)
    manifest = yaml.safe_load(text.replace("imagePullPolicy: Always", ""))
    manifest["metadata"].pop("namespace", None)
    name = manifest["metadata"]["name"]
    kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    done = wait_for("daskjob", name, ended, seconds=150)
    status = done["status"]
    assert (status["jobStatus"], status["reason"]) == ("Successful", "Completed")
    assert status["clusterName"] == name
    assert status["jobRunnerPodName"] == f"{name}-runner"
    assert status["startTime"] <= status["endTime"]
    assert condition(done, "Complete")["status"] == "True"
    assert status["report"]["schedulerId"].startswith("Scheduler-")
    kubectl("wait", f"daskjob/{name}", "--for=condition=Complete", "--timeout=5s")
    kubectl("wait", f"daskjob/{name}", "--for=jsonpath={.status.jobStatus}=Successful")
    until_only(kubectl, f"daskjob.kubernetes.dask.org/{name}", f"pod/{name}-runner")


COMPUTES = """
import json, os
from distributed import Client
with Client() as client:
    client.wait_for_workers(2)
    total = client.submit(sum, client.map(lambda n: n * n, range(100))).result()
print("the sum is", total)
open(os.environ["DASKJOB_RESULT_FILE"], "w").write(json.dumps({"total": total}))
"""


def test_job_computes_on_its_workers_and_its_result_and_report_outlive_the_cluster(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    apply(python_job(image, COMPUTES, workers=2, dask=True))
    status = wait_for("daskjob", "sums", ended, seconds=150)["status"]
    assert (status["jobStatus"], status["exitCode"]) == ("Successful", 0)
    assert status["result"] == {"total": 328350}
    assert status["report"]["tasks"]["total"] >= 101
    assert status["progress"]["done"] >= 101
    until_only(kubectl, "daskjob.kubernetes.dask.org/sums", "pod/sums-runner")
    assert "the sum is 328350" in kubectl.log("sums-runner").splitlines()


def test_failed_job_reports_its_exit_code_and_the_end_of_its_log(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    code = "import sys; print('no data for 2024'); sys.exit(3)"
    apply(python_job(image, code, backoffLimit=0))
    failed = wait_for("daskjob", "sums", ended)
    status = failed["status"]
    assert (status["jobStatus"], status["exitCode"]) == ("Failed", 3)
    assert status["reason"] == "ExitCode"
    assert "no data for 2024" in json.dumps(status)
    assert condition(failed, "Failed")["status"] == "True"
    until_only(kubectl, "daskjob.kubernetes.dask.org/sums", "pod/sums-runner")
    events = kubectl("get", "events", "--field-selector=involvedObject.kind=DaskJob", "-o", "name")
    assert 1 <= len(events.split()) <= 4


def test_cluster_of_an_ended_job_may_be_kept_without_its_workers(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    apply(python_job(image, "pass", workers=2, deletionPolicy={"onSuccess": "DeleteWorkers"}))
    assert wait_for("daskjob", "sums", ended)["status"]["jobStatus"] == "Successful"
    kept = ("daskjob.kubernetes.dask.org/sums", "daskcluster.kubernetes.dask.org/sums")
    until_only(kubectl, *kept, "pod/sums-runner", "pod/sums-scheduler", "service/sums-scheduler")


def test_job_is_retried_on_a_new_cluster_and_each_attempt_keeps_its_pod(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    code = "import os, sys; sys.exit(5 if os.environ['DASKJOB_ATTEMPT'] == '0' else 0)"
    apply(python_job(image, code, backoffLimit=2, backoff={"initialSeconds": 1}))
    status = wait_for("daskjob", "sums", ended)["status"]
    assert status["jobStatus"] == "Successful"
    tries = [(t["number"], t["exitCode"], t["runnerPodName"]) for t in status["attempts"]]
    assert tries == [(0, 5, "sums-runner"), (1, 0, "sums-runner-1")]
    left = ("daskjob.kubernetes.dask.org/sums", "pod/sums-runner", "pod/sums-runner-1")
    until_only(kubectl, *left)


def test_cancel_stops_the_runner_keeps_its_log_and_cannot_be_undone(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    apply(python_job(image, "import time; print('at work', flush=True); time.sleep(600)"))
    wait_for("daskjob", "sums", says("Running"))
    kubectl("patch", "daskjob", "sums", "--type=merge", "-p", '{"spec": {"cancel": true}}')
    status = wait_for("daskjob", "sums", ended)["status"]
    assert (status["jobStatus"], status["reason"]) == ("Failed", "Cancelled")
    until_only(kubectl, "daskjob.kubernetes.dask.org/sums", "pod/sums-runner")
    wait_for("pod", "sums-runner", lambda pod: pod["status"]["phase"] == "Failed")
    assert kubectl("logs", "sums-runner") == "at work\n"
    kubectl("patch", "daskjob", "sums", "--type=merge", "-p", '{"spec": {"cancel": false}}')
    assert wait_for("daskjob", "sums", ended)["status"]["reason"] == "Cancelled"


EXITS_WITH_0_WHEN_STOPPED = """
import signal, sys, time
signal.signal(15, lambda *_: sys.exit(0))
time.sleep(600)
"""


def test_deadline_ends_a_job_whose_script_handles_sigterm_and_exits_with_0(
    image: str, apply: Apply, wait_for: WaitFor
) -> None:
    apply(python_job(image, EXITS_WITH_0_WHEN_STOPPED, activeDeadlineSeconds=4))
    status = wait_for("daskjob", "sums", ended)["status"]
    assert (status["jobStatus"], status["reason"]) == ("Failed", "DeadlineExceeded")


def test_runner_stopped_while_the_operator_was_down_has_failed_although_it_exited_with_0(
    operator: Operator, image: str, apply: Apply, wait_for: WaitFor
) -> None:
    job = {"backoffLimit": 0, "failurePolicy": {"maxIgnored": 0}, "attemptDeadlineSeconds": 15}
    apply(python_job(image, EXITS_WITH_0_WHEN_STOPPED, **job))
    wait_for("daskjob", "sums", says("Running"))
    # The deadline of an attempt is also the pod's, and works without an operator.
    operator.stop()
    try:
        wait_for("pod", "sums-runner", lambda pod: pod["status"]["phase"] == "Failed")
    finally:
        operator.start()
    status = wait_for("daskjob", "sums", ended)["status"]
    assert status["jobStatus"] == "Failed"
    [attempt] = status["attempts"]
    assert (attempt["reason"], attempt["exitCode"]) == ("AttemptDeadlineExceeded", 0)


def test_suspended_job_has_no_live_pods_and_a_resumed_one_begins_a_new_attempt(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    code = "import os, time; time.sleep(0 if os.environ['DASKJOB_ATTEMPT'] == '1' else 600)"
    apply(python_job(image, code))
    wait_for("daskjob", "sums", says("Running"))
    kubectl("patch", "daskjob", "sums", "--type=merge", "-p", '{"spec": {"suspend": true}}')
    held = wait_for("daskjob", "sums", lambda j: condition(j, "Suspended").get("status") == "True")
    assert held["status"]["jobStatus"] == "JobCreated"
    assert "startTime" not in held["status"]
    until_only(kubectl, "daskjob.kubernetes.dask.org/sums", "pod/sums-runner")
    wait_for("pod", "sums-runner", lambda pod: pod["status"]["phase"] == "Failed")
    kubectl("patch", "daskjob", "sums", "--type=merge", "-p", '{"spec": {"suspend": false}}')
    status = wait_for("daskjob", "sums", ended)["status"]
    assert (status["jobStatus"], status.get("failures", 0)) == ("Successful", 0)


def test_job_killed_by_its_memory_limit_reports_it(
    image: str, apply: Apply, wait_for: WaitFor
) -> None:
    manifest = python_job(image, "b = bytearray(500 << 20)", backoffLimit=0)
    runner = manifest["spec"]["job"]["spec"]["containers"][0]
    runner["resources"] = {"limits": {"memory": "64Mi"}}
    apply(manifest)
    status = wait_for("daskjob", "sums", ended)["status"]
    assert (status["jobStatus"], status["reason"]) == ("Failed", "OOMKilled")
    assert "memory" in status["message"]


def test_job_with_an_invalid_image_name_fails_at_once_and_names_it(
    image: str, apply: Apply, wait_for: WaitFor
) -> None:
    manifest = python_job(image, "pass")
    manifest["spec"]["job"]["spec"]["restartPolicy"] = "OnFailure"
    manifest["spec"]["job"]["spec"]["containers"][0]["image"] = "UPPER/case:bad:name"
    apply(manifest)
    status = wait_for("daskjob", "sums", ended)["status"]
    assert (status["jobStatus"], status["reason"]) == ("Failed", "ImagePull")
    assert "UPPER/case:bad:name" in status["message"]
    assert "Correct the image's name" in status["message"]
    assert [attempt["number"] for attempt in status["attempts"]] == [0]


def test_job_with_a_megabyte_of_arguments_reports_why_its_runner_cannot_start(
    image: str, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    manifest = python_job(image, "pass", backoffLimit=0, failurePolicy={"maxIgnored": 0})
    runner = manifest["spec"]["job"]["spec"]["containers"][0]
    runner["env"] = [{"name": "DATA", "value": "x" * 1_000_000}]
    # Not with "apply", which would store the manifest a second time, in an annotation.
    kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    status = wait_for("daskjob", "sums", ended)["status"]
    assert status["jobStatus"] == "Failed"
    assert "argument list too long" in status["message"]


def test_quota_blocks_the_workers_and_never_the_runner(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    kubectl("create", "quota", "few", "--hard=pods=2")
    apply(python_job(image, "import time; time.sleep(5)", workers=3))
    waiting = wait_for("daskjob", "sums", says("Running"))
    assert waiting["status"]["jobStatus"] == "Running"
    group = wait_for(
        "daskworkergroup",
        "sums-default",
        lambda g: condition(g, "WorkersReady").get("reason") == "QuotaExceeded",
    )
    assert "exceeded quota" in condition(group, "WorkersReady")["message"]
    assert wait_for("daskjob", "sums", ended)["status"]["jobStatus"] == "Successful"


def test_job_fails_if_a_foreign_pod_has_its_runners_name_and_the_pod_is_kept(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    foreign = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "sums-runner", "labels": {"dask.org/cluster-name": "sums"}},
        "spec": pod_spec(container(image, "theirs", "sleep", "600")),
    }
    apply(foreign)
    before = pods(kubectl)["sums-runner"]["metadata"]["uid"]
    apply(job(image, "true"))
    status = wait_for("daskjob", "sums", ended)["status"]
    assert (status["jobStatus"], status["reason"]) == ("Failed", "NameConflict")
    assert "sums-runner" in status["message"]
    found = pods(kubectl)["sums-runner"]["metadata"]
    assert (found["uid"], found.get("deletionTimestamp")) == (before, None)


def test_runner_without_its_labels_is_found_and_not_created_again(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    apply(python_job(image, "import time; time.sleep(8)"))
    wait_for("daskjob", "sums", says("Running"))
    kubectl("label", "pod", "sums-runner", "dask.org/cluster-name-", "dask.org/component-")
    status = wait_for("daskjob", "sums", ended)["status"]
    assert (status["jobStatus"], status["attempt"]) == ("Successful", 0)
    assert [name for name in pods(kubectl) if "runner" in name] == ["sums-runner"]


def test_deleting_a_job_while_the_operator_is_down_removes_everything(
    operator: Operator, image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    apply(python_job(image, "import time; time.sleep(600)", workers=2))
    wait_for("daskjob", "sums", says("Running"))
    operator.stop()
    try:
        kubectl("delete", "daskjob", "sums", "--timeout=30s")
        until_only(kubectl)
    finally:
        operator.start()


SHUTS_DOWN = """
import time
from distributed import Client
client = Client()
client.submit(time.sleep, 4).result()
client.shutdown()
time.sleep(15)
print("written")
raise SystemExit(3)
"""


def test_job_that_shuts_its_cluster_down_and_goes_on_ends_with_its_own_exit_code(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    apply(python_job(image, SHUTS_DOWN, workers=1, dask=True, backoffLimit=0))
    done = wait_for("daskjob", "sums", ended, seconds=150)
    status = done["status"]
    assert (status["jobStatus"], status["exitCode"]) == ("Failed", 3)
    assert [attempt["reason"] for attempt in status["attempts"]] == ["ExitCode"]
    assert kubectl("logs", "sums-runner").strip().endswith("written")
    assert condition(done, "SchedulerReady")["reason"] in ("ShutDown", "AnswersAgain")
    events = [event["reason"] for event in kubectl.items("events")]
    assert not {"SchedulerLost", "SchedulerFailed", "Retrying"} & set(events)
