"""The documents of the operator: KubeCluster, kubectl, and migrating to it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import yaml

from tests.documented.blocks import documented
from tests.documented.conftest import installed
from tests.documented.session import Session, rows, rows_shown
from tests.printed import assert_printed
from tests.waiting import wait_until

SECONDS = 240
CONTAINERS = {"containers": [{"name": "main", "image": "ghcr.io/dask/dask:latest"}]}

pytestmark = [
    pytest.mark.usefixtures("operator"),
    # Python's patch release.
    pytest.mark.filterwarnings("ignore:Mismatched versions"),
]


def computes(user: Session, workers: int = 1) -> None:
    """Have a cluster compute, with at least this many workers."""
    if not any(groups(user).values()):
        user.cluster.scale(workers)
    with user.cluster.get_client() as client:
        client.wait_for_workers(workers, timeout=SECONDS)
        assert client.submit(sum, range(100)).result(timeout=SECONDS) == 4950


def groups(user: Session) -> dict[str, int]:
    """Return the worker groups with their sizes."""
    found = json.loads(user.kubectl("get", "daskworkergroups", "-o", "json"))["items"]
    return {one["metadata"]["name"]: one["spec"]["worker"]["replicas"] for one in found}


def bounds(user: Session) -> dict[str, int]:
    """Return the bounds of the automatic scaling of the only cluster."""
    (found,) = user.kubectl.items("daskclusters")
    return dict(found["spec"]["worker"].get("autoscaling") or {})


def workers(user: Session, name: str = "") -> list[dict[str, Any]]:
    """Return the pods of the workers of a cluster, or of the last one of Python."""
    name = name or user.cluster.name
    selector = f"dask.org/component=worker,dask.org/cluster-name={name}"
    return user.kubectl.items("pods", labelSelector=selector)


# KubeCluster


#: The end of a program whose cluster has these workers: the first cluster of its name, which the
#: others have found, is deleted with it.
ENDS = """
client = cluster.get_client()
client.wait_for_workers(2, timeout=240)
print(client.submit(sum, range(100)).result(timeout=240), len(cluster.requested))
client.close()
"""


def ends(user: Session, workers: int, *places: str) -> None:
    """Run blocks as a program, with the check that its cluster computes; nothing is left."""
    assert_printed(user.program(*places, end=ENDS), f"4950 {workers}")
    wait_until(lambda: not user.kubectl.there("daskclusters"), SECONDS)


def test_first_pages(user: Session) -> None:
    first = ("overview/cluster", "overview/autoscalers")
    ends(user, 10, *first, "operator/cluster", "operator/autoscalers")


def test_cluster_manager(user: Session) -> None:
    user.python("operator/create")
    assert groups(user) == {"foo-default": 0}
    user.python("operator/scale")
    assert groups(user) == {"foo-default": 1}
    user.python("operator/adapt")
    assert groups(user) == {"foo-default": 1}
    assert bounds(user) == {}
    user.python("operator/client")
    client = user.names["client"]
    assert client.submit(sum, range(100)).result(timeout=SECONDS) == 4950
    client.close()
    user.python("operator/close")
    wait_until(lambda: not user.kubectl.there("daskclusters", "pods"), SECONDS)


def test_additional_worker_groups(user: Session) -> None:
    user.python("operator/add-group")
    assert groups(user) == {"foo-default": 0, "foo-highmem": 2}
    user.python("operator/scale-group")
    assert groups(user)["foo-highmem"] == 5
    computes(user)
    user.python("operator/delete-group")
    wait_until(lambda: set(groups(user)) == {"foo-default"}, SECONDS)


def test_specs_are_made_and_changed(user: Session) -> None:
    ends(user, 2, "operator/equivalent")
    user.python("operator/node-selector")
    first = user.cluster
    # The same lines in another section: they find that cluster.
    user.python("operator/selector")
    computes(user, 2)
    assert all(pod["spec"]["nodeSelector"] == {"disktype": "ssd"} for pod in workers(user))
    user.cluster.close()
    first.close()


def test_jupyter_runs_in_the_scheduler(user: Session) -> None:
    from urllib.request import urlopen

    user.python("operator/jupyter")
    link = user.cluster.dashboard_link.replace("/status", "/jupyter/api")
    with urlopen(link, timeout=60) as answer:
        assert "version" in json.load(answer)


def test_worker_spec_with_a_gpu(user: Session) -> None:
    user.python("operator/worker-spec")
    computes(user, 2)
    gpus = [
        pod
        for pod in workers(user)
        if "nvidia.com/gpu" in pod["spec"]["containers"][0]["resources"]["limits"]
    ]
    assert len(gpus) == 2
    label = {"cloud.google.com/gke-nodepool": "gpu-node-pool"}
    assert all(pod["spec"]["nodeSelector"] == label for pod in gpus)


def test_private_registry(user: Session) -> None:
    user.kubectl("delete", "secret", "regcred", "--ignore-not-found")
    user.console("operator/secret")
    user.python("operator/private")
    computes(user)
    secrets = [pod["spec"]["imagePullSecrets"] for pod in user.kubectl.items("pods")]
    assert secrets == [[{"name": "regcred"}]] * len(secrets) != []


def test_class_and_its_methods(user: Session) -> None:
    user.python("operator/class")
    user.python("operator/class-group")
    user.python("operator/class-scale")
    user.python("operator/class-scale-group")
    assert groups(user) == {"foo-default": 10, "foo-additional": 10}
    user.cluster.scale(0, worker_group="additional")
    user.python("operator/class-adapt")
    assert bounds(user) == {"minimum": 20, "maximum": 50}
    user.python("operator/class-client")
    assert user.names["client"].submit(sum, [1, 2]).result(timeout=SECONDS) == 3
    assert "foo-scheduler" in user.value("operator/class-logs")
    user.python("operator/method-adapt")
    assert bounds(user) == {"minimum": 1, "maximum": 10}
    user.python("operator/method-add-group")
    assert groups(user)["foo-high-mem-workers"] == 5
    user.python("operator/method-scale")
    found = groups(user)
    assert (found["foo-default"], found["foo-high-mem-workers"]) == (10, 7)
    user.python("operator/method-delete-group")
    wait_until(lambda: "foo-high-mem-workers" not in groups(user), SECONDS)
    logs = user.value("operator/method-logs")
    assert any(re.match("foo-default-worker-", name) for name in logs)
    wait_until(lambda: "Scheduler at:" in user.python("operator/method-print-logs"), SECONDS)
    user.names["client"].close()


def test_existing_clusters_by_name(user: Session) -> None:
    for place, name, variable in (
        ("operator/class-from-name", "ialreadyexist", "existing_cluster"),
        ("operator/method-from-name", "simple-cluster", "cluster"),
    ):
        exec(
            f"from daskjob.operator import KubeCluster; made = KubeCluster({name!r}, n_workers=0)",
            user.names,
        )
        user.python(place)
        found = user.names.pop(variable)
        assert found.name == name
        found.close()
        assert f"daskcluster.kubernetes.dask.org/{name}" in user.kubectl.there("daskclusters")
        user.names.pop("made").close()


def test_monitored(user: Session) -> None:
    file = user.file("operator/metrics")
    rendered = user.reader.run_text(
        f"helm template release operator-chart --kube-version 1.34 -f {file}"
    )
    kinds = {one["kind"] for one in yaml.safe_load_all(rendered) if one}
    assert {"ServiceMonitor", "PodMonitor"} < kinds
    user.python("operator/monitored")
    computes(user)


def test_cluster_from_a_pod_with_the_documented_role(
    user: Session, in_pod: Callable[..., str]
) -> None:
    user.kubectl("apply", "-f", str(user.file("operator/role")))
    try:
        user.kubectl("create", "serviceaccount", "dask-sa")
        blocks = ("operator/create", "operator/scale", "operator/client")
        code = "".join(documented()[place].text for place in blocks)
        end = "print(client.submit(sum, range(100)).result())\nclient.close()\n"
        assert "4950" in in_pod("dask-sa", code + end + documented()["operator/close"].text)
    finally:
        user.kubectl("delete", "serviceaccount", "dask-sa")
        user.kubectl("delete", "-f", str(user.folder / "role.yaml"))


# kubectl


def test_cluster_by_kubectl(user: Session) -> None:
    user.file("operator/cluster.yaml")
    user.console("operator/apply-cluster")
    user.console("operator/list-clusters")
    user.until_shown("operator/list-services")
    wait_until(lambda: not _missing_workers(user, 2), SECONDS, pause=0.5)
    with _forwarded(user) as port:
        block = documented()["operator/connect"]
        code = "\n".join(line[4:] for line in block.text.splitlines() if line.startswith(">>> "))
        # Another program of this machine may have the port.
        exec(code.replace("8786", str(port)).replace("print", "shown = repr"), user.names)
        assert re.match(
            r"<Client: 'tcp://.+' processes=\d+ threads=\d+, memory=", user.names["shown"]
        )
        client = user.names["client"]
        client.wait_for_workers(2, timeout=SECONDS)
        assert client.submit(sum, range(100)).result(timeout=SECONDS) == 4950
        client.close()
    user.console("operator/scale-by-kubectl")
    user.until_shown("operator/list-more-pods")
    user.console("operator/delete-cluster")
    user.console("operator/apply-cluster")
    user.console("operator/delete-cluster-by-name")


def _missing_workers(user: Session, number: int) -> list[str]:
    """Return what is missing until the table of pods is as shown, with this many workers."""
    (ran,) = user.ran("operator/list-pods")
    shown = list(ran.command.shown)
    # The document shows three workers of two.
    ran = type(ran)(
        type(ran.command)(ran.command.text, (*shown[: number + 1], shown[-1])), 0, ran.text
    )
    return list(user.faults("operator/list-pods", [ran]))


@contextmanager
def _forwarded(user: Session) -> Iterator[int]:
    """Forward as the document shows; yield the local port."""
    (command,) = documented()["operator/port-forward"].console.commands()
    with closing(socket.socket()) as probe:
        free = probe.connect_ex(("127.0.0.1", 8786)) != 0
    text = command.text if free else command.text.replace("8786:8786", ":8786")
    process = subprocess.Popen(
        ["bash", "-c", f"exec {text}"],
        cwd=user.folder,
        env=dict(user.reader.environment),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> 8786", process.stdout.readline())
        assert found
        yield int(found[1])
    finally:
        process.terminate()
        process.communicate()


def test_groups_and_autoscalers_by_kubectl(user: Session) -> None:
    user.file("operator/cluster.yaml")
    user.console("operator/apply-cluster")
    user.file("operator/highmemworkers.yaml")
    user.console("operator/apply-group")
    user.until_shown("operator/list-groups")
    selector = "dask.org/workergroup-name=simple-highmem"
    wait_until(lambda: len(user.kubectl.items("pods", labelSelector=selector)) == 2, SECONDS)
    user.file("operator/autoscaler.yaml")
    user.console("operator/apply-autoscaler")
    active = "--for=condition=ScalingActive"
    user.kubectl("wait", "daskautoscaler/simple", active, f"--timeout={SECONDS}s")
    user.console("operator/delete-autoscaler")
    user.console("operator/delete-cluster")
    wait_until(lambda: not groups(user), SECONDS)


def test_job_by_kubectl(user: Session) -> None:
    user.file("operator/job.yaml")
    user.console("operator/apply-job")
    seen: set[str] = set()
    wanted = {
        re.sub("worker-.*", "worker", row["NAME"]) for row in _shown("operator/list-job-pods")
    }

    def completed() -> bool:
        (ran,) = user.ran("operator/list-completed-pods")
        assert ran.code == 0
        found = rows(ran.text.splitlines())
        seen.update(re.sub("worker-.*", "worker", row["NAME"]) for row in found if "NAME" in row)
        states = {row["NAME"]: row["STATUS"] for row in found if "NAME" in row}
        done = states.pop("simple-job-runner", "") == "Completed"
        return done and set(states.values()) <= {"Terminating"}

    wait_until(completed, SECONDS, pause=0.1)
    assert wanted <= seen
    assert not user.ran("operator/list-job-pods")[0].code
    user.console("operator/delete-job")
    wait_until(lambda: not user.kubectl.there("pods", "daskclusters"), SECONDS)


def _shown(place: str) -> list[dict[str, str]]:
    (command,) = documented()[place].console.commands()
    return rows_shown(list(command.shown))


def test_client_in_a_job(user: Session) -> None:
    text = documented()["operator/client-in-job"].text
    (user.folder / "script.py").write_text(f"{text}\nprint(client.submit(sum, [1, 2]).result())")
    assert "3" in user.reader.run_text("daskjob run --workers 1 script.py").split()


def test_annotations_are_propagated(user: Session) -> None:
    containers = json.dumps(
        {"containers": [{**CONTAINERS["containers"][0], "args": ["dask-worker"]}]}
    )
    file = user.file("operator/annotated", **{"      ...": f"      {containers}"})
    wanted = yaml.safe_load(user.file("operator/annotated-pod").read_text())["metadata"]
    user.kubectl("apply", "-f", str(file))
    named = f"metadata.name={wanted['name']}"
    (pod,) = wait_until(lambda: user.kubectl.items("pods", fieldSelector=named), SECONDS)
    assert wanted["annotations"].items() <= pod["metadata"]["annotations"].items()
    (worker, *_) = wait_until(lambda: workers(user, "example"), SECONDS)
    assert {"hello": "world", "foo": "bar"}.items() <= worker["metadata"]["annotations"].items()


@pytest.mark.parametrize(
    "place",
    [
        "operator/full-cluster",
        "operator/full-group",
        "operator/full-job",
        "operator/full-autoscaler",
    ],
)
def test_full_references_are_accepted(user: Session, place: str) -> None:
    pod = json.dumps(CONTAINERS)
    service = json.dumps({"ports": [{"name": "tcp-comm", "port": 8786}]})
    part = f"{{replicas: 1, spec: {pod}}}"
    cluster = f"{{worker: {part}, scheduler: {{spec: {pod}, service: {service}}}}}"
    file = user.file(
        place,
        **{"spec: ... # PodSpec": f"spec: {pod} #", "spec: ... # Cluster": f"spec: {cluster} #"},
        **{"service: ...": f"service: {service}"},
    )
    assert "created (server dry run)" in user.kubectl("apply", "--dry-run=server", "-f", str(file))


# Migrating


def test_simple_clusters(user: Session) -> None:
    user.python("operator/simple")
    computes(user)
    user.cluster.close()
    user.python("operator/options")
    computes(user, 3)
    env = workers(user)[0]["spec"]["containers"][0]["env"]
    assert {"name": "FOO", "value": "bar"} in env


def test_pod_templates_and_specs_of_files(user: Session) -> None:
    user.file("operator/worker-spec.yml")
    exec("from daskjob import KubeCluster", user.names)
    exec("cluster = KubeCluster.from_yaml('worker-spec.yml', n_workers=1)", user.names)
    computes(user)
    user.cluster.close()
    user.file("operator/cluster-spec.yml")
    user.python("operator/from-spec")
    computes(user, 2)
    user.console("operator/apply-spec")
    user.cluster.close()
    wait_until(lambda: not user.kubectl.there("daskclusters"), SECONDS)
    user.console("operator/apply-spec")
    user.python("operator/connect-by-name")
    assert user.names["client"].submit(sum, range(100)).result(timeout=SECONDS) == 4950
    assert groups(user) == {"example-default": 5}
    user.names["client"].close()


def test_middle_ground(user: Session) -> None:
    ends(user, 2, "operator/same-by-spec")
    user.python("operator/merge")
    computes(user)
    assert all(pod["spec"]["nodeSelector"] == {"disktype": "ssd"} for pod in workers(user))


# Installing


def test_operator_is_installed_and_shown(operator: Session) -> None:
    operator.console("operator/no-clusters")
    operator.console("operator/operator-pod")


def next_generated_name() -> None:
    """Wait until Helm generates another name: it is the second of the installation."""
    second = int(time.time())
    wait_until(lambda: int(time.time()) > second, 2)


def test_other_ways_to_install(user: Session) -> None:
    with installed(user):
        user.console("overview/install-operator")
        next_generated_name()
        user.console("operator/install-operator")
        next_generated_name()
        user.console("operator/install-quickstart")
    with installed(user):
        user.console("operator/migrating-repo-add")
        user.console("operator/migrating-repo-update")
        user.console("operator/migrating-helm-install")
        next_generated_name()
        user.console("operator/plugin-install")
        user.console("operator/custom-image")
        user.kubectl("rollout", "status", "deployments", "--timeout=120s")
        user.kubectl("rollout", "status", "deployments", "--timeout=120s", "-n", "dask-operator")
    user.kubectl("create", "namespace", "my-namespace")
    try:
        with installed(user):
            user.console("operator/single-namespace")
            user.kubectl("rollout", "status", "deployments", "--timeout=120s", "-n", "my-namespace")
    finally:
        user.kubectl("delete", "namespace", "my-namespace", "--wait=false")


def test_manifests_of_the_chart(user: Session) -> None:
    # All other tests use the CRDs, and some compare who has applied them.
    printed = user.console("operator/template")
    assert printed.count("customresourcedefinition.apiextensions.k8s.io/dask") == 4
    assert "deployment.apps/release-daskjob-operator created (server dry run)" in printed


def test_role_of_kubeflow(user: Session) -> None:
    role = "kubeflow-kubernetes-edit"
    user.kubectl("create", "clusterrole", role, "--verb=get", "--resource=pods")
    try:
        user.console("operator/kubeflow-role")
        rules = json.loads(user.kubectl("get", "clusterrole", role, "-o", "json"))["rules"]
        assert rules[-1] == {
            "apiGroups": ["kubernetes.dask.org"],
            "resources": ["*"],
            "verbs": ["*"],
        }
    finally:
        user.kubectl("delete", "clusterrole", role)
