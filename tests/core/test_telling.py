"""How long counts are held back while pods come: longer where they are very many."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from daskjob.core.decide.telling import counted_at, settled_at, still_at
from daskjob.core.pods import PodFacts, pod_facts

CREATED = datetime(2026, 1, 1, 12, tzinfo=UTC)
#: Later than all of them were created: still on their way.
LATER = CREATED + timedelta(seconds=59)


def pods_every(milliseconds: int, count: int) -> list[PodFacts]:
    """Pods that were created one after the other, the last ones a moment ago at the most."""
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


@pytest.mark.parametrize(
    ("pods", "seconds"), [(10, 30), (500, 30), (600, 36), (1000, 60), (5000, 300)]
)
def test_counts_of_pods_that_never_stand_still_are_told_after_30_s_or_60_ms_a_pod(
    pods: int, seconds: int
) -> None:
    coming = pods_every(59_000 // pods, pods)
    told = still_at(coming, None, LATER, more_to_come=True)
    assert told == CREATED + timedelta(seconds=seconds)
    assert settled_at(coming, None, told - timedelta(seconds=1)) == told


def test_many_pods_that_stand_still_are_told_5_s_later() -> None:
    still = pods_every(1, 1000)
    last = CREATED + timedelta(milliseconds=999)
    assert still_at(still, None, LATER, more_to_come=False) == last + timedelta(seconds=5)


@pytest.mark.parametrize(("pods", "seconds"), [(3, 5), (125, 5), (300, 12), (1000, 40)])
def test_another_number_of_pods_is_told_5_s_later_or_40_ms_a_pod(pods: int, seconds: int) -> None:
    [first, *_] = came = pods_every(0, pods)
    assert first.created_at == CREATED
    assert counted_at(came, LATER) == CREATED + timedelta(seconds=seconds)
