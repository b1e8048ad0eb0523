"""The lease of an interactive cluster: it ends with its client (design §5.2)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from daskjob.backends.kubernetes.watching.continuity import GAP_SECONDS, Continuity
from daskjob.core import names
from daskjob.core.manifests import Manifest, format_time, object_ref
from daskjob.core.observed import ObservedCluster
from daskjob.core.policies import lease
from daskjob.core.spec import DaskCluster, Meta
from daskjob.core.spec.cluster import ClusterSpec
from daskjob.core.status import ClusterStatus
from tests.core.manifests import cluster, cluster_spec, job
from tests.core.stories import CLUSTER, GROUP, Story, running

DURATION = names.ANNOTATION_LEASE_DURATION
RENEWAL = names.ANNOTATION_LEASE_RENEW_TIME


def annotated(**annotations: str) -> Manifest:
    """Return a cluster with a lease."""
    manifest = cluster()
    keys = {"duration": DURATION, "renewal": RENEWAL}
    manifest["metadata"]["annotations"] = {keys[key]: text for key, text in annotations.items()}
    return manifest


def up(**annotations: str) -> Story:
    """Return a running cluster with a lease."""
    story = Story(annotated(**annotations))
    story.bring_up()
    return story


def renew(story: Story) -> None:
    """Renew the lease, as its client does."""
    item = story.named(CLUSTER)
    assert item is not None
    noted = {RENEWAL: format_time(story.world.now)}
    story.world.store.patch(object_ref(item), {"metadata": {"annotations": noted}})
    story.settle()


@pytest.mark.parametrize("seconds", [30, 300, 86_400])
def test_a_cluster_whose_client_is_gone_is_deleted_when_its_lease_expires(seconds: int) -> None:
    story = up(duration=str(seconds))
    renew(story)
    wake = story.decision().wake_at
    assert wake is not None
    assert wake <= story.world.now + timedelta(seconds=seconds)
    story.after(seconds - 1)
    assert story.named(CLUSTER) is not None
    story.after(1)
    assert story.named(CLUSTER) is None
    [event] = [e.event for e in story.world.events if e.event.reason == "LeaseExpired"]
    assert f"has not renewed its lease for {seconds} s" in event.message


def test_the_pass_that_deletes_it_emits_the_event_first() -> None:
    story = up(duration="300")
    story.world.advance(301)
    decision = story.decision()
    assert [ref.kind for ref in decision.delete] == [CLUSTER]
    assert [event.reason for event in decision.events] == ["LeaseExpired"]
    assert decision.status is None


def test_a_renewed_lease_keeps_the_cluster_for_ever() -> None:
    story = up(duration="300")
    for _ in range(50):
        story.after(100)
        renew(story)
    assert story.named(CLUSTER) is not None
    story.after(300)
    assert story.named(CLUSTER) is None


def test_without_a_renewal_the_creation_counts() -> None:
    story = up(duration="300")
    story.after(300)
    assert story.named(CLUSTER) is None


def test_a_cluster_without_a_lease_stays() -> None:
    story = up(renewal="2020-01-01T00:00:00Z")
    story.after(1_000_000)
    assert story.named(CLUSTER) is not None
    assert "InvalidLease" not in story.event_reasons()


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ({"duration": "five minutes"}, "'five minutes', not whole seconds"),
        ({"duration": "0"}, "'0'"),
        ({"duration": "-300"}, "'-300'"),
        ({"duration": "2.5"}, "'2.5'"),
        ({"duration": "9" * 18}, "not whole seconds"),
        ({"duration": ""}, "''"),
        ({"duration": "300", "renewal": "yesterday"}, "'yesterday', not a time"),
        ({"duration": "300", "renewal": ""}, "'', not a time"),
    ],
)
def test_a_lease_that_cannot_be_read_is_none_and_is_reported(
    annotations: dict[str, str], words: str
) -> None:
    story = up(**annotations)
    story.after(1_000_000)
    assert story.named(CLUSTER) is not None
    warnings = {e.event for e in story.world.events if e.event.reason == "InvalidLease"}
    assert len(warnings) == 1
    assert words in warnings.pop().message


def test_the_cluster_of_a_job_has_no_lease() -> None:
    noted = {"annotations": {DURATION: "10"}}
    story = running(cluster={"metadata": noted, "spec": cluster_spec()})
    found = story.named(CLUSTER)
    assert found is not None
    story.world.store.patch(object_ref(found), {"metadata": noted})
    story.after(1000)
    assert story.named(CLUSTER) is not None
    assert story.word == "Running"


def test_the_kept_cluster_of_an_ended_job_has_no_lease_either() -> None:
    noted = {"annotations": {DURATION: "10"}}
    keep = {"onSuccess": "Keep", "onFailure": "Keep"}
    story = running(cluster={"metadata": noted, "spec": cluster_spec()}, deletionPolicy=keep)
    found = story.named(CLUSTER)
    assert found is not None
    story.world.store.patch(object_ref(found), {"metadata": noted})
    story.end_runner(0)
    story.after(1000)
    assert story.word == "Successful"
    assert story.named(CLUSTER) is not None


def test_a_cluster_stays_while_a_job_uses_it() -> None:
    story = up(duration="60")
    story.world.submit(job(clusterRef={"name": "simple"}))
    story.bring_up()
    story.after(1000)
    assert story.named(CLUSTER) is not None
    assert story.decision().wake_at is not None


def test_the_lease_is_not_passed_on() -> None:
    story = up(duration="300", renewal="2026-01-01T12:00:00Z")
    children = [story.named(GROUP, "simple-default"), story.scheduler(), *story.workers()]
    for child in children:
        assert child is not None
        assert not {DURATION, RENEWAL} & set(child["metadata"].get("annotations") or {})


# After a gap

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def observed(followed_since: datetime | None) -> ObservedCluster:
    """Return a cluster whose lease of 300 s was renewed at noon."""
    annotations = {DURATION: "300", RENEWAL: "2026-01-01T12:00:00Z"}
    meta = Meta(CLUSTER, "simple", annotations=annotations, created_at=NOON)
    found = ObservedCluster(cluster=DaskCluster(meta, ClusterSpec()), status=ClusterStatus())
    return replace(found, followed_since=followed_since)


@pytest.mark.parametrize(
    ("followed_from", "expires"), [(None, 300), (-1000, 300), (100, 300), (200, 350), (3600, 3750)]
)
def test_clients_have_half_the_duration_to_renew_after_a_gap(
    followed_from: int | None, expires: int
) -> None:
    since = None if followed_from is None else NOON + timedelta(seconds=followed_from)
    found, end = observed(since), NOON + timedelta(seconds=expires)
    assert not lease.has_expired(found, end - timedelta(seconds=1))
    assert lease.has_expired(found, end)
    assert lease.next_look(found, NOON) == end


def test_a_watch_is_continuous_from_its_first_line_until_it_breaks_or_is_silent() -> None:
    now = 1000.0
    followed = Continuity(lambda: now)
    assert followed.since() is None
    followed.heard()
    now += GAP_SECONDS
    followed.heard()
    assert followed.since() == 1000
    now += GAP_SECONDS + 1
    assert followed.since() is None
    followed.heard()
    assert followed.since() == now
    followed.broken()
    assert followed.since() is None
