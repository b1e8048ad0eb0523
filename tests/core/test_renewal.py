"""A group with a changed template: the replacement of its existing workers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from daskjob.core import names
from daskjob.core.errors import Invalid
from daskjob.core.manifests import Manifest, merge_patch, metadata, object_ref
from daskjob.core.pods import pod_facts
from daskjob.core.spec import DaskWorkerGroup, parse
from tests.core.manifests import cluster, cluster_spec, container, group, pod
from tests.core.stories import GROUP, Story

RETIRE: Manifest = {"updateStrategy": "Retire"}


def grown(replicas: int = 4, **worker: Any) -> Story:
    """Return a cluster whose workers are all ready and registered."""
    spec = cluster_spec(replicas)
    spec["worker"] |= worker
    story = Story(cluster(**spec))
    story.bring_up()
    story.world.schedulers_answer()
    return story


def change(story: Story, image: str = "dask:next") -> None:
    """Change the image of the cluster's workers."""
    story.edit(worker={"spec": pod({**container("worker", "dask-worker"), "image": image})})


def images(story: Story) -> list[str]:
    """Return the images of the workers that are not terminating."""
    pods = [w for w in story.workers() if not pod_facts(w).deleting]
    return sorted(w["spec"]["containers"][0]["image"] for w in pods)


def steps(story: Story, most: int = 40) -> Iterator[None]:
    """Let new pods become ready and old ones end, step by step, until nothing changes."""
    for _ in range(most):
        before = len(story.writes)
        story.world.start_all()
        story.settle()
        yield
        story.world.schedulers_answer()
        story.after(5)
        yield
        if len(story.writes) == before:
            return
    raise AssertionError(story.writes[-20:])


def old_image() -> str:
    """Return the previous image."""
    return str(container("worker", "dask-worker")["image"])


def test_changed_template_of_a_cluster_reaches_its_group_and_the_next_workers() -> None:
    story = grown(2)
    change(story)
    assert images(story) == [old_image()] * 2
    story.world.lose(story.workers()[0])
    story.settle()
    assert images(story) == sorted([old_image(), "dask:next"])


def test_changed_template_is_a_single_patch_of_the_group() -> None:
    story = grown(2)
    before = len(story.writes)
    change(story)
    story.after(600)
    patches = [w for w in story.writes[before:] if w.startswith("patch")]
    assert patches == ["patch DaskWorkerGroup/simple-default"]


def test_field_removed_from_the_cluster_is_removed_from_the_group() -> None:
    more = {**pod(container("worker", "dask-worker")), "nodeSelector": {"disk": "ssd", "zone": "a"}}
    story = grown(2, spec=more)
    story.edit(worker={"spec": {"nodeSelector": {"disk": None}}})
    found = story.named(GROUP, "simple-default")
    assert found is not None
    assert found["spec"]["worker"]["spec"]["nodeSelector"] == {"zone": "a"}
    story.edit(worker={"spec": {"nodeSelector": None}})
    found = story.named(GROUP, "simple-default")
    assert found is not None
    assert "nodeSelector" not in found["spec"]["worker"]["spec"]


def test_a_users_change_of_the_group_stays_until_the_clusters_template_changes() -> None:
    story = grown(2)
    mine = {"spec": {"worker": {"spec": {"priorityClassName": "mine"}}}}
    found = story.named(GROUP, "simple-default")
    assert found is not None
    story.world.store.patch(object_ref(found), mine)
    story.settle()
    found = story.named(GROUP, "simple-default")
    assert found is not None
    assert found["spec"]["worker"]["spec"]["priorityClassName"] == "mine"
    change(story)
    found = story.named(GROUP, "simple-default")
    assert found is not None
    assert "priorityClassName" not in found["spec"]["worker"]["spec"]


@pytest.mark.parametrize("replicas", [1, 2, 4, 9])
def test_all_workers_are_replaced_within_a_deployments_bounds(replicas: int) -> None:
    story = grown(replicas, **RETIRE)
    change(story)
    for _ in steps(story):
        facts = [p for w in story.workers() if not (p := pod_facts(w)).deleting]
        assert len(facts) <= replicas + math.ceil(replicas / 4)
        assert sum(p.ready for p in facts) >= replicas - math.floor(replicas / 4)
    assert images(story) == ["dask:next"] * replicas
    assert story.status_of(GROUP, "simple-default")["conditions"][0]["reason"] == "AllReady"
    # The scheduler was asked about each old worker before its deletion.
    assert len([w for w in story.writes if w.startswith("delete Pod/")]) == replicas
    assert len([a for w in story.writes if w.startswith("retire") for a in w.split()[1:]]) >= (
        replicas
    )


def test_old_workers_that_the_scheduler_does_not_release_stay() -> None:
    story = grown(4, **RETIRE)
    story.world.retires = False
    change(story)
    for _ in range(20):
        story.world.start_all()
        story.world.schedulers_answer()
        story.after(10)
    assert images(story).count(old_image()) == 4
    assert not [w for w in story.writes if w.startswith("delete Pod/")]
    reason = story.status_of(GROUP, "simple-default")["conditions"][0]["reason"]
    assert reason == "ScaleDownBlocked"


def test_replacement_stops_after_the_first_quarter_if_new_pods_never_become_ready() -> None:
    story = grown(8, **RETIRE)
    change(story)
    for _ in range(20):
        story.world.schedulers_answer()
        story.after(10)
    assert images(story).count(old_image()) == 6
    assert images(story).count("dask:next") == 4


def test_reverting_a_template_replaces_only_the_new_workers() -> None:
    story = grown(8, **RETIRE)
    kept = {metadata(w)["name"] for w in story.workers()}
    change(story)
    change(story, old_image())
    for _ in steps(story):
        pass
    assert images(story) == [old_image()] * 8
    assert len({metadata(w)["name"] for w in story.workers()} & kept) >= 6


def test_workers_of_an_unknown_template_are_kept() -> None:
    story = grown(2, **RETIRE)
    for worker in story.workers():
        nothing = {"metadata": {"annotations": {names.ANNOTATION_TEMPLATE: None}}}
        story.world.store.patch(object_ref(worker), nothing)
    change(story)
    for _ in steps(story):
        pass
    assert images(story) == [old_image()] * 2


def test_user_made_group_is_renewed_by_its_own_template() -> None:
    story = grown(1)
    mine = group(replicas=2)
    mine["spec"] |= RETIRE
    key = story.world.submit(mine)
    story.bring_up()
    story.world.schedulers_answer()
    changed = pod({**container("worker", "dask-worker"), "image": "dask:next"})
    story.world.edit(key, worker={"spec": changed})
    story.settle()
    for _ in steps(story):
        pass
    assert images(story) == sorted([old_image(), "dask:next", "dask:next"])


def test_unknown_strategy_is_a_mistake_that_lists_the_valid_ones() -> None:
    mine = group()
    mine["spec"]["updateStrategy"] = "RollingUpdate"
    with pytest.raises(Invalid, match=r"spec\.updateStrategy.*write one of OnDelete, Retire"):
        parse(DaskWorkerGroup, mine)


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {}, {"a": None}),
        ({}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"c": None}}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": [1]}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": None}, {"a": None}, {}),
    ],
)
def test_merge_patch_turns_the_old_into_the_new(
    old: Manifest, new: Manifest, patch: Manifest
) -> None:
    assert merge_patch(old, new) == patch
