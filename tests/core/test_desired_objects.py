"""``desired_objects`` lists the objects that passes create for a job, without a world."""

from __future__ import annotations

import re

import pytest

from daskjob.core.desired.job_objects import desired_objects
from daskjob.core.manifests import Manifest, metadata
from tests.core import manifests
from tests.core.stories import Story

GROUPED = manifests.cluster_spec(
    workerGroups=[
        {"name": "gpu", "replicas": 1, "spec": manifests.cluster_spec()["worker"]["spec"]}
    ]
)


def named(objects: list[Manifest]) -> list[str]:
    """Kinds and names, with workers' random suffixes left out."""
    found = [f"{item['kind']} {metadata(item)['name']}" for item in objects]
    return sorted(re.sub(r"-worker-[0-9a-f]{10}$", "-worker", name) for name in found)


@pytest.mark.parametrize(
    "job",
    [
        manifests.job(),
        manifests.job(cluster={"spec": GROUPED}),
        {
            **manifests.job(),
            "spec": {
                **manifests.job()["spec"],
                "job": {**manifests.job()["spec"]["job"], "files": {"a.py": "pass"}},
            },
        },
    ],
    ids=["default group", "two groups", "files"],
)
def test_desired_objects_are_those_that_passes_create(job: Manifest) -> None:
    story = Story(job)
    story.settle()
    created = [item for item in story.world.store.all() if item["kind"] != "DaskJob"]
    assert named(desired_objects(manifests.read_job(job))) == named(created)


def test_job_on_a_cluster_of_others_makes_its_runner_only() -> None:
    job = manifests.read_job(manifests.job(clusterRef={"name": "other"}))
    assert named(desired_objects(job)) == ["Pod sums-runner"]


def test_equal_jobs_make_equal_objects_under_their_own_names() -> None:
    job = manifests.read_job(manifests.job(cluster={"spec": GROUPED}))
    objects = desired_objects(job)
    assert objects == desired_objects(job)
    assert len({(item["kind"], metadata(item)["name"]) for item in objects}) == len(objects)
