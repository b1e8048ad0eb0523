"""A failed write is an error of its pass; a write to an object that is gone is not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from daskjob.backends.kubernetes.backend import KubernetesBackend
from daskjob.backends.kubernetes.watching.items import ItemDecoder
from daskjob.backends.kubernetes.watching.kinds import PODS
from daskjob.core.decision import Patch
from daskjob.core.errors import Conflict
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.core.observed import Platform
from tests.cluster.proxy import answer
from tests.kubernetes.given import Cluster, Side, pod, side_of

Write = Callable[[KubernetesBackend, ObjectRef], Awaitable[None]]

LABELLED: Manifest = {"metadata": {"labels": {"a": "b"}}}
AS_SEEN: Manifest = {"metadata": {"labels": {"a": "b"}, "resourceVersion": "1"}}
#: The writes of passes to an observed object.
WRITES: dict[str, Write] = {
    "status": lambda backend, ref: backend.write_status(ref, {"phase": "Pending"}),
    "patch": lambda backend, ref: backend.patch(Patch(ref, LABELLED)),
    "stop": lambda backend, ref: backend.stop(ref),
    "delete": lambda backend, ref: backend.delete(ref),
}
CONFLICT = answer(409, "the object has been modified", "Conflict")


@asynccontextmanager
async def one_pod(
    cluster: Cluster, namespace: str
) -> AsyncIterator[tuple[Side, KubernetesBackend, ObjectRef]]:
    """Open a backend of a namespace with one pod."""
    async with side_of(cluster) as found:
        ref = ItemDecoder(PODS).item(await found.api.create(pod("one", namespace))).ref
        yield found, KubernetesBackend(found.api, Platform(), [namespace]), ref


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_with_a_conflict_fails_its_pass_which_is_repeated(
    write: str, kubernetes: Cluster, namespace: str
) -> None:
    async with one_pod(kubernetes, namespace) as (found, backend, ref):
        found.proxy.on(CONFLICT, when=lambda request: request.writes)
        with pytest.raises(Conflict):
            await WRITES[write](backend, ref)
        await WRITES[write](backend, ref)


@pytest.mark.parametrize("write", WRITES)
async def test_another_object_of_the_name_is_not_changed(
    write: str, kubernetes: Cluster, namespace: str
) -> None:
    async with one_pod(kubernetes, namespace) as (found, backend, ref):
        before = await found.others.see(namespace)
        await WRITES[write](backend, ObjectRef("Pod", namespace, "one", "another-uid"))
        await WRITES[write](backend, ObjectRef("Pod", namespace, "none", ref.uid))
        assert await found.others.see(namespace) == before


async def test_a_patch_of_the_observed_version_leaves_a_newer_one_to_its_next_pass(
    kubernetes: Cluster, namespace: str
) -> None:
    async with one_pod(kubernetes, namespace) as (found, backend, ref):
        before = await found.others.see(namespace)
        await backend.patch(Patch(ref, AS_SEEN))
        assert await found.others.see(namespace) == before
