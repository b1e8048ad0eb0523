"""Two operators: one is the leader, the other a standby that takes over (design §5.2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.plugin import Kubectl, WaitFor
from tests.operator.installed import Operator
from tests.operator.jobs import ended, fake_job, says

Manifest = dict[str, Any]

#: A Lease expires after this time, plus the interval at which the standby reads it.
TAKEOVER_SECONDS = 60


@pytest.fixture
def two(operator: Operator) -> Iterator[Operator]:
    """The operator with two replicas: a leader and a standby."""
    operator.kubectl("scale", operator.deployment, "--replicas=2")
    operator.kubectl("rollout", "status", operator.deployment, "--timeout=60s")
    yield operator
    operator.kubectl("scale", operator.deployment, "--replicas=1")
    operator.kubectl("rollout", "status", operator.deployment, "--timeout=60s")


def leader(operator: Operator) -> str:
    """Return the name of the pod that holds the Lease."""
    where = ["get", "lease", "daskjob-operator", "--namespace=kube-system", "-o"]
    holder = operator.kubernetes.kubectl(*where, "jsonpath={.spec.holderIdentity}")
    return holder.partition("_")[0]


def test_standby_takes_over_when_the_leader_is_killed(
    two: Operator,
    fake_nodes: Callable[[int], None],
    apply: Callable[..., None],
    kubectl: Kubectl,
    wait_for: WaitFor,
) -> None:
    fake_nodes(2)
    apply(fake_job(ends_after="20s"))
    wait_for("daskjob", "sums", says("Running"))
    first = leader(two)
    pods = json.loads(two.kubectl("get", "pods", "-o", "json"))["items"]
    others = {pod["metadata"]["name"] for pod in pods} - {first}
    assert len(others) >= 1
    two.kubectl("delete", "pod", first, "--force", "--grace-period=0")
    done = wait_for("daskjob", "sums", ended, seconds=20 + TAKEOVER_SECONDS)
    assert done["status"]["jobStatus"] == "Successful"
    runners = kubectl("get", "pods", "--selector=dask.org/component=job-runner", "-o", "name")
    assert runners.split() == ["pod/sums-runner"]
    assert leader(two) != first
