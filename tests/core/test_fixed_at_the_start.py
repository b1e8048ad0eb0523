"""What a job keeps from its start: its controller, its cluster, its token (design §3.1).

The CRD rejects a change; older CRDs did not.
"""

from __future__ import annotations

import asyncio

from daskjob.core.observed import ObservedJob
from tests.core.manifests import cluster, job
from tests.core.stories import CLUSTER, Story, job_story, running

OTHER = "kueue.x-k8s.io/multikueue"
SIMPLE = {"name": "simple"}


def seen(story: Story) -> ObservedJob:
    """The job as a pass observes it."""
    found = asyncio.run(story.world.observe(story.key))
    assert isinstance(found, ObservedJob)
    return found


def test_running_job_that_gets_another_controller_is_brought_to_its_end() -> None:
    story = running()
    story.edit(managedBy=OTHER)
    story.end_runner(0)
    assert story.word == "Successful"
    story.kubelet()
    assert story.named(CLUSTER) is None


def test_running_job_that_gets_another_controller_can_be_cancelled() -> None:
    story = running()
    story.edit(managedBy=OTHER, cancel=True)
    assert (story.word, story.status.reason) == ("Failed", "Cancelled")


def test_job_of_another_controller_stays_its_own_whatever_status_was_copied_into_it() -> None:
    done = running()
    theirs = Story(job("theirs", managedBy=OTHER), done.world)
    copied = done.status_of("DaskJob")
    item = theirs.named("DaskJob")
    assert item is not None
    theirs.world.store.write_status(seen(theirs).ref, copied)
    before = list(theirs.writes)
    theirs.settle()
    theirs.after(1_000)
    assert not [write for write in theirs.writes[len(before) :] if "theirs" in write]


def test_running_job_that_swaps_its_cluster_for_a_reference_stays_on_its_own() -> None:
    story = running(backoffLimit=0)
    story.world.submit(cluster())
    story.bring_up()
    story.edit(cluster=None, clusterRef=SIMPLE)
    assert (story.word, story.status.cluster_name) == ("Running", "sums")
    story.end_runner(0)
    assert story.word == "Successful"
    story.kubelet()
    assert story.named(CLUSTER) is None
    assert story.named(CLUSTER, "simple") is not None


def test_attempt_without_a_cluster_to_make_ends_the_job_as_invalid() -> None:
    story = running()
    story.edit(cluster=None, clusterRef=SIMPLE)
    story.end_runner(1)
    for _ in range(4):
        story.after(30)
    assert (story.word, story.status.reason) == ("Failed", "InvalidSpec")
    assert "spec.cluster is gone" in story.status.message


def test_running_job_whose_reference_changes_stays_on_its_cluster() -> None:
    story = job_story(clusterRef=SIMPLE, backoffLimit=0)
    story.world.submit(cluster())
    story.bring_up()
    story.edit(clusterRef={"name": "other"})
    assert (story.word, story.status.cluster_name) == ("Running", "simple")
    story.end_runner(0)
    assert story.word == "Successful"


def test_submission_id_of_the_start_holds_after_a_detour_by_absence() -> None:
    story = running(submissionID="monday")
    story.edit(submissionID=None)
    story.edit(submissionID="tuesday")
    assert seen(story).job.submission_id == "monday"
