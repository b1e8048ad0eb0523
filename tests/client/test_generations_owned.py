"""What a generation of a task owns: there with each job, whatever was killed, and gone with it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from daskjob.core.errors import Conflict
from daskjob.core.manifests import Manifest, metadata
from daskjob.kube.access import Access
from daskjob.submit.client.async_client import AsyncJobClient
from daskjob.submit.generations import Generation, Identity, Step, start_generation_async
from tests.client.given import FAILED, RUNNING, Given, given_client, job, twins
from tests.client.test_generations import MANY, start
from tests.cluster.plugin import Kubectl
from tests.cluster.proxy import after, before
from tests.kubernetes.given import Cluster, Plain

TASK = Identity("prefect", ("flow-run", "1"))
SECRET: Manifest = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "sums-env"},
    "data": {"PREFECT_API_KEY": "cG51XzE="},
}


def using(name: str = "sums-env") -> Manifest:
    """Return a job whose runner has the variables of a Secret."""
    manifest = job()
    container = manifest["spec"]["job"]["spec"]["containers"][0]
    container["envFrom"] = [{"secretRef": {"name": name}}]
    return manifest


def used_by(found: Manifest) -> str:
    container = found["spec"]["job"]["spec"]["containers"][0]
    name: str = container["envFrom"][0]["secretRef"]["name"]
    return name


def owners(kubectl: Kubectl) -> dict[str, str]:
    """Return the uid of the owner of each Secret."""
    return {
        metadata(item)["name"]: metadata(item)["ownerReferences"][0]["uid"]
        for item in kubectl.items("secrets")
    }


@twins
async def test_each_generation_owns_a_secret_of_its_own(
    form: str, with_crds: Cluster, namespace: str, kubectl: Kubectl
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        first = await start(given, using(), TASK, owned=[SECRET])
        # One request for the Secret, besides the two of a job.
        assert [request.verb for request in given.proxy.seen] == ["list", "create", "create"]
        name = f"{first.job.name}-env"
        assert used_by(first.job.manifest) == name
        assert owners(kubectl) == {name: first.job.ref.uid}
        again = await start(given, using(), TASK, owned=[SECRET])
        assert (again.step, again.job.ref) == (Step.ADOPTED, first.job.ref)
        await given.report(first.job.ref, FAILED)
        second = await start(given, using(), TASK, owned=[SECRET])
        assert second.number == 2
        assert owners(kubectl)[f"{second.job.name}-env"] == second.job.ref.uid
        # The template of the task stays as it is.
        assert metadata(SECRET)["name"] == "sums-env"


async def test_a_running_job_is_adopted_without_a_look_at_its_secret(
    with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, "async") as given:
        first = await start(given, using(), TASK, owned=[SECRET])
        await given.report(first.job.ref, RUNNING)
        sent = given.count("create", "secrets")
        assert (await start(given, using(), TASK, owned=[SECRET])).step is Step.ADOPTED
        assert given.count("create", "secrets") == sent


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_try_that_ends_at_any_request_is_completed_by_the_next(
    when: str, with_crds: Cluster, namespace: str, kubectl: Kubectl
) -> None:
    for point in range(MANY):
        identity = Identity("prefect", (when, str(point)))
        async with given_client(with_crds, namespace, "async") as given:
            reached = await killed_at(given, point, when, identity)
            # No Secret is there without a job that takes it along.
            known = {found.ref.uid for found in await given.client.list()}
            assert set(owners(kubectl).values()) <= known
            found = await start(given, using(), identity, owned=[SECRET])
            assert found.number == 1, point
            assert owners(kubectl)[f"{found.job.name}-env"] == found.job.ref.uid
            if not reached:
                return
    pytest.fail("the rule sends requests without end")


async def killed_at(given: Given, point: int, when: str, identity: Identity) -> bool:
    """Start a generation, and end that before or after its n-th request."""
    task: asyncio.Task[Generation]

    async def kill() -> None:
        task.cancel()

    fault = {"before": before, "after": after}[when](kill)
    rule = given.proxy.on(fault, skip=point)
    async with AsyncJobClient(
        given.namespace, credentials=lambda: Plain(Access(given.proxy.url)), notify=print
    ) as client:
        start_one = start_generation_async(client, using(), identity, owned=[SECRET])
        task = asyncio.create_task(start_one)
        with suppress(asyncio.CancelledError):
            await task
    rule.end()
    return rule.hits > 0


async def test_a_secret_of_something_else_is_a_conflict(
    with_crds: Cluster, namespace: str, kubectl: Kubectl
) -> None:
    async with given_client(with_crds, namespace, "async") as given:
        name = f"sums-{TASK.digest[:10]}-g1-env"
        kubectl("create", "secret", "generic", name)
        with pytest.raises(Conflict, match=f"{name} exists and does not belong to"):
            await start(given, using(), TASK, owned=[SECRET])


@pytest.mark.parametrize("name", ["env", "sums", "other-env", ""])
async def test_an_object_that_is_not_named_after_the_job_is_rejected(
    name: str, with_crds: Cluster, namespace: str
) -> None:
    wrong: dict[str, Any] = {**SECRET, "metadata": {"name": name}}
    async with given_client(with_crds, namespace, "async") as given:
        with pytest.raises(ValueError, match="needs a name like sums-env"):
            await start(given, using(), TASK, owned=[wrong])
        assert given.proxy.seen == []
