"""The classic KubeCluster on a real Kubernetes, with real Dask; no CRDs and no operator."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import dask.config
import pytest
import yaml

from daskjob.classic import KubeCluster, KubeConfig, make_pod_spec, processes
from daskjob.classic.models import manifest_of
from daskjob.core.errors import DaskJobError
from daskjob.errors import NoNamespace
from tests.classic.in_cluster import Programs
from tests.cluster.plugin import Kubectl, Kubernetes
from tests.waiting import until, wait_until


@pytest.fixture
def programs(kubernetes: Kubernetes, kubectl: Kubectl, apply: Callable[..., None]) -> Programs:
    found = Programs(kubernetes, kubectl, apply)
    found.prepare()
    return found


# In a pod, with the rights of the documented Role

EVERYTHING = """
with KubeCluster(pod(), name="rem-{uuid}", n_workers=1, env={"A": 1}) as cluster:
    with Client(cluster) as client:
        assert client.submit(sum, range(100)).result() == 4950
        assert client.submit(os.getenv, "A").result() == "1"
        cluster.scale_up(2)
        client.wait_for_workers(2, timeout=60)
        cluster.scale_up(1)
        assert len(cluster.worker_spec) == 2
        first, second = cluster.pods()
        spec = first.spec.to_dict(serialize=True)
        print(json.dumps({
            "address": cluster.scheduler_address, "name": cluster.name,
            "link": cluster.dashboard_link,
            "labels": first.metadata.labels, "owners": len(first.metadata.owner_references),
            "tolerations": [t["key"] for t in spec["tolerations"]],
            "affinity": spec["affinity"]["nodeAffinity"],
        }))
        until(lambda: "Start worker" in cluster.logs(first))  # The kubelet's log may lag.
        assert set(cluster.logs()) == {first.metadata.name, second.metadata.name}
        until(lambda: "Scheduler at" in cluster.get_logs()["Scheduler"])
        until(lambda: "Start worker" in cluster.get_logs()[first.metadata.name])
        address = next(iter(cluster.scheduler_info["workers"]))
        assert set(cluster.get_logs(cluster=False, scheduler=False, workers=[address])) == {address}
        cluster.scale_down([address])
        until(lambda: len(cluster.scheduler_info["workers"]) == 1)
        assert address not in cluster.scheduler_info["workers"]
        adaptive = cluster.adapt(minimum=0, maximum=2, interval="200ms", wait_count=1)
        assert (adaptive.minimum, adaptive.maximum) == (0, 2)
        until(lambda: not cluster.worker_spec)
        assert client.submit(sum, range(10)).result() == 45
        adaptive.stop()
        cluster.scale(0)
        dask.config.set({"kubernetes.count.max": 1})
cluster.close()

# The scheduler in this process: workers connect to this pod, and belong to it.
with KubeCluster(pod(), name="loc", n_workers=1, deploy_mode="local") as cluster:
    with Client(cluster) as client:
        assert client.submit(sum, range(100)).result() == 4950
        (one,) = cluster.pods()
        print(json.dumps({"local": cluster.scheduler_address,
                          "owner": one.metadata.owner_references[0].name}))
        until(lambda: "Start worker" in cluster.get_logs()[one.metadata.name])

# Limited by the configuration; a port of the node, without the right to list nodes.
dask.config.set({"kubernetes.count.max": 1})
with dask.config.set({"kubernetes.scheduler-service-type": "NodePort"}):
    with KubeCluster(pod(), name="nodeport") as cluster:
        cluster.scale(5)
        assert len(cluster.worker_spec) == 1
        with Client(cluster) as client:
            assert client.submit(sum, range(100)).result() == 4950
            print(json.dumps({"node": cluster.scheduler_address}))

async def balanced():
    with dask.config.set({"kubernetes.scheduler-service-type": "LoadBalancer"}):
        async with KubeCluster(pod(), name="balanced", asynchronous=True) as cluster:
            print(json.dumps({"balanced": cluster.scheduler_address}))
            async with Client(cluster, asynchronous=True) as client:
                assert (await client.scheduler.identity())["type"] == "Scheduler"
asyncio.run(balanced())
"""


@pytest.mark.check(54)
@pytest.mark.check(55)
@pytest.mark.check(57)
def test_everything_works_with_the_documented_role_alone(
    programs: Programs, kubectl: Kubectl
) -> None:
    programs.start("client", EVERYTHING)
    # As the controller of a cloud gives a Service its address.
    service = wait_until(
        lambda: kubectl.items("services", fieldSelector="metadata.name=balanced"),
        180,
        lambda: kubectl.log("client")[-3000:],
        pause=0.1,
    )[0]
    address = service["spec"]["clusterIP"]
    status = {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
    patch = ("patch", "service", "balanced", "--subresource=status", "--type=merge", "-p")
    kubectl(*patch, json.dumps(status))
    remote, local, node, balanced = programs.finished("client")
    name = remote["name"]
    assert remote["address"] == f"tcp://{name}.{kubectl.namespace}:8786"
    assert remote["link"] == f"http://{name}.{kubectl.namespace}:8787/status"
    assert remote["labels"]["dask.org/cluster-name"] == name
    assert remote["labels"]["dask.org/component"] == "worker"
    assert remote["labels"]["app"] == "dask"
    assert remote["owners"] == 1
    assert {"k8s.dask.org/dedicated", "k8s.dask.org_dedicated"} < set(remote["tolerations"])
    (preferred,) = remote["affinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert preferred["weight"] == 100
    assert local["owner"] == "client"
    assert node["node"].startswith("tcp://")
    assert not node["node"].endswith(":8786")
    assert balanced["balanced"] == f"tcp://{address}:8786"
    wait_until(lambda: not programs.left(), 30, lambda: programs.left(), pause=0.2)


KILLED = """
dask.config.set({"kubernetes.lease-duration": 3})
if os.fork():  # A process 1 cannot kill itself.
    os.wait()
    print(json.dumps(["killed"]))
    sys.exit()
cluster = KubeCluster(pod(serviceAccountName="dask"), name="killed", n_workers=1)
with Client(cluster) as client:
    client.wait_for_workers(1, timeout=60)
    time.sleep(4)  # Longer than the lease, which is renewed.
    assert client.submit(sum, range(100)).result() == 4950
print(json.dumps(["ready"]), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.check(56)
def test_cluster_of_a_killed_client_goes(programs: Programs) -> None:
    programs.start("client", KILLED)
    assert programs.finished("client") == [["ready"], ["killed"]]
    wait_until(lambda: not programs.left(), 60, lambda: programs.left(), pause=0.2)


# Outside, by port-forwards


def worker(kubernetes: Kubernetes, **more: Any) -> Any:
    """A pod template whose workers end soon without a scheduler, also on a busy machine."""
    extra = {"terminationGracePeriodSeconds": 1, **more}
    pod = make_pod_spec(
        kubernetes.image("dask"),
        memory_limit="400Mi",
        cpu_request="50m",
        extra_container_config={"imagePullPolicy": "IfNotPresent"},
        extra_pod_config=extra,
    )
    args = pod.spec.containers[0].args
    args[args.index("--death-timeout") + 1] = "10"
    return pod


OUTSIDE = """
import json, os, signal, sys
import dask
from distributed import Client
from daskjob.classic import processes
from daskjob.classic import KubeCluster, KubeConfig
dask.config.set({"kubernetes.lease-duration": 3, "kubernetes.namespace": sys.argv[2]})
cluster = KubeCluster.from_yaml(sys.argv[3], n_workers=1, name="out", auth=KubeConfig(sys.argv[1]))
with Client(cluster) as client:
    client.wait_for_workers(1, timeout=60)
    print(client.submit(sum, range(100)).result(), cluster.scheduler_address, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.check(56)
async def test_leftovers_of_a_killed_client_outside_go(
    programs: Programs, kubernetes: Kubernetes, kubectl: Kubectl, tmp_path: Any
) -> None:
    file = tmp_path / "worker-spec.yml"
    file.write_text(json.dumps(manifest_of(worker(kubernetes))))
    config = str(kubernetes.kubeconfig)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", OUTSIDE, config, kubectl.namespace, str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout.splitlines()[-1].startswith("4950 tcp://127.0.0.1:")

    def phases() -> set[str]:
        return {str(pod.get("status", {}).get("phase")) for pod in kubectl.items("pods")}

    # Without any right of its own, the scheduler ends, and then its worker. Both cost nothing.
    await until(lambda: not phases() & {"Running", "Pending"}, 60, phases, pause=0.2)
    assert "service/out" in programs.left()
    # The next cluster of the namespace deletes what is left.
    await asyncio.sleep(3)  # The length of the lease.
    way = KubeConfig(config)
    more: dict[str, Any] = {"auth": way, "namespace": kubectl.namespace, "asynchronous": True}
    async with KubeCluster(worker(kubernetes), name="next", **more):
        await until(lambda: not [one for one in programs.left() if "/out" in one], pause=0.2)
    await until(lambda: not programs.left(), 30, programs.left, pause=0.2)


BROKEN: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "image name": ({}, {"image": "No Image"}, "InvalidImageName|image name .* is invalid"),
    "no node": ({"nodeSelector": {"no": "such"}}, {}, r"does not fit on any node: 0/\d+ nodes"),
    "crash": ({}, {"command": ["python", "-c", "raise Exception('boom')"]}, "Exception: boom"),
    "volume": (
        {"volumes": [{"name": "v", "secret": {"secretName": "none"}}]},
        {"volume_mounts": [{"name": "v", "mountPath": "/v"}]},
        'secret "none" not found',
    ),
    "pull": ({}, {"image": "daskjob.test/none:1"}, "cannot be pulled"),
    "invalid": ({"restartPolicy": "Sometimes"}, {}, "Unsupported value"),
}


@pytest.mark.check(12)
@pytest.mark.check(9)
@pytest.mark.parametrize("case", BROKEN)
async def test_start_that_cannot_succeed_reports_why_and_leaves_nothing(
    case: str, kubernetes: Kubernetes, kubectl: Kubectl, apply: Callable[..., None]
) -> None:
    pods, container, message = BROKEN[case]
    pod = worker(kubernetes, **pods)
    for name, value in container.items():
        setattr(pod.spec.containers[0], name, value)
    programs = Programs(kubernetes, kubectl, apply)
    way = KubeConfig(str(kubernetes.kubeconfig))
    started = time.monotonic()
    more: dict[str, Any] = {"auth": way, "namespace": kubectl.namespace, "asynchronous": True}
    # A busy kubelet mounts a volume for the first time after seconds, and says only then why not.
    seconds = 15 if case == "volume" else 6
    with dask.config.set({"kubernetes.scheduler-start-timeout": seconds}):
        cluster: Any = KubeCluster(pod, **more)
        with pytest.raises(DaskJobError, match=message):
            async with cluster:
                pass
    assert time.monotonic() - started < seconds + 14
    assert str(cluster.status) == "Status.closed"
    await until(lambda: not programs.left(), 20, programs.left, pause=0.1)


async def test_namespace_that_does_not_exist_is_named_with_how_to_create_it(
    kubernetes: Kubernetes,
) -> None:
    way = KubeConfig(str(kubernetes.kubeconfig))
    cluster: Any = KubeCluster(worker(kubernetes), auth=way, namespace="nope", asynchronous=True)
    with pytest.raises(NoNamespace, match=r"namespace nope does not .* create namespace nope"):
        async with cluster:
            pass


@pytest.mark.check(11)
def test_missing_rights_are_named_and_nothing_is_printed_at_exit(
    kubernetes: Kubernetes, kubectl: Kubectl
) -> None:
    token = kubectl("create", "token", "default").strip()
    code = """
import sys
from daskjob.classic import KubeAuth, KubeCluster, make_pod_spec
KubeCluster(make_pod_spec("i"), namespace=sys.argv[3],
            auth=KubeAuth(sys.argv[1], token=sys.argv[2], verify_ssl=False))
"""
    admin = yaml.safe_load(kubernetes.kubeconfig.read_text())
    server = admin["clusters"][0]["cluster"]["server"]
    done = subprocess.run(
        [sys.executable, "-c", code, server, token, kubectl.namespace],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        timeout=60,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert "resources: [services], verbs: [get]" in last, done.stderr
    assert done.stderr.count("Traceback") == 1, done.stderr


@pytest.mark.check(54)
async def test_quota_is_reported_and_workers_follow_once_there_is_room(
    kubernetes: Kubernetes,
    kubectl: Kubectl,
    apply: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "QUOTA_SECONDS", 0.5)
    meta = {"name": "few"}
    apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": meta,
            "spec": {"hard": {"pods": "1"}},
        }
    )
    way = KubeConfig(str(kubernetes.kubeconfig))
    more: dict[str, Any] = {"auth": way, "namespace": kubectl.namespace, "asynchronous": True}
    async with KubeCluster(worker(kubernetes), n_workers=1, **more) as cluster:
        reported = (await cluster.get_logs())["Cluster"]
        assert "exceeded quota: few" in reported
        kubectl("delete", "resourcequota", "few")
        await until(lambda: cluster.scheduler_info["workers"], 60, pause=0.1)


LOST = """
import logging, logging.handlers, os, queue, signal, sys, threading
import dask
from daskjob.classic import KubeCluster, KubeConfig
more = {"auth": KubeConfig(sys.argv[1]), "namespace": sys.argv[2], "quiet": True}
cluster = KubeCluster(sys.argv[3], n_workers=1, name="lost", **more)
try:
    KubeCluster(sys.argv[3], name="lost", **more)
except Exception as error:
    print(type(error).__name__, error, flush=True)
sys.stdin.readline()
# Its scheduler is gone: each change of the workers is one line, and no traceback.
logging.getLogger("distributed.deploy").setLevel(logging.WARNING)
heard = queue.SimpleQueue()
def hears(*texts):
    missing = set(texts)
    while missing:
        line = heard.get(timeout=60).getMessage()
        missing = {text for text in missing if text not in line}
logger = logging.getLogger("daskjob")
logger.addHandler(logging.handlers.QueueHandler(heard))
logger.propagate = False
with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
    cluster.scale(0)
    adaptive = cluster.adapt(minimum=0, maximum=2, interval="200ms")
    # Both wait for as long as a forward waits for a new scheduler.
    hears(
        "no worker of lost was removed, since its scheduler does not answer",
        "lost is not scaled, since its scheduler does not answer",
    )
    adaptive.stop()
logger.handlers.clear()
logger.propagate = True
cluster.close()
cluster.close()
print(cluster.status.name, flush=True)
# Ctrl-C during the start; then a cluster that nobody closes.
threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    KubeCluster(sys.argv[3], name="interrupted", **more)
except KeyboardInterrupt:
    print("interrupted", flush=True)
left = KubeCluster(sys.argv[3], name="left", **more)
"""


@pytest.mark.check(34)
@pytest.mark.check(36)
async def test_every_end_is_silent_and_leaves_nothing(
    programs: Programs, kubernetes: Kubernetes, kubectl: Kubectl, tmp_path: Any
) -> None:
    file = tmp_path / "worker-spec.yml"
    file.write_text(json.dumps(manifest_of(worker(kubernetes))))
    words = ["-c", LOST, str(kubernetes.kubeconfig), kubectl.namespace, str(file)]
    pipes: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    program = await asyncio.create_subprocess_exec(sys.executable, *words, **pipes)
    assert program.stdout is not None
    conflict = (await program.stdout.readline()).decode()
    assert conflict.startswith("Conflict Service "), conflict
    assert "/lost exists already: choose another name" in conflict
    # The other one has made no pod, which the Service of the first would select.
    selector = {"labelSelector": "dask.org/component=scheduler"}
    (scheduler,) = kubectl.items("pods", **selector)
    name = scheduler["metadata"]["name"]
    kubectl("delete", "pod", name, "--force", "--grace-period=0")
    async with asyncio.timeout(120):
        out, err = await program.communicate(b"\n")
    assert (out.decode().splitlines(), err.decode()) == (["closed", "interrupted"], "")
    assert program.returncode == 0
    await until(lambda: not programs.left(), 30, programs.left, pause=0.2)
