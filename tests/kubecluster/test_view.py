"""What a notebook shows of a cluster: on values, and on clusters that are not started."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from daskjob.core.errors import NotFound
from daskjob.core.manifests import object_ref
from daskjob.core.names import group_name
from daskjob.kube.resources import AUTOSCALERS, CLUSTERS, GROUPS
from daskjob.kubecluster.cluster import KubeCluster
from daskjob.kubecluster.groups import check_group
from daskjob.kubecluster.parts import rows_of
from daskjob.kubecluster.specs import make_cluster_spec
from daskjob.kubecluster.view import declared_bounds, view_of
from daskjob.kubecluster.view_html import page_html, parts_html, scaling_html
from daskjob.kubecluster.watch import ClusterWatch
from daskjob.submit.clusters.cluster import Cluster

PENDING = "pod x-huge-worker-0 cannot be scheduled: 0/3 nodes are available: 3 Insufficient <cpu>."


def manifest(kind: str, name: str, spec: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": name, "namespace": "team", "uid": name}
    return {"kind": kind, "metadata": meta, "spec": spec, "status": status}


def watch_of(bounds: dict[str, int] | None = None) -> ClusterWatch:
    """A cluster with a default group of 2 ready of 3, and a group that fits on no node."""
    spec = make_cluster_spec("x", n_workers=3)["spec"]
    if bounds:
        spec["worker"]["autoscaling"] = bounds
    cluster = manifest(CLUSTERS.kind, "x", spec, {"phase": "Running"})
    watch = ClusterWatch(None, Cluster(cluster))  # type: ignore[arg-type]
    for name, replicas, ready, message in (("default", 3, 2, ""), ("huge", 2, 0, PENDING)):
        condition = {"type": "WorkersReady", "status": "False", "reason": "Unschedulable"}
        status = {"readyReplicas": ready, "conditions": [{**condition, "message": message}]}
        group = {"cluster": "x", "worker": {"replicas": replicas}}
        watch.took_group(manifest(GROUPS.kind, f"x-{name}", group, status))
    return watch


@pytest.mark.check(42)
def test_groups_have_their_numbers_and_the_reasons_of_kubernetes() -> None:
    view = view_of(watch_of(), connected=1)
    assert [group.name for group in view.groups] == ["default", "huge"]
    assert (view.requested, view.ready, view.connected) == (5, 2, 1)
    assert [group.state for group in view.groups] == ["waiting", "failed"]
    assert view.groups[1].problem == PENDING
    for page in (scaling_html(view), parts_html(view)):
        assert "Insufficient &lt;cpu&gt;" in page
        assert "<cpu>" not in page
    assert "Workers: 5 requested, 2 ready, 1 connected" in scaling_html(view)
    assert "2 of 3 ready" in parts_html(view)


@pytest.mark.check(42)
@pytest.mark.parametrize("length", [40, 56, 60, 63])
async def test_groups_of_a_cluster_with_a_long_name_are_shown_once(length: int) -> None:
    cluster = "c" * length
    spec = make_cluster_spec(cluster, n_workers=3)["spec"]
    spec["workerGroups"] = [{"name": "declared", "replicas": 1, "spec": spec["worker"]["spec"]}]
    made = manifest(CLUSTERS.kind, cluster, spec, {"phase": "Running"})
    watch = ClusterWatch(None, Cluster(made))  # type: ignore[arg-type]
    for name in ("default", "declared", "added"):
        group = {"cluster": cluster, "worker": {"replicas": 3}}
        found = manifest(GROUPS.kind, group_name(cluster, name), group, {"readyReplicas": 1})
        watch.took_group(found, name if name == "added" else "")
    view = view_of(watch)
    assert [group.name for group in view.groups] == ["default", "added", "declared"]
    assert (view.requested, view.ready) == (9, 3)
    assert [row.title for row in rows_of(watch)[2:]] == [
        f"Workers ({name})" for name in ("default", "added", "declared")
    ]
    for name in ("default", "added", "declared"):
        await check_group(watch, name)
    with pytest.raises(NotFound, match="'none'; existing ones: default, added, declared"):
        await check_group(watch, "none")


@pytest.mark.check(42)
@pytest.mark.parametrize(
    ("bounds", "adaptive", "modes"),
    [
        (None, {}, ["Manual", "Manual"]),
        # Another process, or kubectl, has set them.
        ({"minimum": 1, "maximum": 9}, {}, ["Adaptive, 1 to 9", "Manual"]),
        # This process has set them, and another one has ended the scaling.
        (None, {"default": (1, 9)}, ["Manual", "Manual"]),
        (None, {"huge": (0, 4)}, ["Manual", "Adaptive, 0 to 4"]),
    ],
)
def test_who_scales_is_as_the_cluster_has_it(
    bounds: dict[str, int] | None, adaptive: dict[str, tuple[int, int]], modes: list[str]
) -> None:
    view = view_of(watch_of(bounds), adaptive=adaptive)
    assert [group.mode for group in view.groups] == modes
    mode = "Adaptive" if any(m != "Manual" for m in modes) else "Manual"
    assert f"Scaling mode: {mode}" in scaling_html(view)


@pytest.mark.check(42)
def test_bounds_of_groups_in_the_spec_of_a_cluster() -> None:
    spec = {"worker": {}, "workerGroups": [{"name": "a", "autoscaling": {"maximum": 3}}, {}]}
    assert declared_bounds({"spec": spec}) == {"default": None, "a": (0, 3)}
    assert declared_bounds({}) == {"default": None}


def autoscaler(watch: ClusterWatch, group: str, *, controller: str = "") -> dict[str, Any]:
    spec = {"cluster": "x", "minimum": 1, "maximum": 7}
    made = manifest(AUTOSCALERS.kind, f"x-{group or 'plain'}", spec, {})
    if group:
        made["spec"]["workerGroup"] = f"x-{group}"
    owner = {"kind": "DaskCluster", "name": "x", "uid": controller, "controller": True}
    made["metadata"]["ownerReferences"] = [owner] if controller else []
    watch.take_autoscaler(object_ref(made), made)
    return made


@pytest.mark.check(42)
def test_bounds_are_those_of_the_autoscalers_that_are_there() -> None:
    watch = watch_of()
    made = autoscaler(watch, "huge")
    modes = [group.mode for group in view_of(watch).groups]
    assert modes == ["Manual", "Adaptive, 1 to 7"]
    # Another client has changed it, or ended the scaling, since this process set it.
    own = {"huge": (0, 4)}
    assert view_of(watch, adaptive=own).groups[1].mode == "Adaptive, 1 to 7"
    watch.take_autoscaler(object_ref(made), None)
    assert view_of(watch, adaptive=own).groups[1].mode == "Manual"
    # One without a group is of the default group; one of the cluster's spec only follows it.
    autoscaler(watch, "default", controller="x")
    assert view_of(watch).groups[0].mode == "Manual"
    autoscaler(watch, "")
    assert view_of(watch).groups[0].mode == "Adaptive, 1 to 7"


@pytest.mark.check(41)
def test_long_reasons_break_no_name_and_the_namespace_is_there() -> None:
    view = view_of(watch_of())
    for page in (scaling_html(view), parts_html(view)):
        (row,) = [part for part in page.split("<tr>") if "Insufficient" in part]
        name = row.partition("</td>")[0]
        assert "huge" in name
        assert "white-space: nowrap" in name
        assert row.count("nowrap") == 1
    page = page_html("KubeCluster", "x", view, info={"workers": {}}, dashboard_link="")
    assert "x in namespace team" in page
    closed = view_of(watch_of(), closed=True)
    assert "x in namespace team" in page_html(
        "KubeCluster", "x", closed, info={"workers": {}}, dashboard_link=""
    )
    assert "namespace" not in page_html(
        "KubeCluster", "x", view_of(None), info={"workers": {}}, dashboard_link=""
    )


@pytest.mark.check(41)
def test_before_during_and_after() -> None:
    before, during, after = view_of(None), view_of(watch_of()), view_of(watch_of(), closed=True)
    assert "Pending" in parts_html(before)
    assert "Running" in parts_html(during)
    assert "closed" in parts_html(after)
    assert "ready" not in parts_html(after)
    assert scaling_html(after).count("The cluster is closed.") == 1
    deleted = watch_of()
    deleted.gone = True
    assert "deleted" in parts_html(view_of(deleted))


@pytest.mark.check(41)
@pytest.mark.check(42)
def test_a_cluster_without_ipywidgets_shows_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    cluster = KubeCluster("x", namespace="team", _starts_at_once=False)
    assert cluster._widget() is None
    assert "Pending" in cluster._repr_html_()
    cluster.close()
    assert repr(cluster) == "KubeCluster(x, closed)"
    page = cluster._repr_html_()
    assert "closed" in page
    assert 'href=""' in page
