"""The cache's lookups equal a walk over all objects, and the objects we build can be watched."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskjob.backends.fake import FakeBackend
from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.backends.kubernetes.watching.kinds import WATCHED
from daskjob.core import names
from daskjob.core.lookup import ListLookup, Lookup
from daskjob.core.manifests import Manifest, metadata
from daskjob.core.observed import cluster_observed, group_observed, job_observed
from daskjob.core.reconcile import reconcile
from tests.core.manifests import cluster, container, group, job
from tests.kubernetes.given import run, seen

NAMESPACE = "default"
UIDS = ["job-uid", "cluster-uid", "group-uid", "gone-uid"]
KINDS = [resource.kind for resource in WATCHED]


@st.composite
def objects(draw: st.DrawFn) -> list[Manifest]:
    """Generate objects, some of which own others."""
    found: list[Manifest] = []
    for number in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(KINDS))
        labels = {
            names.LABEL_CLUSTER_NAME: draw(st.sampled_from(["sums", "other"])),
            names.LABEL_COMPONENT: draw(st.sampled_from(["job-runner", "worker", "scheduler"])),
        }
        # A controller after another owner, or only an owner that is no controller.
        owners = [
            {
                "kind": draw(st.sampled_from(KINDS[:3])),
                "name": "o",
                "uid": uid,
                "controller": place == 1,
            }
            for place, uid in enumerate(draw(st.lists(st.sampled_from(UIDS), max_size=2)))
        ]
        meta: dict[str, Any] = {
            "name": f"o{number}",
            "namespace": NAMESPACE,
            "uid": draw(st.sampled_from(UIDS)) + (f"-{number}" if draw(st.booleans()) else ""),
            "resourceVersion": str(number + 1),
            "labels": labels,
            "ownerReferences": owners,
        }
        spec = {}
        if kind in (names.Kind.GROUP, names.Kind.AUTOSCALER):
            spec = draw(st.sampled_from([{}, {"cluster": "sums"}, {"cluster": "other"}]))
        found.append({"kind": kind, "apiVersion": "v1", "metadata": meta, "spec": spec})
    # Uids are unique.
    by_uid: dict[str, Manifest] = {metadata(o)["uid"]: o for o in found}
    return list(by_uid.values())


def answers(found: Lookup) -> dict[str, Any]:
    """Return the results of all lookups that a pass may make."""
    results: dict[str, Any] = {}
    for kind in KINDS[:4]:
        for number in range(12):
            named = found.named(kind, f"o{number}")
            results[f"{kind} o{number}"] = named and metadata(named)["uid"]
    for uid in ["", *UIDS]:
        for kind in KINDS[:4]:
            results[f"{kind} of {uid}"] = {metadata(o)["uid"] for o in found.controlled(kind, uid)}
        results[f"pods of {uid}"] = {pod.ref for pod in found.pods(uid)}
        for kind in ("Service", "ConfigMap"):
            results[f"{kind} of {uid}"] = set(found.references(kind, uid))
    for name in ("sums", "other", "none"):
        results[f"runners on {name}"] = {pod.ref for pod in found.labelled_runners(name)}
        results[f"orphans of {name}"] = set(found.orphans(name))
        for kind in (names.Kind.GROUP, names.Kind.AUTOSCALER):
            referring_to = {metadata(o)["uid"] for o in found.referring_to(kind, name)}
            results[f"{kind} that speaks of {name}"] = referring_to
    return results


@settings(max_examples=200, deadline=None)
@given(objects())
def test_the_caches_lookups_equal_a_walk_over_all_objects(manifests: list[Manifest]) -> None:
    cache = Cache()
    for manifest in manifests:
        cache.put(seen(manifest, int(manifest["metadata"]["resourceVersion"])))
    assert answers(cache.objects(NAMESPACE)) == answers(ListLookup(manifests))


@pytest.fixture
def brought_up() -> FakeBackend:
    """A job with files, two groups and a starting runner, created by passes."""
    backend = FakeBackend()
    more = {"name": "more", "replicas": 1, "spec": {"containers": [container("worker", "w")]}}
    manifest = job()
    manifest["spec"]["job"]["files"] = {"a.py": "1"}
    manifest["spec"]["cluster"]["spec"]["workerGroups"] = [more]
    backend.submit(manifest)

    async def passes() -> None:
        for _ in range(20):
            for key in backend.subjects():
                await reconcile(backend, key, backend.now)
            for pod in backend.store.all():
                if pod["kind"] == "Pod" and pod.get("status", {}).get("phase") != "Running":
                    backend.start(pod)
            backend.advance(1)

    run(passes())
    return backend


def test_a_pass_observes_the_same_by_the_cache_as_by_the_full_list(brought_up: FakeBackend) -> None:
    cache = Cache()
    everything = list(brought_up.store.all())
    for manifest in everything:
        cache.put(seen(manifest, int(metadata(manifest)["resourceVersion"])))
    listed, cached = ListLookup(everything), cache.objects(NAMESPACE)
    observers = {"DaskJob": job_observed, "DaskCluster": cluster_observed}
    compared = 0
    for manifest in everything:
        observe: Any = {**observers, "DaskWorkerGroup": group_observed}.get(manifest["kind"])
        if observe is not None:
            held = cached.named(manifest["kind"], metadata(manifest)["name"])
            assert observe(held, cached) == observe(manifest, listed)
            compared += 1
    assert compared == 4


def test_every_created_object_matches_the_selector_of_its_watch(
    brought_up: FakeBackend,
) -> None:
    selectors = {resource.kind: resource.selector for resource in WATCHED}
    made = [o for o in brought_up.store.all() if metadata(o).get("ownerReferences")]
    assert {o["kind"] for o in made} == {
        "ConfigMap",
        "DaskCluster",
        "DaskWorkerGroup",
        "Pod",
        "Service",
    }
    for manifest in made:
        selector = selectors[manifest["kind"]]
        assert not selector or metadata(manifest)["labels"][selector], manifest["metadata"]


async def test_objects_of_user_made_clusters_and_groups_can_be_watched_too() -> None:
    backend = FakeBackend()
    backend.submit(cluster("simple"))
    backend.submit(group("simple-extra", "simple"))

    for _ in range(10):
        for key in backend.subjects():
            await reconcile(backend, key, backend.now)
        backend.kubelet()
        backend.advance(1)
    pods = [o for o in backend.store.all() if o["kind"] in ("Pod", "Service")]
    assert len(pods) > 3
    for manifest in pods:
        assert metadata(manifest)["labels"][names.LABEL_CLUSTER_NAME] == "simple"
