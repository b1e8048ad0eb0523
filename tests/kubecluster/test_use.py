"""KubeCluster on a real Kubernetes with an operator and real pods: how it is used."""

from __future__ import annotations

import os
import pickle
import re
import signal
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dask.config
import pytest
from distributed import Client

from daskjob.core.errors import NotFound
from daskjob.kubecluster import errors
from daskjob.kubecluster.cluster import KubeCluster
from daskjob.kubecluster.lease import RENEWED
from daskjob.kubecluster.specs import make_cluster_spec, make_worker_spec
from tests.cli.kubeconfigs import kubeconfig_of
from tests.cluster.providers import Native
from tests.docs.documents import ROOT
from tests.kubecluster.conftest import PATIENCE, SMALL, Place
from tests.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:Mismatched versions")

RENEWAL = "patch daskclusters counted"
CONNECTION = "get pods/portforward counted-scheduler"
#: The requests of a start that forwards ports, besides renewals of the lease, and those that open
#: a connection of Dask. It finds its cluster and its scheduler's pod by watches: each is one list.
STARTING = {
    "create daskclusters counted": 1,
    **{f"{verb} daskclusters counted": 1 for verb in ("list", "watch")},
    **{f"{verb} daskworkergroups ": 1 for verb in ("list", "watch")},
    **{f"{verb} daskautoscalers ": 1 for verb in ("list", "watch")},
    # One forward for Dask, and one for the dashboard.
    **{f"{verb} pods ": 2 for verb in ("list", "watch")},
}


def replicas(place: Place, group: str) -> int:
    (found,) = [
        g for g in place.kubectl.items("daskworkergroups") if g["metadata"]["name"] == group
    ]
    return int(found["spec"]["worker"]["replicas"])


def autoscalers(place: Place) -> list[dict[str, Any]]:
    return place.kubectl.items("daskautoscalers")


def spec(place: Place, name: str) -> dict[str, Any]:
    (found,) = [c for c in place.kubectl.items("daskclusters") if c["metadata"]["name"] == name]
    return dict(found["spec"])


@pytest.mark.check(16)
@pytest.mark.check(17)
@pytest.mark.check(34)
@pytest.mark.check(39)
def test_scale_is_right_at_once_and_close_leaves_nothing(place: Place) -> None:
    with place.cluster("at-once") as cluster:
        cluster.scale(1)
        assert spec(place, "at-once")["worker"]["replicas"] == 1
        assert len(cluster.requested) == len(cluster.plan) == 1
        with Client(cluster) as client:
            assert client.submit(sum, range(100)).result(PATIENCE) == 4950
        cluster.scale(0)
        wait_until(lambda: replicas(place, "at-once-default") == 0)
        link = cluster.dashboard_link
        assert "dask" in urllib.request.urlopen(link, timeout=30).read().decode().lower()
    assert (cluster.status.name, cluster.dashboard_link) == ("closed", "")
    assert "at-once" in repr(cluster) + cluster._repr_html_()
    cluster.close()
    cluster.close(timeout=1)
    assert not place.kubectl.there("daskclusters")
    # The forwards are closed too.
    with pytest.raises(OSError, match=r"refused|reset"):
        urllib.request.urlopen(link, timeout=5)
    with pytest.raises(errors.ClusterClosed, match="cluster at-once is closed"):
        cluster.scale(1)


@pytest.mark.check(18)
@pytest.mark.check(19)
def test_adapt_acts_at_once_and_has_its_bounds(place: Place, shared: KubeCluster) -> None:
    adaptive = shared.adapt()
    assert (adaptive.minimum, adaptive.maximum) == (0, 10_000)
    assert spec(place, "shared")["worker"]["autoscaling"]["maximum"] == 10_000
    adaptive = shared.adapt(minimum=1, maximum=2)
    assert (adaptive.minimum, adaptive.maximum) == (1, 2)
    wait_until(lambda: "Adaptive, 1 to 2" in shared._scaling_status(), pause=0.1)
    wait_until(lambda: place.kubectl.there("daskautoscalers"))
    adaptive.stop()
    assert "autoscaling" not in spec(place, "shared")["worker"]
    shared.adapt(1, 2)
    shared.scale(1)
    assert "autoscaling" not in spec(place, "shared")["worker"]
    wait_until(lambda: not place.kubectl.there("daskautoscalers"))
    with pytest.raises(errors.ValidationError, match="maximum=1 is less than minimum=2"):
        shared.adapt(2, 1)


@pytest.mark.check(17)
@pytest.mark.check(18)
@pytest.mark.check(20)
@pytest.mark.check(22)
def test_groups_are_added_scaled_adapted_awaited_and_deleted(
    place: Place, shared: KubeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    assert shared.add_worker_group("big", n_workers=1) == "big"
    shared.wait_for_workers(1, timeout=PATIENCE, worker_group="big")
    assert any(name.startswith("shared-big-worker-") for name in shared.observed)
    with pytest.raises(errors.ClusterExists, match="already has a group big"):
        shared.add_worker_group("big")
    shared.adapt(0, 1, worker_group="big")
    labels = {a["metadata"]["labels"]["dask.org/cluster-name"] for a in autoscalers(place)}
    assert labels == {"shared"}
    shared.adapt(0, 2)
    # A client that only connects shows them too.
    where = {"namespace": place.namespace, "kubeconfig": str(place.kubernetes.kubeconfig)}
    with KubeCluster.from_name("shared", image="other", quiet=True, **where) as other:
        wait_until(lambda: "Adaptive, 0 to 1" in other._scaling_status(), pause=0.1)
        assert other.image == shared.image
    assert caplog.text.count("its settings stay as they are; without effect: image") == 1
    shared.scale(0, worker_group="big")
    # Only the autoscaler of this group is gone.
    left = ["daskautoscaler.kubernetes.dask.org/shared-default"]
    wait_until(lambda: place.kubectl.there("daskautoscalers") == left)
    assert "autoscaling" in spec(place, "shared")["worker"]
    assert replicas(place, "shared-big") == 0
    shared.scale(1)
    # The other client was the last one to which the scheduler reported its workers.
    wait_until(lambda: not [n for n in shared.observed if "-big-" in n])
    with pytest.raises(errors.StillMissing, match="only 0 of 1 workers run after 1 s: 0 are req"):
        shared.wait_for_workers(1, timeout=1, worker_group="big")
    shared.delete_worker_group("big")
    wait_until(lambda: "shared-big" not in "".join(place.kubectl.there("daskworkergroups")))
    wait_until(lambda: "Workers (big)" not in shared._repr_html_())
    calls: list[Callable[[], object]] = [
        lambda: shared.scale(1, worker_group="big"),
        lambda: shared.wait_for_workers(1, worker_group="big"),
        lambda: shared.get_logs(worker_group="big"),
    ]
    for call in calls:
        with pytest.raises(NotFound, match=r"no worker group 'big'; existing ones: default"):
            call()
    with pytest.raises(errors.ValidationError, match="the default group cannot be deleted"):
        shared.delete_worker_group("default")


@pytest.mark.check(20)
def test_groups_may_be_empty_or_of_a_custom_spec_without_a_name(
    place: Place, shared: KubeCluster
) -> None:
    shared.add_worker_group("empty", n_workers=0)
    assert replicas(place, "shared-empty") == 0
    part = make_worker_spec(cluster_name=shared.name, n_workers=0, image="other")
    name = shared.add_worker_group(custom_spec=part)
    named = shared.add_worker_group("named", custom_spec=part)
    for made in (name, named):
        (found,) = [
            g
            for g in place.kubectl.items("daskworkergroups")
            if g["metadata"]["name"] == f"shared-{made}"
        ]
        assert found["spec"]["worker"]["spec"]["containers"][0]["image"] == "other"
    assert named == "named"
    for made in ("empty", name, named):
        shared.delete_worker_group(made)
    with pytest.raises(errors.ValidationError, match="custom_spec is no worker part"):
        shared.add_worker_group("x", custom_spec={"containers": []})
    with pytest.raises(errors.ValidationError, match="'Big' cannot be the name"):
        shared.add_worker_group("Big")


@pytest.mark.check(21)
def test_logs_by_component_group_and_run(shared: KubeCluster) -> None:
    shared.wait_for_workers(1, timeout=PATIENCE)
    worker = next(iter(shared.observed))
    # Pods of groups that were deleted end first.
    found = wait_until(lambda: logs if len(logs := shared.get_logs()) == 2 else None, pause=0.2)
    assert found is not None
    assert list(found) == ["shared-scheduler", worker]
    assert "Scheduler at:" in found["shared-scheduler"]
    assert "Start worker at:" in found[worker]
    assert list(shared.get_logs(workers=False)) == ["shared-scheduler"]
    assert list(shared.get_logs(scheduler=False)) == [worker]
    address = next(iter(shared.scheduler_info["workers"]))
    assert list(shared.get_logs(scheduler=False, workers=[address])) == [worker]
    with pytest.raises(NotFound, match="no worker group 'none'; existing ones: default"):
        shared.get_logs(worker_group="none")
    missing = f"has no worker 'none'; existing ones: {worker}$"
    with pytest.raises(NotFound, match=missing):
        shared.get_logs(workers=["none"])
    with pytest.raises(NotFound, match=missing):
        shared.logs("none")
    assert "Ready; the dashboard is at" in shared.get_logs(cluster=True)["Cluster"]
    assert shared.get_logs(tail=1)["shared-scheduler"].count("\n") == 1
    assert "Cannot find logs" in shared.get_logs(previous=True)["shared-scheduler"]


@pytest.mark.check(15)
@pytest.mark.check(27)
@pytest.mark.check(35)
def test_connecting_takes_values_and_never_deletes(place: Place, shared: KubeCluster) -> None:
    known = {"namespace": place.namespace, "kubeconfig": str(place.kubernetes.kubeconfig)}
    with KubeCluster.from_name("shared", quiet=True, **known) as other:
        assert (other.image, other.n_workers) == (shared.image, shared.n_workers)
        assert (other.resources, other.jupyter) == (shared.resources, False)
        assert other.shutdown_on_close is False
        assert other == shared
        assert hash(other) == hash(shared)
        assert other.observed == shared.observed
        assert other != KubeCluster.from_name("shared", _starts_at_once=False, namespace="x")
    again = place.cluster("shared")
    assert again.shutdown_on_close is False
    again.close()
    assert place.kubectl.there("daskclusters") != []
    with pytest.raises(errors.ClusterExists, match="cluster shared exists already"):
        place.cluster("shared", create_mode="CREATE_ONLY")
    with pytest.raises(errors.NoSuchCluster, match=r"no cluster 'none' .* existing ones: shared"):
        KubeCluster.from_name("none", quiet=True, **known)
    elsewhere = {**known, "namespace": "nothing-there"}
    with pytest.raises(errors.NoSuchCluster, match=r"^namespace nothing-there does not exist; "):
        KubeCluster.from_name("none", quiet=True, **elsewhere)
    assert place.kubectl.there("daskclusters") != []


@pytest.mark.check(27)
def test_a_pickled_cluster_is_a_reference(
    place: Place, shared: KubeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # It is found where the cluster was, whatever the default is.
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    copy = pickle.loads(pickle.dumps(shared))
    assert type(copy) is KubeCluster
    assert copy == shared
    assert copy.status.name == "created"
    with copy:
        assert copy.scheduler_info["id"] == shared.scheduler_info["id"]
    assert place.kubectl.there("daskclusters") != []


def account(place: Place, folder: Path) -> tuple[str, Path]:
    """Return a user whose requests are known in the audit log, and its kubeconfig."""
    place.kubectl("create", "serviceaccount", "user")
    bound = f"--serviceaccount={place.namespace}:user"
    place.kubectl("create", "rolebinding", "user", "--clusterrole=cluster-admin", bound)
    user = f"system:serviceaccount:{place.namespace}:user"
    return user, kubeconfig_of(place.kubernetes, place.namespace, "user", folder)


@pytest.mark.check(13)
def test_requests_of_a_start_and_of_an_open_idle_cluster(
    place: Place, audit: Any, tmp_path: Path
) -> None:
    user, kubeconfig = account(place, tmp_path)
    with ExitStack() as stack:
        with audit() as starting, dask.config.set({"kubernetes.lease-duration-seconds": 6}):
            stack.enter_context(place.cluster("counted", kubeconfig=str(kubeconfig)))
        with audit() as idle:
            for _ in range(2):
                wait_for_renewal(place)
    first, later = (Counter(map(str, one.of(user))) for one in (starting, idle))
    connections = first.pop(CONNECTION), later.pop(CONNECTION, 0)
    assert sum(connections) <= 4
    first.pop(RENEWAL, None)
    assert first == STARTING
    assert 2 <= later.pop(RENEWAL) <= 4
    assert later == {}


def wait_for_renewal(place: Place) -> None:
    last = renewed(place)
    wait_until(lambda: renewed(place) != last, pause=0.2)


def renewed(place: Place) -> str:
    (found,) = [
        c for c in place.kubectl.items("daskclusters") if c["metadata"]["name"] == "counted"
    ]
    return str(found["metadata"]["annotations"].get(RENEWED))


@pytest.mark.check(23)
@pytest.mark.check(41)
def test_what_is_seen_while_it_runs(shared: KubeCluster) -> None:
    shared.wait_for_workers(1, timeout=PATIENCE)
    assert shared.requested == shared.plan == shared.observed == set(shared.workers)
    assert repr(shared).startswith(f"KubeCluster(shared, '{shared.scheduler_address}', workers=1")
    shown = shared._repr_html_()
    assert "Workers (default)" in shown
    assert shared.dashboard_link in shown


def test_the_blocks_of_the_page_run(
    place: Place, shared: KubeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "kubecluster.md").read_text()
    blocks = re.findall(r"<!-- run: kubecluster -->\n```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 4
    monkeypatch.setenv("KUBECONFIG", str(place.kubernetes.kubeconfig))
    configured = {"image": place.kubernetes.image("dask"), "namespace": place.namespace}
    for text in blocks:
        small = re.sub(r'"(4|64)Gi"', '"400Mi"', text).replace('"cpu": "1"', '"cpu": "50m"')
        small = small.replace(
            "make_cluster_spec(", f"make_cluster_spec(image={configured['image']!r}, "
        )
        small = re.sub(r"scale\((10|4)", "scale(1", small)
        names: dict[str, Any] = {"cluster": shared}
        with dask.config.set({f"kubernetes.{key}": value for key, value in configured.items()}):
            exec(re.sub("n_workers=[23]", "n_workers=1", small.replace("s(2,", "s(1,")), names)
        if names["cluster"] is not shared:
            names["cluster"].close()


@pytest.mark.check(29)
def test_ports_stay_while_the_scheduler_is_replaced(place: Place, shared: KubeCluster) -> None:
    address, before = shared.scheduler_address, shared.scheduler_info["id"]
    words = ("--wait=false", "--grace-period=0", "--force")
    # An earlier test may have left it without workers.
    shared.scale(1)
    place.kubectl("delete", "pod", "shared-scheduler", *words)
    shared.wait_for_workers(1, timeout=PATIENCE)
    wait_until(lambda: shared.scheduler_info["id"] != before, PATIENCE, pause=0.1)
    assert shared.scheduler_address == address
    with Client(shared, timeout=PATIENCE) as client:
        assert client.submit(sum, range(10)).result(PATIENCE) == 45
    assert shared.observed


@pytest.mark.check(29)
def test_ports_stay_while_the_api_server_restarts(place: Place, shared: KubeCluster) -> None:
    provider = place.kubernetes.provider
    if not isinstance(provider, Native):
        pytest.skip("the API server of this Kubernetes cannot be restarted")
    (server,) = [one for one in provider.cluster.parts() if one.name == "kube-apiserver"]
    address, link = shared.scheduler_address, shared.dashboard_link
    os.kill(server.pid, signal.SIGKILL)
    with Client(shared, timeout=PATIENCE) as client:
        assert client.submit(sum, range(10)).result(PATIENCE) == 45
    assert "dask" in urllib.request.urlopen(link, timeout=30).read().decode().lower()
    assert (shared.scheduler_address, shared.dashboard_link) == (address, link)
    # Its watches see what others change.
    place.kubectl("scale", "daskworkergroup", "shared-default", "--replicas=0")
    wait_until(lambda: not shared.observed, pause=0.1)
    shared.scale(1)
    shared.wait_for_workers(1, PATIENCE)


@pytest.mark.check(14)
def test_an_image_of_2025_starts(place: Place) -> None:
    image = place.kubernetes.image("dask2025")
    with place.cluster("older", n_workers=1, image=image) as cluster:
        cluster.wait_for_workers(1, PATIENCE)
        assert len(cluster.observed) == 1
        assert cluster.get_logs(workers=False)["older-scheduler"].count("Register worker") == 1


@pytest.mark.check(25)
@pytest.mark.check(31)
def test_links_of_a_scheduler_with_jupyter_and_a_prefix(place: Place) -> None:
    spec = make_cluster_spec("lab", image=place.kubernetes.image("jupyter"), jupyter=True)
    (container,) = spec["spec"]["scheduler"]["spec"]["containers"]
    container["args"] += ["--dashboard-prefix", "/team"]
    for probe in ("readinessProbe", "livenessProbe"):
        container[probe]["httpGet"]["path"] = "/team/health"
    given = place.arguments("lab", custom_cluster_spec=spec)
    for name in ("image", "resources"):
        del given[name]
    where = {"namespace": place.namespace, "kubeconfig": given["kubeconfig"], "quiet": True}
    with KubeCluster(**given), KubeCluster.from_name("lab", **where) as cluster:
        port = cluster.forwarded_dashboard_port
        assert cluster.dashboard_link == f"http://localhost:{port}/team/status"
        assert cluster.jupyter_link == f"http://localhost:{port}/jupyter/lab"
        # The image has no bokeh: that is what its dashboard says.
        for link, word in ((cluster.dashboard_link, "bokeh"), (cluster.jupyter_link, "jupyterlab")):
            assert word in urllib.request.urlopen(link, timeout=60).read().decode().lower()


@pytest.mark.check(53)
@pytest.mark.check(55)
def test_the_calls_of_the_first_generation(place: Place) -> None:
    container = {
        "image": place.kubernetes.image("dask"),
        "args": ["dask-worker", "--nthreads", "1", "--no-bokeh", "--death-timeout", "60"],
        "resources": SMALL,
    }
    template = {"metadata": {"labels": {"foo": "bar"}}, "spec": {"containers": [container]}}
    given = place.arguments("first")
    for name in ("image", "resources"):
        del given[name]
    with KubeCluster.from_dict(template, **given) as cluster:
        cluster.scale_up(2)
        cluster.wait_for_workers(2, timeout=PATIENCE)
        cluster.scale_up(1)
        assert len(cluster.requested) == 2
        pods = cluster.pods()
        assert sorted(pod.metadata.name for pod in pods) == sorted(cluster.observed)
        assert {pod.metadata.labels["foo"] for pod in pods} == {"bar"}
        # The kubelet's log may lag.
        wait_until(lambda: "Start worker at:" in cluster.logs(pods[0]), pause=0.2)
        assert set(cluster.logs()) == cluster.observed
        address, worker = next(iter(cluster.scheduler_info["workers"].items()))
        others = cluster.observed - {worker["name"]}
        cluster.scale_down([address])
        wait_until(lambda: cluster.observed == others, pause=0.1)
        wait_until(lambda: [p.metadata.name for p in cluster.pods()] == [*others], pause=0.2)
