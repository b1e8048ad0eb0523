"""What is shown of a cluster, and where it may be used: without a Kubernetes."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import dask.config
import pytest
from rich.console import Console

from daskjob.core.errors import DaskJobError
from daskjob.kube.resources import CLUSTERS, GROUPS
from daskjob.kubecluster import errors, reach
from daskjob.kubecluster.cluster import KubeCluster
from daskjob.kubecluster.links import dashboard_link, jupyter_link
from daskjob.kubecluster.panel import Panel
from daskjob.kubecluster.parts import Row, rows_of
from daskjob.kubecluster.scaling import Scaling
from daskjob.kubecluster.specs import make_cluster_spec
from daskjob.kubecluster.view_html import as_html
from daskjob.kubecluster.watch import ClusterWatch
from daskjob.kubecluster.ways import Way, is_in_cluster, ports
from daskjob.submit.clusters.cluster import Cluster
from tests.cli.command import Daskjob
from tests.cli.terminal import Terminal

WAY = Way("tcp://127.0.0.1:8786", "localhost", 8787, "/status")


def unstarted(**more: Any) -> KubeCluster:
    return KubeCluster("unstarted", namespace="team", _starts_at_once=False, **more)


@pytest.mark.check(24)
@pytest.mark.parametrize(
    ("way", "template", "variables", "link"),
    [
        (None, "{scheme}://{host}:{port}/status", {}, ""),
        (WAY, "{scheme}://{host}:{port}/status", {}, "http://localhost:8787/status"),
        (
            Way("tls://[::1]:8786", "[::1]", 18787, "/status"),
            "{scheme}://{host}:{port}/status",
            {},
            "http://[::1]:18787/status",
        ),
        (
            Way("tcp://x:8786", "x", 8787, "/team/status"),
            "{scheme}://{host}:{port}/status",
            {},
            "http://x:8787/team/status",
        ),
        (
            WAY,
            "{JUPYTERHUB_SERVICE_PREFIX}proxy/{host}:{port}/status",
            {"JUPYTERHUB_SERVICE_PREFIX": "/user/me/"},
            "/user/me/proxy/localhost:8787/status",
        ),
        (WAY, "{NB_PREFIX}/proxy/{port}/status", {"NB_PREFIX": "/nb"}, "/nb/proxy/8787/status"),
        (WAY, "{NB_PREFIX}/proxy/{port}/status", {}, "http://localhost:8787/status"),
        (WAY, "https://fixed/status", {}, "https://fixed/status"),
        (
            Way("tcp://x:8786", "x", 8787, "/team/status"),
            "{NB_PREFIX}/proxy/{port}/status",
            {"NB_PREFIX": "/nb"},
            "/nb/proxy/8787/team/status",
        ),
        (
            Way("tcp://x:8786", "x", 8787, "/team/status"),
            "https://ingress/team/status",
            {},
            "https://ingress/team/status",
        ),
    ],
)
def test_link_to_the_dashboard(
    way: Way | None, template: str, variables: dict[str, str], link: str
) -> None:
    with dask.config.set({"distributed.dashboard.link": template}):
        assert dashboard_link(way, environment=variables) == link


@pytest.mark.check(25)
def test_link_to_jupyter() -> None:
    assert jupyter_link("http://x:8787/status") == "http://x:8787/jupyter/lab"
    assert jupyter_link("/proxy/8787/status", "t0ken") == "/proxy/8787/jupyter/lab?token=t0ken"
    assert jupyter_link("") == ""
    way = Way("tcp://x:8786", "x", 8787, "/team/status")
    assert jupyter_link("http://x:8787/team/status", way=way) == "http://x:8787/jupyter/lab"
    assert jupyter_link("/proxy/8787/status", way=way) == "/proxy/8787/jupyter/lab"


@pytest.mark.check(7)
@pytest.mark.check(24)
@pytest.mark.check(27)
@pytest.mark.check(41)
@pytest.mark.check(23)
def test_a_cluster_before_its_start_can_be_shown() -> None:
    cluster = unstarted()
    assert repr(cluster).startswith("KubeCluster(unstarted, '<Not Connected>', workers=0")
    assert "unstarted" in cluster._repr_html_()
    assert (cluster.dashboard_link, cluster.forwarded_dashboard_port) == ("", None)
    assert cluster.plan == cluster.requested == cluster.observed == set()
    assert cluster.workers == {}
    with pytest.raises(errors.ClusterClosed, match="has no Jupyter server; create it with jupyter"):
        _ = cluster.jupyter_link
    other = KubeCluster("unstarted", namespace="other", _starts_at_once=False)
    assert cluster == unstarted()
    assert hash(cluster) == hash(unstarted())
    assert cluster != other
    cluster.close()
    cluster.close()
    assert "unstarted" in repr(cluster) + cluster._repr_html_()
    with pytest.raises(errors.ClusterClosed, match="cluster unstarted is closed; create a new"):
        cluster.adapt()


@pytest.mark.check(23)
def test_a_worker_that_is_removed_twice_ends_nothing() -> None:
    cluster = unstarted()
    worker = {"name": "x", "nthreads": 1, "memory_limit": None}
    cluster._update_worker_status("add", {"workers": {"tcp://x:1": worker}})
    assert set(cluster.workers) == {"x"}
    assert "workers=1" in repr(cluster)
    assert "Total memory" in cluster._repr_html_()
    cluster._update_worker_status("remove", "tcp://x:1")
    cluster._update_worker_status("remove", "tcp://x:1")
    assert cluster.observed == set()
    cluster.close()


@pytest.mark.check(32)
@pytest.mark.check(39)
async def test_a_blocking_start_inside_a_loop_is_rejected_with_the_asynchronous_form() -> None:
    with pytest.raises(errors.BlockingCall, match=r"async with KubeCluster\(asynchronous=True\)"):
        KubeCluster("x")
    cluster = unstarted(asynchronous=True)
    with pytest.raises(errors.WrongType, match="needs 'async with', not 'with'"), cluster:
        pass
    # All calls return what can be awaited.
    calls: list[Any] = [cluster.scale(1), cluster.get_logs(), cluster.wait_for_workers(1)]
    for call in calls:
        assert asyncio.iscoroutine(call)
        call.close()
    await cluster.close()
    await cluster.close()


@pytest.mark.check(39)
async def test_the_wrong_context_manager_is_rejected() -> None:
    blocking = await asyncio.to_thread(unstarted)
    with pytest.raises(errors.WrongType, match=r"needs KubeCluster\(asynchronous=True\)"):
        async with blocking:
            pass


@pytest.mark.check(19)
async def test_adapt_acts_without_being_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    acted: list[object] = []

    async def adapted(_: Scaling, *bounds: object) -> None:
        acted.append(bounds)

    monkeypatch.setattr(Scaling, "adapt", adapted)
    cluster = unstarted(asynchronous=True)
    adaptive = cluster.adapt(minimum=1, maximum=4)
    assert adaptive
    assert (adaptive.minimum, adaptive.maximum) == (1, 4)
    await asyncio.sleep(0)
    assert acted == [(1, 4, "default")]
    assert await adaptive is adaptive
    assert await adaptive is adaptive
    await cluster.close()


@pytest.mark.check(19)
@pytest.mark.parametrize(
    "error",
    [DaskJobError("no worker group 'none'"), errors.ValidationError("too many"), OSError("lost")],
)
async def test_an_error_of_adapt_is_logged_unless_it_is_awaited(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def rejected(*_: object) -> None:
        raise error

    monkeypatch.setattr(Scaling, "adapt", rejected)
    cluster = unstarted(asynchronous=True)
    with pytest.raises(type(error), match=str(error)):
        await cluster.adapt(worker_group="none")
    assert caplog.messages == []
    cluster.adapt(worker_group="none")
    while not caplog.messages:
        await asyncio.sleep(0)
    assert caplog.messages == [f"group none is not scaled automatically: {error}"]
    await cluster.close()


@pytest.mark.check(33)
def test_starts_in_threads_and_loops_fail_cleanly_side_by_side(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\n"
        "clusters: [{name: x, cluster: {server: 'http://127.0.0.1:9'}}]\n"
        "contexts: [{name: x, context: {cluster: x, user: x}}]\nusers: [{name: x, user: {}}]\n"
    )
    given = {"kubeconfig": str(config), "namespace": "x", "quiet": True}
    found: list[object] = []

    def blocking() -> None:
        try:
            KubeCluster.from_name("x", **given)
        except DaskJobError as error:
            found.append(error)

    async def awaited() -> None:
        with pytest.raises(DaskJobError) as caught:
            await KubeCluster.from_name("x", asynchronous=True, **given)
        found.append(caught.value)

    threads = [threading.Thread(target=blocking) for _ in range(2)]
    threads += [threading.Thread(target=lambda: asyncio.run(awaited())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    assert all("127.0.0.1:9" in str(error) for error in found)


ROWS = [Row("DaskCluster", "ready", "Running"), Row("Scheduler", "failed", "0/3 nodes: <no> cpu")]


@pytest.mark.check(40)
def test_lines_where_there_is_no_terminal_and_nothing_if_quiet() -> None:
    plain, silent = io.StringIO(), io.StringIO()
    with Panel("Creating KubeCluster x", lambda: ROWS, stream=plain) as panel:
        panel.say("Waiting for the scheduler")
        panel.say("0/3 nodes are available")
    assert plain.getvalue() == "Waiting for the scheduler\n0/3 nodes are available\n"
    with Panel("Creating KubeCluster x", lambda: ROWS, quiet=True, stream=silent) as panel:
        panel.say("Waiting for the scheduler")
    assert silent.getvalue() == ""
    closed = io.StringIO()
    closed.close()
    with Panel("x", lambda: ROWS, stream=closed) as panel:
        panel.say("nobody reads this")


PANEL = """
from daskjob.kubecluster.panel import Panel
from daskjob.kubecluster.parts import Row
rows = [Row("DaskCluster", "ready", "Running"), Row("Scheduler", "failed", "0/3 nodes: no cpu")]
with Panel("Connecting to KubeCluster x", lambda: rows) as panel:
    panel.say("Waiting for the scheduler")
    panel.say("Connecting to the scheduler")
    panel.say("0/3 nodes: no cpu")
"""


def manifest(kind: str, name: str, spec: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": name, "namespace": "team", "uid": name}
    return {"kind": kind, "metadata": meta, "spec": spec, "status": status}


@pytest.mark.check(40)
@pytest.mark.check(41)
def test_rows_have_the_reasons() -> None:
    spec = make_cluster_spec("x", n_workers=2)["spec"]
    pending = "pod x-scheduler cannot be scheduled: 0/1 nodes: Insufficient <cpu>."
    condition = {"type": "SchedulerReady", "status": "False", "reason": "Unschedulable"}
    status = {"phase": "Pending", "conditions": [{**condition, "message": pending}]}
    watch = ClusterWatch(None, Cluster(manifest(CLUSTERS.kind, "x", spec, status)))  # type: ignore[arg-type]
    assert [row.text for row in rows_of(watch)] == ["Pending", pending, "0/2 ready"]
    stuck = {
        "type": "WorkersReady",
        "status": "False",
        "reason": "ImagePull",
        "message": "no image",
    }
    group = {"cluster": "x", "worker": {"replicas": 3}}
    watch.took_group(
        manifest(GROUPS.kind, "x-big", group, {"readyReplicas": 1, "conditions": [stuck]})
    )
    assert rows_of(watch)[-1] == Row("Workers (big)", "failed", "1/3 ready: no image")
    assert "Insufficient &lt;cpu&gt;" in as_html(rows_of(watch))
    assert [row.state for row in rows_of(None)] == ["waiting", "waiting"]


@pytest.mark.check(28)
async def test_a_name_server_that_hangs_blocks_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: done.wait(20) and [])
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)

    ticking = asyncio.ensure_future(tick())
    began = time.monotonic()
    assert await reach.answers("x.team.svc", 8786, 0.3) is False
    assert time.monotonic() - began < 1
    assert ticks > 5
    ticking.cancel()
    done.set()
    monkeypatch.undo()
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await reach.answers("localhost", port, 2) is True
    server.close()
    assert await reach.answers("127.0.0.1", port, 0.3) is False


@pytest.mark.check(28)
def test_ports_and_place() -> None:
    made = make_cluster_spec("x")
    assert ports(Cluster(made)) == (8786, 8787)
    made["spec"]["scheduler"]["service"]["ports"][1]["port"] = 80
    assert ports(Cluster(made)) == (8786, 80)
    assert is_in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert not is_in_cluster({})


@pytest.mark.check(48)
def test_the_names_of_dask_kubernetes_are_here() -> None:
    from daskjob import operator
    from daskjob.operator.kubecluster import kubecluster

    for module in (operator, operator.kubecluster, kubecluster):
        for name in ("KubeCluster", "CreateMode", "make_cluster_spec", "make_worker_spec"):
            assert getattr(module, name) is getattr(kubecluster, name)
    assert kubecluster.KubeCluster is KubeCluster


@pytest.mark.check(40)
async def test_the_panel_of_a_start_for_rich() -> None:
    cluster = unstarted(asynchronous=True)
    console = Console(file=io.StringIO(), width=100)
    console.print(await cluster.generate_rich_output())
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "Creating KubeCluster unstarted" in text
    assert [line for line in text.splitlines() if "Scheduler" in line and "Pending" in line]
    await cluster.close()


@pytest.mark.check(40)
def test_a_panel_on_a_terminal(tmp_path: Path) -> None:
    shown = Terminal(Daskjob(tmp_path), program=(sys.executable, "-c", PANEL))
    try:
        assert shown.end() == 0
        rows = shown.all_rows()
    finally:
        os.close(shown.descriptor)
    text = "\n".join(rows)
    assert "Connecting to KubeCluster x" in text
    assert [row for row in rows if "Scheduler" in row and "0/3 nodes: no cpu" in row]
    assert text.count("Connecting to the scheduler") == text.count("0/3 nodes") == 1
    assert "Waiting for" not in text
