"""A user-made worker group is deleted with the cluster that it names (design §2.3)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from daskjob.core.decision import NOTHING
from daskjob.core.manifests import Key, Manifest, metadata, object_ref
from tests.core.manifests import cluster, group, job
from tests.core.stories import CLUSTER, GROUP, JOB, Story

MORE = Key(GROUP, "default", "simple-more")
HELM = {"apiVersion": "example.org/v1", "kind": "Release", "name": "mine", "uid": "release-uid"}


def joined(*owners: Manifest, **spec: Any) -> Story:
    """Return a running cluster with a user-made group."""
    story = Story(cluster())
    story.bring_up()
    manifest = group()
    if owners:
        manifest["metadata"]["ownerReferences"] = list(owners)
    manifest["spec"] |= spec
    story.world.submit(manifest)
    return story


def owners(story: Story) -> list[Manifest]:
    """Return the owners of the group."""
    item = story.named(GROUP, "simple-more")
    return list(metadata(item or {}).get("ownerReferences") or ())


def reference(story: Story) -> Manifest:
    """Return the owner reference from the group to its cluster."""
    item = story.named(CLUSTER, "simple")
    assert item is not None
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "name": "simple",
        "uid": metadata(item)["uid"],
        "controller": False,
        "blockOwnerDeletion": False,
    }


def patches(story: Story) -> list[str]:
    """Return the patches so far."""
    return [write for write in story.writes if write.startswith("patch")]


def test_its_first_pass_is_exactly_one_patch() -> None:
    story = joined()
    before = story.named(GROUP, "simple-more")
    assert before is not None
    assert story.one_pass(MORE) == ["patch DaskWorkerGroup/simple-more"]
    after = story.named(GROUP, "simple-more")
    assert after is not None
    assert owners(story) == [reference(story)]
    ours = ("ownerReferences", "resourceVersion")
    kept = {key: value for key, value in metadata(after).items() if key not in ours}
    assert kept == {key: value for key, value in metadata(before).items() if key not in ours}
    assert after["spec"] == before["spec"]


def test_it_is_patched_once() -> None:
    story = joined()
    story.bring_up()
    story.after(10_000)
    assert patches(story) == ["patch DaskWorkerGroup/simple-more"]


@pytest.mark.parametrize("controller", [True, False])
def test_its_other_owners_are_kept(controller: bool) -> None:
    own = {**HELM, "controller": controller, "blockOwnerDeletion": True}
    story = joined(own)
    story.settle()
    assert owners(story) == [own, reference(story)]


def test_its_workers_count_for_it_and_not_for_the_clusters_scale() -> None:
    story = joined()
    story.bring_up()
    story.after(5)
    assert len(story.workers()) == 4
    assert story.status_of(GROUP, "simple-more")["readyReplicas"] == 2
    assert story.status_of(CLUSTER)["replicas"] == 2


def test_it_is_deleted_with_its_cluster_even_without_an_operator() -> None:
    story = joined()
    story.bring_up()
    item = story.named(CLUSTER)
    assert item is not None
    story.world.store.delete(object_ref(item))
    story.world.kubelet()
    assert story.named(GROUP, "simple-more") is None
    assert story.workers() == []


def test_one_created_before_its_cluster_joins_it_later() -> None:
    story = Story(group())
    story.settle()
    assert story.status_of(GROUP)["conditions"][0]["reason"] == "ClusterMissing"
    assert patches(story) == []
    story.world.submit(cluster())
    story.settle()
    assert owners(story) == [reference(story)]


def test_one_with_mistakes_in_its_spec_is_deleted_with_its_cluster_too() -> None:
    story = joined(worker={"replicas": -1})
    story.settle()
    assert owners(story) == [reference(story)]
    assert story.status_of(GROUP, "simple-more")["conditions"][0]["reason"] == "InvalidSpec"


def test_an_owner_added_during_the_pass_is_not_lost() -> None:
    story = joined()
    decision = story.decision(MORE)
    item = story.named(GROUP, "simple-more")
    assert item is not None
    late = {**HELM, "uid": metadata(item)["uid"]}
    body = {"metadata": {"ownerReferences": [late]}}
    story.world.store.patch(object_ref(item), body)
    for patch in decision.patch:
        asyncio.run(story.world.patch(patch))
    assert owners(story) == [late]
    story.settle()
    assert owners(story) == [late, reference(story)]


def test_one_of_a_deleted_cluster_is_still_garbage_collected() -> None:
    """A new cluster of that name must not adopt a group that garbage collection will delete."""
    story = joined()
    story.settle()
    item = story.named(CLUSTER)
    assert item is not None
    story.world.store.collection_paused = True
    story.world.store.delete(object_ref(item))
    story.world.submit(cluster())
    story.settle()
    assert len(owners(story)) == 1
    assert len(patches(story)) == 1
    story.world.store.collection_paused = False
    story.world.store.collect()
    assert story.named(GROUP, "simple-more") is None


@pytest.mark.parametrize("kind", [CLUSTER, GROUP])
def test_no_group_joins_a_terminating_cluster_or_while_terminating(kind: str) -> None:
    story = joined()
    item = story.named(kind, "simple" if kind == CLUSTER else "simple-more")
    assert item is not None
    mark = {"metadata": {"deletionTimestamp": "2026-01-01T12:00:00Z", "finalizers": ["a.org/b"]}}
    story.world.store.patch(object_ref(item), mark)
    assert story.decision(MORE) == NOTHING


def test_the_default_group_of_a_cluster_is_not_patched() -> None:
    story = Story(job())
    story.bring_up()
    assert patches(story) == []


def test_one_that_joins_a_jobs_cluster_works_but_does_not_count_for_the_job() -> None:
    story = Story(job())
    story.world.submit(group("sums-more", "sums", 1))
    story.bring_up()
    story.after(5)
    assert len(story.workers()) == 3
    status = story.status_of(JOB)
    assert status["workers"] == {"desired": 2, "ready": 2}
    story.end_runner(0)
    story.kubelet()
    assert story.named(GROUP, "sums-more") is None
