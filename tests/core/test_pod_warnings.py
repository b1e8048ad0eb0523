"""Events of stuck pods: the pods whose Events are requested, and the use of the answer."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from daskjob.backends.fake import START
from daskjob.core.manifests import Key, Manifest, format_time
from daskjob.core.observed import Observed, ObservedCluster, ObservedGroup, ObservedJob
from daskjob.core.pod_warnings import PodWarning, latest_warning, silent_pods, with_warnings
from daskjob.core.pods import PodFacts
from tests.core.stories import CLUSTER, GROUP, JOB, Story, job_story

KEYS = [
    Key(JOB, "default", "sums"),
    Key(CLUSTER, "default", "sums"),
    Key(GROUP, "default", "sums-default"),
]


def creating(*, init: str = "") -> Story:
    """Return a job whose pods all have a node and are being created."""
    story = job_story()
    story.settle()
    for pod in story.world.pods():
        story.world.wait_with(pod, "ContainerCreating")
        if init:
            status = [{"name": "fetch", "restartCount": 0, "state": {init: {}}}]
            story.world._set(pod, initContainerStatuses=status)
    return story


def observed(story: Story, key: Key) -> Observed:
    """Return what a pass over an object observes."""
    found = asyncio.run(story.world.observe(key))
    assert found is not None
    return found


def silent(story: Story, key: Key) -> list[str]:
    """Return the names of the pods whose Events are requested."""
    return [pod.ref.name for pod in silent_pods(observed(story, key), story.world.now)]


def test_events_are_requested_of_pods_creating_for_30_s_and_of_one_worker() -> None:
    story = creating()
    story.world.advance(29)
    assert [silent(story, key) for key in KEYS] == [[], [], []]
    story.world.advance(1)
    job, cluster, group = (silent(story, key) for key in KEYS)
    assert job == ["sums-runner", "sums-scheduler", *group]
    assert cluster == ["sums-scheduler"]
    assert len(group) == 1


def test_no_events_are_requested_of_running_unscheduled_or_diagnosed_pods() -> None:
    story = creating()
    story.world.start(story.runner(), ready=False)
    story.world.wait_with(story.scheduler(), "ImagePullBackOff", "no such image")
    for worker in story.workers():
        story.world.unschedulable(worker, "0/3 nodes are available")
    story.world.advance(100)
    assert [silent(story, key) for key in KEYS] == [[], [], []]


@pytest.mark.parametrize(("init", "requested"), [("waiting", True), ("running", False)])
def test_a_pod_whose_init_container_runs_has_its_volumes(init: str, requested: bool) -> None:
    story = creating(init=init)
    story.world.advance(100)
    assert bool(silent(story, KEYS[0])) is requested


def event(reason: str, seconds_ago: float, message: str = "text", **more: object) -> Manifest:
    """Return an Event as the API returns it."""
    at = format_time(START - timedelta(seconds=seconds_ago))
    return {"type": "Warning", "reason": reason, "message": message, "lastTimestamp": at, **more}


def test_the_latest_warning_about_the_obstacle_is_used() -> None:
    events = [
        event("FailedMount", 100, "earlier"),
        event("FailedAttachVolume", 10, "later"),
        event("FailedScheduling", 1),
        event("Unhealthy", 1),
        event("Pulling", 1, type="Normal"),
    ]
    at = START - timedelta(seconds=10)
    assert latest_warning(events, START) == PodWarning("FailedAttachVolume", "later", at)


@pytest.mark.parametrize(
    "time",
    [
        {"eventTime": "2026-01-01T11:59:59.123456Z", "series": None},
        {"series": {"count": 9, "lastObservedTime": "2026-01-01T11:59:59.000001Z"}},
        {"deprecatedLastTimestamp": "2026-01-01T11:59:59Z"},
        {"metadata": {"creationTimestamp": "2026-01-01T11:59:59Z"}},
    ],
    ids=["eventTime", "a series", "events.k8s.io", "its creation"],
)
def test_a_warnings_time_is_read_from_either_api_group(time: Manifest) -> None:
    raw = {"type": "Warning", "reason": "FailedMount", "note": "text", "lastTimestamp": None}
    found = latest_warning([{**raw, **time}], START)
    assert found is not None
    assert found.message == "text"
    assert found.at.replace(microsecond=0) == START - timedelta(seconds=1)


def test_the_last_written_warning_of_one_second_is_used_whatever_the_order() -> None:
    def mount(message: str, version: int) -> Manifest:
        return {
            "type": "Warning",
            "reason": "FailedMount",
            "message": message,
            "lastTimestamp": format_time(START),
            "metadata": {"resourceVersion": str(version)},
        }

    at_first = mount("failed to sync configmap cache: timed out waiting for the condition", 998)
    then = mount('configmap "nope" not found', 1002)
    for events in ([at_first, then], [then, at_first]):
        warning = latest_warning(events, START)
        assert warning is not None
        assert warning.message == 'configmap "nope" not found'


@pytest.mark.parametrize("events", [[], [event("FailedMount", 301)], [{"reason": "FailedMount"}]])
def test_a_warning_not_repeated_for_5_minutes_has_expired(events: list[Manifest]) -> None:
    assert latest_warning(events, START) is None


@pytest.mark.parametrize("key", KEYS, ids=["job", "cluster", "group"])
def test_warnings_reach_only_the_pod_with_their_uid(key: Key) -> None:
    story = creating()
    before = observed(story, key)
    pods = _pods(before)
    warnings = {pods[0].ref.uid: PodWarning("FailedMount", "text", START)}
    after = _pods(with_warnings(before, warnings))
    assert [pod.warnings for pod in after] == [
        (("FailedMount", "text"),) if pod.ref.uid == pods[0].ref.uid else () for pod in pods
    ]
    assert with_warnings(before, {}) is before


def _pods(seen: Observed) -> list[PodFacts]:
    match seen:
        case ObservedJob():
            found = [*seen.runners, seen.scheduler, *seen.workers]
        case ObservedCluster():
            found = [seen.scheduler]
        case ObservedGroup():
            found = list(seen.workers)
    return [pod for pod in found if pod is not None]
