"""When a changed status is written: longer after a change where pods are very many."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from daskjob.core.decide.status_timing import Change, due_at
from daskjob.core.pods import PodFacts, pod_facts

CREATED = datetime(2026, 1, 1, 12, tzinfo=UTC)
#: Later than the creation of all of them.
LATER = CREATED + timedelta(seconds=59)


def pods_every(milliseconds: int, count: int) -> list[PodFacts]:
    """Return pods created one after the other, up to shortly before ``LATER``."""
    moments = [CREATED + timedelta(milliseconds=milliseconds * n) for n in range(count)]
    return [
        pod_facts(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"w-{n}",
                    "namespace": "ns",
                    "uid": str(n),
                    "creationTimestamp": moment.isoformat(),
                },
                "spec": {"containers": [{"name": "worker"}]},
            }
        )
        for n, moment in enumerate(moments)
    ]


def due(
    pods: list[PodFacts],
    now: datetime = LATER,
    *,
    more: bool = False,
    at_work: bool = False,
    recounted: bool = False,
) -> float:
    """Return when their counts are written, in seconds after their creation."""
    moment = due_at(
        Change.PODS,
        pods,
        now,
        written_at=None,
        more_to_come=more,
        at_work=at_work,
        recounted=recounted,
    )
    return (moment - CREATED).total_seconds()


@pytest.mark.parametrize(
    ("pods", "seconds"), [(10, 30), (500, 30), (600, 36), (1000, 60), (5000, 300)]
)
def test_counts_of_pods_that_keep_changing_are_written_after_30_s_or_60_ms_a_pod(
    pods: int, seconds: int
) -> None:
    coming = pods_every(59_000 // pods, pods)
    assert due(coming, more=True) == seconds
    assert due(coming, CREATED + timedelta(seconds=seconds - 1), at_work=True) == seconds


def test_counts_of_many_unchanged_pods_are_written_5_s_later() -> None:
    assert due(pods_every(1, 1000)) == 0.999 + 5


@pytest.mark.parametrize(("pods", "seconds"), [(3, 5), (83, 5), (300, 18), (1000, 60)])
def test_another_number_of_pods_is_written_5_s_later_or_60_ms_a_pod(
    pods: int, seconds: int
) -> None:
    assert due(pods_every(0, pods), more=True, recounted=True) == seconds


def test_pending_creates_and_deletes_count_as_a_change_now() -> None:
    assert due(pods_every(1, 3), CREATED + timedelta(seconds=20), at_work=True) == 25


def test_no_counts_are_written_sooner_than_5_s_after_the_last_write() -> None:
    written = LATER - timedelta(seconds=1)
    moment = due_at(
        Change.PODS, pods_every(1, 3), LATER, written_at=written, more_to_come=False, recounted=True
    )
    assert moment == written + timedelta(seconds=5)


def test_an_urgent_change_is_due_now_and_a_wording_60_s_after_the_last_write() -> None:
    pods = pods_every(1, 3)
    for change, moment in (
        (Change.URGENT, LATER),
        (Change.WORDING, CREATED + timedelta(seconds=60)),
    ):
        due = due_at(change, pods, LATER, written_at=CREATED, more_to_come=True, at_work=True)
        assert due == moment
