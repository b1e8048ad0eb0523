"""The cluster has all features of Kubernetes that other tests rely on."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.plugin import Kubectl, KubectlFailed, Kubernetes, WaitFor
from tests.waiting import wait_until

Manifest = dict[str, Any]
Apply = Callable[..., None]

#: The requirements of Pod Security's "restricted" for a pod and its containers.
RESTRICTED_POD = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def pod(name: str, image: str, *args: str, **spec: Any) -> Manifest:
    """A pod with one container that is not restarted."""
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": list(args),
        "securityContext": RESTRICTED,
        **spec.pop("container", {}),
    }
    labels = {"name": name}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels, **spec.pop("metadata", {})},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "securityContext": RESTRICTED_POD,
            "containers": [container],
            **spec,
        },
    }


def phase(wanted: str) -> Callable[[Manifest], bool]:
    return lambda found: bool(found["status"].get("phase") == wanted)


def python(name: str, image: str, code: str, **spec: Any) -> Manifest:
    return pod(name, image, "python", "-c", code, **spec)


@pytest.fixture
def image(kubernetes: Kubernetes) -> str:
    return kubernetes.image("dask")


CLIENT = """
from distributed import Client
with Client("tcp://dask.{namespace}.svc:8786") as client:
    client.wait_for_workers(2)
    print("sum", client.submit(sum, client.map(lambda n: n * n, range(100))).result())
    print("workers", len(client.scheduler_info()["workers"]))
"""


def test_dask_computes_in_plain_pods_over_cluster_dns_under_restricted_pod_security(
    namespace: str, kubectl: Kubectl, apply: Apply, wait_for: WaitFor, image: str
) -> None:
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "dask"},
        "spec": {
            "selector": {"name": "scheduler"},
            "ports": [{"port": 8786}],
            "publishNotReadyAddresses": True,
        },
    }
    address = f"tcp://dask.{namespace}.svc:8786"
    apply(
        service,
        pod("scheduler", image, "dask", "scheduler"),
        *(pod(f"worker-{n}", image, "dask", "worker", "--nthreads=1", address) for n in (1, 2)),
        python("client", image, CLIENT.format(namespace=namespace)),
    )
    wait_for("pod", "client", phase("Succeeded"))
    assert {"sum 328350", "workers 2"} <= set(kubectl.log("client").splitlines())


def test_logs_exec_and_port_forward_work(
    kubernetes: Kubernetes,
    namespace: str,
    kubectl: Kubectl,
    apply: Apply,
    wait_for: WaitFor,
    image: str,
) -> None:
    serve = "print('it serves', flush=True)\nimport http.server as h\n"
    serve += "h.test(h.SimpleHTTPRequestHandler, port=8000)"
    probe = {"readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1}}
    apply(python("server", image, serve, container=probe))
    wait_for("pod", "server", lambda p: any(s["ready"] for s in statuses(p)))

    assert kubectl("logs", "server").startswith("it serves\n")
    assert kubectl("exec", "server", "--", "id", "-u") == "1000\n"
    command = kubernetes.command(f"--namespace={namespace}", "port-forward", "pod/server", ":8000")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        assert forward.stdout is not None
        try:
            found = re.search(r"127\.0\.0\.1:(\d+)", forward.stdout.readline())
            assert found
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/", timeout=20) as answer:
                assert b"Directory listing" in answer.read()
        finally:
            forward.terminate()


def statuses(found: Manifest) -> list[Manifest]:
    return found["status"].get("containerStatuses") or []


def test_pod_killed_by_its_memory_limit_is_oom_killed(
    apply: Apply, wait_for: WaitFor, image: str
) -> None:
    limit = {"resources": {"limits": {"memory": "64Mi"}}}
    apply(python("greedy", image, "b = bytearray(500 << 20); print(len(b))", container=limit))
    ended = wait_for("pod", "greedy", phase("Failed"))
    assert statuses(ended)[0]["state"]["terminated"]["reason"] == "OOMKilled"


def test_unschedulable_pod_reports_the_reason(apply: Apply, wait_for: WaitFor, image: str) -> None:
    room = {"resources": {"requests": {"memory": "900Gi"}}}
    apply(python("huge", image, "pass", container=room))

    def unschedulable(found: Manifest) -> list[str]:
        conditions = found["status"].get("conditions") or []
        return [c["message"] for c in conditions if c.get("reason") == "Unschedulable"]

    assert "Insufficient memory" in unschedulable(wait_for("pod", "huge", unschedulable))[0]


def test_service_account_has_exactly_the_permissions_of_its_role(
    namespace: str, kubectl: Kubectl
) -> None:
    user = f"system:serviceaccount:{namespace}:reader"
    kubectl("create", "serviceaccount", "reader")
    kubectl("create", "role", "reads", "--verb=list", "--resource=pods")
    kubectl(
        "create", "rolebinding", "reads", "--role=reads", f"--serviceaccount={namespace}:reader"
    )

    assert kubectl("get", "pods", "-o", "name", f"--as={user}") == ""
    with pytest.raises(KubectlFailed, match='cannot list resource "secrets"'):
        kubectl("get", "secrets", f"--as={user}")
    with pytest.raises(KubectlFailed, match="cannot list resource"):
        kubectl("get", "pods", "--namespace=kube-system", f"--as={user}")


def test_garbage_collection_follows_owner_references(
    kubectl: Kubectl, apply: Apply, image: str
) -> None:
    apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}})
    uid = kubectl("get", "configmap", "owner", "-o", "jsonpath={.metadata.uid}")
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    owners = {"ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": False}]}
    apply(
        pod("owned", image, "sleep", "3600", metadata=owners),
        pod("free", image, "sleep", "3600"),
    )
    kubectl("delete", "configmap", "owner")
    kubectl("wait", "pod/owned", "--for=delete", "--timeout=60s")
    assert kubectl("get", "pods", "-o", "name").split() == ["pod/free"]


def test_namespace_is_deleted_with_everything_in_it(
    kubernetes: Kubernetes, namespace: str, apply: Apply, wait_for: WaitFor, image: str
) -> None:
    apply(pod("running", image, "sleep", "3600"))
    wait_for("pod", "running", phase("Running"))
    kubernetes.kubectl("delete", "namespace", namespace, "--timeout=60s")
    with pytest.raises(KubectlFailed, match="not found"):
        kubernetes.kubectl("get", "namespace", namespace)
    # The fixture deletes the namespace.
    kubernetes.kubectl("create", "namespace", namespace)


def test_stopped_pod_keeps_its_log_and_exit_code(
    kubectl: Kubectl, apply: Apply, wait_for: WaitFor, image: str
) -> None:
    """The runner of a job is stopped this way (design §3.1)."""
    code = "import signal, sys, time\nsignal.signal(15, lambda *_: (print('told'), sys.exit(3)))\n"
    code += "print('works', flush=True)\ntime.sleep(3600)"
    apply(python("runner", image, code, terminationGracePeriodSeconds=20))
    wait_for("pod", "runner", phase("Running"))
    kubectl("wait", "pod/runner", "--for=condition=Ready", "--timeout=30s")
    wait_until(lambda: "works" in kubectl("logs", "runner"), 20)
    kubectl("patch", "pod", "runner", "-p", json.dumps({"spec": {"activeDeadlineSeconds": 1}}))
    ended = wait_for("pod", "runner", lambda p: phase("Failed")(p) and terminated(p))
    assert ended["status"]["reason"] == "DeadlineExceeded"
    assert terminated(ended)["exitCode"] == 3
    assert kubectl("logs", "runner") == "works\ntold\n"


def terminated(found: Manifest) -> Manifest:
    return next((s["state"].get("terminated") or {} for s in statuses(found)), {})


def test_pod_cannot_reach_anything_outside_the_cluster(
    kubernetes: Kubernetes, kubectl: Kubectl, apply: Apply, wait_for: WaitFor, image: str
) -> None:
    if kubernetes.provider.audit_log is None:
        pytest.skip("only the native cluster has no route to the outside")
    code = "import socket\ntry:\n    socket.create_connection(('198.51.100.1', 80), timeout=20)\n"
    code += "except OSError as error:\n    print(error.strerror)"
    apply(python("curious", image, code))
    wait_for("pod", "curious", phase("Succeeded"))
    assert kubectl("logs", "curious") == "Network is unreachable\n"


def test_connection_to_an_unknown_service_is_rejected_at_once(
    kubernetes: Kubernetes,
) -> None:
    """kube-proxy may not know a new Service yet; packets to it must not leave the cluster."""
    if kubernetes.provider.audit_log is None:
        pytest.skip("only the native cluster's network of Services is known")
    text = kubernetes.kubectl("get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
    unknown = text.rpartition(".")[0] + ".77"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((unknown, 8786), timeout=10)
