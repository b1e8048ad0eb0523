"""Additions to the fixtures of the cluster: many fresh namespaces, and a client's side."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager

import pytest

from tests.cluster.plugin import Kubernetes
from tests.kubernetes.given import Cluster, Side, side_of

#: Number of namespaces created at once: one by one takes longer than the tests in them.
DOZENS = 48


@pytest.fixture(scope="module")
def fresh(kubernetes: Kubernetes) -> Iterator[Callable[[], str]]:
    """Fresh namespaces with their service accounts; a module's are deleted after it.

    An operator installed by other tests would make passes over everything left in them.
    """
    run = uuid.uuid4().hex[:6]
    made: list[str] = []
    unused: list[str] = []

    def make() -> None:
        # As many as were needed so far, so that a single test waits for only a few.
        more = min(max(len(made), 3), DOZENS)
        unused.extend(f"t-{run}-{len(made) + number}" for number in range(more))
        made.extend(unused)
        items = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in unused
        ]
        listed = {"apiVersion": "v1", "kind": "List", "items": items}
        kubernetes.kubectl("create", "-f", "-", stdin=json.dumps(listed))

    def take() -> str:
        if not unused:
            make()
        name = unused.pop(0)
        # Pods are rejected until the namespace has its service account.
        assert any(kubernetes.access.watched("serviceaccount", name, "default", seconds=60))
        return name

    yield take
    with ThreadPoolExecutor(8) as pool:
        for start in range(0, len(made), 12):
            some = made[start : start + 12]
            pool.submit(kubernetes.kubectl, "delete", "namespace", "--wait=false", *some)


@pytest.fixture
def side(kubernetes: Cluster) -> AbstractAsyncContextManager[Side]:
    """A client's side, open while an async test runs."""
    return side_of(kubernetes)


@pytest.fixture
def namespace(fresh: Callable[[], str]) -> str:
    """The name of a fresh namespace; its objects need no cleanup, the fixture deletes it."""
    return fresh()
