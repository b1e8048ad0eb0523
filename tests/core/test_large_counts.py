"""A user chooses the size of a group, and never that of a pass (design §4.9)."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from dataclasses import replace
from datetime import timedelta

import pytest

from daskjob.backends.fake import START
from daskjob.core.dask import DaskState, DaskWorker
from daskjob.core.decide import decide
from daskjob.core.decide.steps import first_step
from daskjob.core.decision import MOST_OBJECTS, Decision, Retire
from daskjob.core.demand import MOST_TARGETS, demands_after
from daskjob.core.desired.agent_groups import MOST_ASKED, agent_groups
from daskjob.core.manifests import Key, ObjectRef
from daskjob.core.observed import ObservedGroup, Platform
from daskjob.core.policies.retry import backoff
from daskjob.core.spec.policy import Policy
from tests.core.manifests import cluster, cluster_spec, group, read_cluster, read_group
from tests.core.stories import CLUSTER, GROUP, Story

DEFAULT = Key(GROUP, "default", "simple-default")
#: What a typo makes of a count, and what an older CRD admitted.
HUGE = 2**31 - 1


def observed(replicas: int, platform: Platform | None = None) -> ObservedGroup:
    """The group of a cluster without workers yet, whatever its spec's mistakes."""
    story = Story(cluster(**cluster_spec(1)))
    story.settle()
    found = asyncio.run(story.world.observe(DEFAULT))
    assert isinstance(found, ObservedGroup)
    wanted = replace(found.group, replicas=replicas)
    return replace(found, group=wanted, workers=(), platform=platform or found.platform)


@pytest.mark.parametrize("batch", [0, HUGE], ids=["at once", "in batches"])
def test_pass_over_2147483647_replicas_makes_500_pods_in_bounded_time_and_memory(
    batch: int,
) -> None:
    given = observed(HUGE, Platform(worker_batch_size=batch))
    tracemalloc.start()
    begun = time.process_time()
    decision = decide(given, START)
    took = time.process_time() - begun
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(decision.create) == MOST_OBJECTS == 500
    assert decision.wake_at == START
    assert took < 2
    assert peak < 20 * 2**20


def test_the_next_passes_make_the_rest_and_then_nothing_is_due() -> None:
    story = Story(cluster(**cluster_spec(1_200)))
    story.one_pass()
    made = []
    for _ in range(4):
        made.append(sum(1 for w in story.one_pass(DEFAULT) if w.startswith("create Pod")))
    assert made == [500, 500, 200, 0]
    assert story.decision(DEFAULT).wake_at != story.world.now


def test_object_of_an_older_crd_makes_no_workers_and_says_what_to_write() -> None:
    story = Story(cluster(**cluster_spec(HUGE)))
    story.settle()
    assert story.workers() == []
    assert story.status_of(CLUSTER)["phase"] == "Error"
    [condition] = story.status_of(CLUSTER)["conditions"]
    assert condition["reason"] == "InvalidSpec"
    assert "write an integer from 0 to 10000" in condition["message"]


def test_too_many_workers_are_read_as_10_000_so_that_none_is_removed_for_a_typo() -> None:
    story = Story(cluster(**cluster_spec(3)))
    story.bring_up()
    story.world.schedulers_answer()
    story.world.edit(DEFAULT, worker={"replicas": HUGE})
    story.settle()
    assert len(story.workers()) == 3
    assert story.status_of(GROUP, "simple-default")["conditions"][0]["reason"] == "InvalidSpec"


def test_scale_down_of_1_200_workers_deletes_500_in_a_pass() -> None:
    story = Story(cluster(**cluster_spec(1_200)))
    story.settle()
    assert len(story.workers()) == 1_200
    story.world.lose(story.scheduler())
    story.world.edit(DEFAULT, worker={"replicas": 0})
    decision = story.decision(DEFAULT)
    assert len(decision.delete) == 500
    assert decision.wake_at == story.world.now
    story.settle()
    story.kubelet()
    assert story.workers() == []


def test_step_of_a_decision_asks_to_retire_500_workers() -> None:
    every = Retire(tuple(f"tcp://w:{number}" for number in range(501)), 60, None)
    step = first_step(Decision(retire=every), START)
    assert step.retire is not None
    assert step.retire.addresses == every.addresses[:500]


def test_decision_of_500_deletes_is_one_step() -> None:
    gone = tuple(ObjectRef("Pod", "default", f"w{number}") for number in range(500))
    decision = Decision(delete=gone, wake_at=START + timedelta(seconds=9))
    assert first_step(decision, START) is decision


def test_agent_splits_the_demand_among_200_groups_whoever_joins_the_cluster() -> None:
    joined = [read_group(group(f"more-{number}")) for number in range(1_000)]
    found = agent_groups(read_cluster(cluster()), joined)
    assert len(found) == MOST_ASKED == 200
    assert found[0].name == "simple-default"


def test_demand_of_200_groups_is_kept_whatever_a_scheduler_answers() -> None:
    found = demands_after({}, {f"group-{number}": 1 for number in range(5_000)}, START)
    assert len(found) == MOST_TARGETS == 200


@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        Policy(backoff_factor=1.0),
        Policy(backoff_initial_seconds=0),
        Policy(backoff_factor=1e300),
    ],
)
def test_backoff_after_any_number_of_tries_in_a_status_takes_no_time(policy: Policy) -> None:
    begun = time.process_time()
    assert backoff(policy, 2**63 - 1).total_seconds() <= policy.backoff_max_seconds
    assert time.process_time() - begun < 1


def test_scale_down_of_3_000_registered_workers_takes_less_than_a_second() -> None:
    """Matching each pod with each worker took 8 s, in which no other pass ran."""
    story = Story(cluster(**cluster_spec(1)))
    story.bring_up()
    found = asyncio.run(story.world.observe(DEFAULT))
    assert isinstance(found, ObservedGroup)
    names = [f"simple-default-worker-{number:010x}" for number in range(3_000)]
    pods = tuple(
        replace(found.workers[0], ref=ObjectRef("Pod", "default", name, name), ip=f"10.0.0.{index}")
        for index, name in enumerate(names)
    )
    state = DaskState(workers=tuple(DaskWorker(p.ref.name, f"tcp://{p.ip}:40") for p in pods))
    given = replace(found, workers=pods, dask=state, group=replace(found.group, replicas=0))
    begun = time.process_time()
    decision = decide(given, START)
    assert time.process_time() - begun < 1
    assert decision.retire is not None
    assert len(decision.retire.addresses) == 500
