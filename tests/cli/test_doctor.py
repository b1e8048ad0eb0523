"""``daskjob doctor``, with faults on a real cluster: each is found, and nothing is left."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from daskjob.kube.api import Api
from daskjob.kube.credentials import find_credentials
from daskjob.submit.doctor.cluster.ground import Ground
from daskjob.submit.doctor.cluster.small_job import small_job
from daskjob.submit.doctor.cluster.whole_job import whole_job
from daskjob.submit.doctor.finding import Finding
from daskjob.submit.installing.cluster_objects import ClusterObjects
from tests.cli.command import Daskjob, Done, finish
from tests.cli.kubeconfigs import kubeconfig_of
from tests.cluster.plugin import Kubectl, Kubernetes
from tests.operator.process import OperatorProcess
from tests.waiting import until, wait_until

ROOT = Path(__file__).parents[2]
Check = dict[str, str]
UNPULLED = ("ErrImagePull", "ImagePullBackOff")
#: What a command prints while it tries to connect for some seconds.
WAITS = "daskjob: waiting for the API server at 127.0.0.1:1 …"


class Doctor:
    """A user who examines the namespace of the test."""

    def __init__(self, daskjob: Daskjob, kubernetes: Kubernetes, namespace: str) -> None:
        daskjob.variables["KUBECONFIG"] = str(kubernetes.kubeconfig)
        self.daskjob = daskjob
        self.kubernetes = kubernetes
        self.namespace = namespace

    def checks(self, *words: object, code: int, waits: bool = False) -> dict[str, Check]:
        """Return the checks by their names; with ``waits``, the server may be waited for."""
        done = finish(self.start("-o", "json", *words), timeout=180)
        assert done.code == code, done.text + done.err
        assert done.err == "" or (waits and done.messages == [WAITS])
        return {check["check"]: check for check in done.object()["checks"]}

    def start(self, *words: object) -> Any:
        return self.daskjob.start("doctor", "-n", self.namespace, *words)


@pytest.fixture
def doctor(daskjob: Daskjob, with_crds: Kubernetes, namespace: str) -> Doctor:
    return Doctor(daskjob, with_crds, namespace)


def states(found: dict[str, Check], state: str) -> set[str]:
    return {name for name, check in found.items() if check["state"] == state}


def created(kubectl: Kubectl, *manifests: dict[str, Any]) -> None:
    items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
    kubectl("apply", "-f", "-", stdin=json.dumps(items))


def deployment(image: str, namespace: str, *, replicas: int, version: str) -> dict[str, Any]:
    sleeps = ["python", "-c", "import time; time.sleep(999)"]
    container = {"name": "o", "image": image, "command": sleeps, "args": ["-n", namespace]}
    labels = {"app.kubernetes.io/name": "daskjob-operator", "app.kubernetes.io/version": version}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "operator", "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
            },
        },
    }


async def _that_does_not_fit(doctor: Doctor, image: str) -> AsyncIterator[Finding]:
    """Run a job whose runner no node has room for."""
    job = small_job(image)
    requests = job["spec"]["job"]["spec"]["containers"][0]["resources"]
    requests["requests"]["cpu"] = "9k"
    requests.get("limits", {}).pop("cpu", None)
    credentials = find_credentials(str(doctor.kubernetes.kubeconfig))
    async with Api(credentials) as api:
        ground = Ground(api, credentials, ClusterObjects(api), doctor.namespace)
        async for finding in whole_job(ground, job):
            yield finding


async def test_namespace_where_all_is_well_runs_a_job(
    doctor: Doctor, kubectl: Kubectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskjob.submit.doctor.cluster.whole_job.STUCK_SECONDS", 2.0)
    process = OperatorProcess(
        doctor.kubernetes.kubeconfig, doctor.namespace, tmp_path / "operator.log"
    )
    await process.start()
    try:
        await until(lambda: kubectl.there("leases"), pause=0.2)
        image = doctor.kubernetes.image("dask")
        found = await asyncio.to_thread(doctor.checks, "--job", "--image", image, code=0)
        waits = [one async for one in _that_does_not_fit(doctor, image)]
    finally:
        await process.stop()
    [stuck] = waits
    assert stuck.state == "failed"
    assert "Insufficient cpu" in stuck.text
    assert stuck.fix.startswith("Request less (cpu: 9k), wait")
    assert states(found, "failed") == set()
    assert {"connection", "CRDs", "leader", "quota", "admission", "image", "DNS", "job"} <= states(
        found, "ok"
    )
    # An operator outside of the cluster has no Deployment.
    assert found["operator"]["state"] == "skipped"
    assert kubectl.there("daskjobs") == []
    wait_until(lambda: kubectl.there("pods") == [])


def test_quota_limits_and_a_missing_operator_are_found_and_no_pod_is_made(
    doctor: Doctor, kubectl: Kubectl
) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    doctor.kubernetes.kubectl("label", "namespace", doctor.namespace, label)
    created(
        kubectl,
        {
            "apiVersion": "v1",
            "kind": "LimitRange",
            "metadata": {"name": "small"},
            "spec": {"limits": [{"type": "Container", "max": {"memory": "350Mi"}}]},
        },
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "few"},
            "spec": {"hard": {"pods": "2", "requests.memory": "10Gi"}},
        },
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "daskjob-operator"},
            "spec": {
                "holderIdentity": "gone",
                "leaseDurationSeconds": 15,
                "renewTime": "2026-01-01T00:00:00.000000Z",
            },
        },
    )
    wait_until(lambda: "hard" in kubectl.items("resourcequotas")[0].get("status", {}))
    found = doctor.checks("--image", "none", code=1)
    assert states(found, "failed") == {"operator", "quota", "LimitRange", "admission"}
    assert "daskjob install" in found["operator"]["fix"]
    assert "few has no room for a job of one worker: pods: 0 of 2 used" in found["quota"]["text"]
    assert (
        "small rejects the worker of a small job: memory 400Mi is above its maximum 350Mi"
        in found["LimitRange"]["text"]
    )
    assert "maximum memory usage" in found["admission"]["text"]
    assert "enforces restricted" in found["Pod Security"]["text"]
    assert "--job starts a pod and a job of none" in found["image, DNS, job"]["text"]
    assert kubectl.there("pods") == []


def test_operator_that_does_not_work_is_found(doctor: Doctor, kubectl: Kubectl) -> None:
    image = doctor.kubernetes.image("dask")
    created(kubectl, deployment(image, doctor.namespace, replicas=0, version="0.1.0"))
    found = doctor.checks("--image", "none", code=1)
    assert found["operator"]["text"].endswith("operator has 0 replicas")
    assert found["leader"]["state"] == "failed"

    created(kubectl, deployment("missing.invalid/x:1", doctor.namespace, replicas=1, version="1"))
    wait_until(
        lambda: any(
            status.get("state", {}).get("waiting", {}).get("reason") in UNPULLED
            for pod in kubectl.items("pods")
            for status in pod.get("status", {}).get("containerStatuses", ())
        )
    )
    found = doctor.checks("--image", "none", code=1)
    assert "has no ready pod: the image of container o in pod" in found["operator"]["text"]

    # So that the doctor does not wait for it to lead.
    lease = {"holderIdentity": "me", "renewTime": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"}
    created(
        kubectl,
        deployment(image, doctor.namespace, replicas=1, version="9.0"),
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "daskjob-operator"},
            "spec": {**lease, "leaseDurationSeconds": 600},
        },
    )
    kubectl("rollout", "status", "deployment/operator", "--timeout=60s")
    found = doctor.checks("--image", "none", code=0)
    assert "is of version 9.0, this daskjob of 0.1.0" in found["operator"]["text"]
    assert "pip install daskjob==9.0" in found["operator"]["fix"]


def test_permissions_of_each_command_are_checked(
    doctor: Doctor, kubectl: Kubectl, tmp_path: Path
) -> None:
    kubectl("create", "serviceaccount", "guest")
    resources = "--resource=daskjobs.kubernetes.dask.org,pods"
    kubectl("create", "role", "guest", "--verb=get,list,watch", resources)
    account = f"--serviceaccount={doctor.namespace}:guest"
    kubectl("create", "rolebinding", "guest", "--role=guest", account)
    path = kubeconfig_of(doctor.kubernetes, doctor.namespace, "guest", tmp_path)
    doctor.daskjob.variables["KUBECONFIG"] = str(path)
    found = doctor.checks("--image", "none", code=1)
    prefix = "permission: "
    commands = {name: check for name, check in found.items() if name.startswith(prefix)}
    assert states(commands, "ok") == {f"{prefix}list, status, wait"}
    assert states(commands, "failed") == {
        prefix + name
        for name in (
            *("submit", "logs, attach", "events, why"),
            *("cancel, suspend, resume, scale", "delete"),
        )
    }
    where = f"a Role in namespace {doctor.namespace} grants it with "
    assert found[f"{prefix}submit"]["fix"] == (
        where + "{apiGroups: [kubernetes.dask.org], resources: [daskjobs], verbs: [create]}"
    )
    assert found[f"{prefix}logs, attach"]["fix"] == (
        where + '{apiGroups: [""], resources: [pods/log], verbs: [get]}'
    )
    assert "system:serviceaccount" in found["connection"]["text"]
    assert "valid for" in found["credentials"]["text"]
    # What this user may not read is no failure.
    for name in ("operator", "leader", "Pod Security", "quota", "LimitRange", "admission"):
        assert found[name]["state"] == "skipped", found[name]
    assert "DaskJobs are served" in found["CRDs"]["text"]


@pytest.fixture
def crds_restored(with_crds: Kubernetes) -> Iterator[Kubernetes]:
    yield with_crds
    folder = ROOT / "operator-chart" / "crds"
    with_crds.kubectl("apply", "--server-side", "--force-conflicts", f"--filename={folder}")
    with_crds.kubectl("wait", f"--filename={folder}", "--for=condition=Established")


@pytest.mark.usefixtures("crds_restored")
def test_missing_and_other_crds_are_found(doctor: Doctor, kubectl: Kubectl) -> None:
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/future"
    patch = [{"op": "add", "path": path, "value": {"type": "string"}}]
    name = "daskautoscalers.kubernetes.dask.org"
    kubectl("patch", "crd", name, "--type=json", f"--patch={json.dumps(patch)}")
    found = doctor.checks("--image", "none", code=1)
    assert found["CRDs"]["state"] == "warning"
    assert "spec.future" in found["CRDs"]["text"]
    kubectl("delete", "crd", name)
    found = doctor.checks("--image", "none", code=1)
    assert found["CRDs"]["state"] == "failed"
    assert found["CRDs"]["text"] == "missing: daskautoscalers"


def test_image_that_cannot_be_pulled_is_found_and_the_pod_is_deleted(
    doctor: Doctor, kubectl: Kubectl
) -> None:
    found = doctor.checks("--job", "--image", "missing.invalid/dask:1", code=1)
    assert found["image"]["state"] == "failed"
    assert "cannot be pulled" in found["image"]["text"]
    assert states(found, "skipped") >= {"job"}
    wait_until(lambda: kubectl.there("pods") == [])


def test_ctrl_c_leaves_no_pod(doctor: Doctor, kubectl: Kubectl) -> None:
    process = doctor.start("--job", "--image", "missing.invalid/dask:1")
    wait_until(lambda: len(kubectl.there("pods")) == 1)
    process.send_signal(signal.SIGINT)
    done: Done = finish(process)
    assert done.code == 130
    assert "Traceback" not in done.err
    wait_until(lambda: kubectl.there("pods") == [])


def test_namespace_that_does_not_exist_is_found(doctor: Doctor) -> None:
    doctor.namespace = "nowhere"
    found = doctor.checks(code=1)
    assert found["namespace"]["text"] == "nowhere does not exist"
    assert list(found)[-1] == "namespace"


def broken(kubernetes: Kubernetes, folder: Path, fault: str) -> Path:
    """Return a kubeconfig with a fault."""
    config = json.loads(kubernetes.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    if fault == "token":
        config["users"][0]["user"] = {"token": "wrong"}
    elif fault == "server":
        config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    else:
        config["current-context"] = "none"
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    ("fault", "text", "fix"),
    [
        ("token", "Unauthorized", "log in again"),
        ("server", "Cannot connect to host 127.0.0.1:1", "check the network"),
        ("context", "there is no context 'none'", "set KUBECONFIG"),
    ],
)
def test_connection_that_fails_is_the_only_line(
    doctor: Doctor, tmp_path: Path, fault: str, text: str, fix: str
) -> None:
    path = broken(doctor.kubernetes, tmp_path, fault)
    doctor.daskjob.variables["KUBECONFIG"] = str(path)
    found = doctor.checks(code=1, waits=fault == "server")
    assert list(found) == ["connection"]
    assert text in found["connection"]["text"]
    assert fix in found["connection"]["fix"]


def test_this_machine_is_checked_without_a_cluster(daskjob: Daskjob) -> None:
    daskjob.variables["KUBECONFIG"] = "/none"
    daskjob.variables["UV_DEFAULT_INDEX"] = "http://127.0.0.1:1/simple"
    done = daskjob("doctor")
    # Without an index, runs and jobs work.
    assert "warning  package index: http://127.0.0.1:1/simple is of no use from here" in done.text
    assert done.code == 0, done.text
    lines = [line for line in done.text.splitlines() if not line.startswith(" ")]
    assert [line.split(":")[0].split(maxsplit=1)[1] for line in lines] == [
        *("dask", "state directory", "temporary space", "shared memory"),
        *("packages", "package index", "open files"),
    ]
    (daskjob.folder / "file").write_text("")
    done = daskjob("doctor", env={"DASKJOB_STATE_DIR": str(daskjob.folder / "file" / "x")})
    assert done.code == 1
    assert "set DASKJOB_STATE_DIR to a folder of yours" in done.text
    assert daskjob("doctor", "--job").code == 2
