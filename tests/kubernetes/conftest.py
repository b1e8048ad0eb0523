"""What these tests add to the fixtures of the cluster: namespaces by the dozen, a client's side."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager

import pytest

from tests.cluster.plugin import Kubernetes
from tests.kubernetes.given import Cluster, Side, side_of

#: So many namespaces are made at once, at most: one by one takes longer than the tests in them.
DOZENS = 48


@pytest.fixture(scope="module")
def fresh(kubernetes: Kubernetes) -> Iterator[Callable[[], str]]:
    """Fresh namespaces, whose service accounts are there; a module's are deleted after it.

    An operator that other tests install would make passes over all that is left in them.
    """
    run = uuid.uuid4().hex[:6]
    made: list[str] = []
    unused: list[str] = []

    def make() -> None:
        # As many as were needed so far, so that one test alone waits for few.
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
    """The name of a fresh namespace; these tests leave nothing in it that anybody waits for."""
    return fresh()
