"""A cluster as the documents assume it: their images, room for their pods, and the operator."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dask.config
import distributed
import pytest

from tests.cluster.binaries import binary
from tests.cluster.images import image
from tests.cluster.plugin import Kubectl, Kubernetes
from tests.docs.consoles import Reader, programs
from tests.documented.session import Session
from tests.waiting import wait_until

CHART = Path(__file__).parents[2] / "operator-chart"
#: The namespace in which users of the documents work.
NAMESPACE = "default"
#: The names of images in the documents, and of ours in the chart.
IMAGES = {
    # With JupyterLab, which the documents install by EXTRA_PIP_PACKAGES.
    "ghcr.io/dask/dask:latest": "jupyter",
    "docker.io/daskdev/dask:latest": "dask",
    "docker.io/rapidsai/rapidsai:cuda11.0-runtime-ubuntu18.04-py3.8": "dask",
    "foo.com/jacobtomlinson/dask:latest": "dask",
    "docker.io/library/daskjob-operator:0.1.0": "operator",
    "docker.io/library/my_controller_image:0.1.0": "operator",
}
#: The node has the images, and room for four pods of a cluster, whatever they request. The
#: documents show six pods of the cluster LARGE, so its pods are smaller.
REQUESTS = {"cpu": "450m", "memory": "200Mi"}
LARGE, SMALLER = "simple", "300m"
#: What the documents assume of a node.
NODE_LABELS = ("disktype=ssd", "cloud.google.com/gke-nodepool=gpu-node-pool")
GPU = "nvidia.com~1gpu"
_POLICY = "documented-sizes"


@pytest.fixture(scope="package")
def assumed(with_crds: Kubernetes) -> Iterator[Kubernetes]:
    """The cluster, with what the documents assume of it."""
    native = with_crds.provider.native
    if native is None:
        pytest.skip("only a native cluster has images of any name, and a policy for sizes")
    for name, of in IMAGES.items():
        with_crds.image(of)
        native.name_image(image(of), name)
    with_crds.kubectl("apply", "-f", "-", stdin=json.dumps(_policy()))
    # The API server takes a policy up some time after it is stored.
    wait_until(lambda: not _is_pulled(with_crds), pause=0.2)
    # Other tests have nodes that only pretend.
    node = with_crds.kubectl("get", "nodes", "-l", "daskjob.test/node=real", "-o", "name").strip()
    with_crds.kubectl("label", "--overwrite", node, *NODE_LABELS)
    _set_gpus(with_crds, node, "add", "4")
    try:
        yield with_crds
    finally:
        _set_gpus(with_crds, node, "remove")
        with_crds.kubectl("label", node, *(f"{label.split('=')[0]}-" for label in NODE_LABELS))
        with_crds.kubectl("delete", "-f", "-", stdin=json.dumps(_policy()))


def _is_pulled(kubernetes: Kubernetes) -> bool:
    """Return whether a new pod's image ``latest`` would be pulled from its registry."""
    container = {"name": "main", "image": next(iter(IMAGES))}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asked"}}
    asked = json.dumps({**pod, "spec": {"containers": [container]}})
    words = ("-n", NAMESPACE, "create", "--dry-run=server", "-o", "json", "-f", "-")
    answer = json.loads(kubernetes.kubectl(*words, stdin=asked))
    return bool(answer["spec"]["containers"][0]["imagePullPolicy"] == "Always")


def _set_gpus(kubernetes: Kubernetes, node: str, op: str, *value: str) -> None:
    change = {"op": op, "path": f"/status/capacity/{GPU}", **({"value": value[0]} if value else {})}
    words = ("--subresource=status", "--type=json", "-p", json.dumps([change]))
    kubernetes.kubectl("patch", node, *words)


def _policy() -> dict[str, Any]:
    """Return a policy that gives each pod the same size, and forbids to pull its image."""
    label = "dask.org/cluster-name"
    labelled = f'has(object.metadata.labels) && "{label}" in object.metadata.labels'
    is_large = f'{labelled} && object.metadata.labels["{label}"] == "{LARGE}"'
    cpu = f'{is_large} ? "{SMALLER}" : "{REQUESTS["cpu"]}"'
    requests = f'"cpu": {cpu}, "memory": "{REQUESTS["memory"]}"'
    path = "/spec/containers/0"
    expression = (
        f'[JSONPatch{{op: "add", path: "{path}/resources/requests", value: {{{requests}}}}}, '
        f'JSONPatch{{op: "add", path: "{path}/imagePullPolicy", value: "IfNotPresent"}}]'
    )
    api = "admissionregistration.k8s.io/v1beta1"
    selector = {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
    }
    policy = {
        "apiVersion": api,
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": _POLICY},
        "spec": {
            "matchConstraints": {"namespaceSelector": selector, "resourceRules": [rule]},
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
        },
    }
    binding = {
        "apiVersion": api,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": _POLICY},
        "spec": {"policyName": _POLICY},
    }
    return {"apiVersion": "v1", "kind": "List", "items": [policy, binding]}


@pytest.fixture(scope="package")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Helm repository with this checkout's chart."""
    folder = tmp_path_factory.mktemp("charts")
    helm = str(binary("helm"))
    for words in (("package", str(CHART), "-d", str(folder)), ("repo", "index", str(folder))):
        subprocess.run([helm, *words], check=True, capture_output=True)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.fixture(scope="package")
def sessions(
    assumed: Kubernetes, charts: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Session]:
    """Starts a session of a user."""

    def started() -> Session:
        folder = tmp_path_factory.mktemp("session")
        kubectl = shlex.join(assumed.command())
        home = {"HOME": str(folder), "KUBECONFIG": str(assumed.kubeconfig)}
        kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        path = programs(folder / "bin", kubectl=kubectl, helm=str(binary("helm")))
        environment = {**kept, **home, "PATH": path}
        reader = Reader(folder / "work", environment, (("https://helm.dask.org", charts),))
        return Session(reader.folder, Kubectl(assumed, NAMESPACE), reader)

    return started


@pytest.fixture(scope="package")
def operator(sessions: Callable[[], Session]) -> Iterator[Session]:
    """The session that has installed the operator, as the first pages show."""
    user = sessions()
    with installed(user):
        user.console("operator/repo-add")
        user.console("operator/repo-update")
        user.console("operator/helm-install")
        user.until_shown("operator/operator-pod")
        yield user


@contextmanager
def installed(user: Session) -> Iterator[None]:
    """Uninstall afterwards what was installed."""
    before = _releases(user)
    try:
        yield
    finally:
        for namespace, name in _releases(user) - before:
            user.reader.run_text(f"helm uninstall -n {namespace} {name} --wait")


def _releases(user: Session) -> set[tuple[str, str]]:
    listed = json.loads(user.reader.run_text("helm list -A -o json"))
    return {(one["namespace"], one["name"]) for one in listed}


@pytest.fixture
def user(
    sessions: Callable[[], Session], monkeypatch: pytest.MonkeyPatch, kubernetes: Kubernetes
) -> Iterator[Session]:
    """A user of the cluster, also in this process."""
    session = sessions()
    # Its configuration is there before a part of it is set.
    assert distributed
    monkeypatch.chdir(session.folder)
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    with dask.config.set({"distributed.comm.timeouts.connect": "60s"}):
        yield session
    for kind in ("client", "c", "cluster"):
        with suppress(Exception):
            session.names[kind].close()
    session.names.clear()
    remove_all(session.kubectl)


def remove_all(kubectl: Kubectl) -> None:
    """Delete what the documents have made in the namespace."""
    kinds = "daskjobs,daskautoscalers,daskclusters,poddisruptionbudgets,deployments"
    kubectl("delete", kinds, "--all")
    kubectl("delete", "pods", "--all", "--force", "--grace-period=0")
    kubectl("delete", "services", "--selector", "dask.org/cluster-name")
    wait_until(lambda: not kubectl.there("pods"), 120, pause=0.2)


@pytest.fixture
def in_pod(kubernetes: Kubernetes) -> Callable[..., str]:
    """Runs a program in a pod, as a service account; returns its log."""
    kubectl = Kubectl(kubernetes, NAMESPACE)

    def run(account: str, code: str, files: dict[str, str] | None = None) -> str:
        written = "".join(
            f"open({name!r}, 'w').write({text!r})\n" for name, text in (files or {}).items()
        )
        container = {
            "name": "main",
            "image": kubernetes.image("operator"),
            "workingDir": "/tmp",
            "command": ["python", "-c", written + code],
            "env": [{"name": "HOME", "value": "/tmp"}],
        }
        spec = {
            "serviceAccountName": account,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "program"}, "spec": spec}
        kubectl("apply", "-f", "-", stdin=json.dumps(pod))
        ended = ("Succeeded", "Failed")

        def phase() -> str:
            (found,) = kubectl.items("pods", fieldSelector="metadata.name=program")
            name = str(found.get("status", {}).get("phase"))
            return name if name in ended else ""

        last = wait_until(phase, 240, lambda: kubectl.log("program")[-3000:], pause=0.2)
        log = kubectl.log("program")
        assert last == "Succeeded", log
        return log

    return run
