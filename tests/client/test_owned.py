"""What a job owns: created once after it, whatever happens, and never taken from others."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from daskjob.core.errors import Conflict, Forbidden, Invalid
from daskjob.submit.cluster_job.archive import PART_BYTES, encoded, part_config_map
from daskjob.submit.records.completeness import Incomplete
from tests.client.given import FAILED, given_client, job, twins
from tests.cluster.plugin import Kubectl
from tests.cluster.proxy import answer, lose_answer, reset
from tests.kubernetes.given import Cluster

SECRET: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "sums-env"},
    "data": {"A": "MQ=="},
}
LOST = {
    "nothing": None,
    "lost answer": lose_answer(),
    "reset": reset(),
    "503": answer(503),
    "429": answer(429, retry_after=1),
}
DENIED = 'secrets is forbidden: User "me" cannot create resource "secrets" in API group ""'


@twins
@pytest.mark.parametrize("fault", LOST)
async def test_secret_is_created_once_and_belongs_to_the_job(
    form: str, fault: str, with_crds: Cluster, namespace: str, kubectl: Kubectl
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        injected = LOST[fault]
        if injected is not None:
            given.proxy.on(injected, verb="create", resource="secrets", times=2)
        ref = await given.client.submit(job(), token="t", owned=[SECRET])
        again = await given.client.submit(job(), token="t", owned=[SECRET])
        assert (again, again.existed, again.differences) == (ref, True, ())
        if injected is None:
            assert (given.count("create"), given.count("create", "secrets")) == (2, 2)
        (found,) = kubectl.items("secrets")
        (owner,) = found["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("DaskJob", ref.name, ref.uid)


@twins
async def test_secret_with_other_values_stays_and_is_a_difference(
    form: str, with_crds: Cluster, namespace: str, kubectl: Kubectl
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        await given.client.submit(job(), token="t", owned=[SECRET])
        other = {**SECRET, "data": {"A": "Mg=="}}
        again = await given.client.submit(job(), token="t", owned=[other])
        assert again.differences == (f"Secret {namespace}/sums-env: other values",)
        (found,) = kubectl.items("secrets")
        assert found["data"] == SECRET["data"]


@twins
@pytest.mark.parametrize("fault", LOST)
async def test_code_is_one_request_more_for_each_config_map(
    form: str, fault: str, with_crds: Cluster, namespace: str, kubectl: Kubectl
) -> None:
    parts = [b"\0" * PART_BYTES, b"\xff" * 10]
    maps = [part_config_map("sums", f"sums-code-0-{i}", encoded(p)) for i, p in enumerate(parts)]
    async with given_client(with_crds, namespace, form) as given:
        injected = LOST[fault]
        if injected is not None:
            given.proxy.on(injected, verb="create", resource="configmaps", times=2)
        ref = await given.client.submit(job(), token="t", owned=maps)
        if injected is None:
            assert (given.count("create"), given.count("create", "configmaps")) == (1, 2)
            assert given.count("get", "configmaps") == 0
        again = await given.client.submit(job(), token="t", owned=maps)
        assert (again, again.existed, again.differences) == (ref, True, ())
        found = {i["metadata"]["name"]: i for i in kubectl.items("configmaps")}
        assert {name for name in found if name.startswith("sums")} == {
            "sums-code-0-0",
            "sums-code-0-1",
        }
        for item, part in zip(maps, parts, strict=True):
            stored = found[item["metadata"]["name"]]
            assert base64.b64decode(stored["binaryData"]["part"]) == part
            assert stored["immutable"]
            (owner,) = stored["metadata"]["ownerReferences"]
            assert (owner["kind"], owner["name"], owner["uid"]) == ("DaskJob", ref.name, ref.uid)
            assert (owner["controller"], owner["blockOwnerDeletion"]) == (True, False)


@twins
@pytest.mark.parametrize("sent", [0, 1])
async def test_submitting_again_completes_the_code_of_a_client_that_was_killed(
    form: str, sent: int, with_crds: Cluster, namespace: str, kubectl: Kubectl
) -> None:
    maps = [part_config_map("sums", f"sums-code-0-{i}", encoded(b"part")) for i in range(2)]
    async with given_client(with_crds, namespace, form) as given:
        # The next creations got no answer, ever.
        first = await given.client.submit(job(), token="t", owned=maps[:sent])
        ref = await given.client.submit(job(), token="t", owned=maps)
        assert (ref, ref.existed, ref.differences) == (first, True, ())
        names = [item["metadata"]["name"] for item in kubectl.items("configmaps")]
        assert [name for name in names if name.startswith("sums")] == [
            "sums-code-0-0",
            "sums-code-0-1",
        ]
        assert len(await given.client.list()) == 1


@twins
async def test_retried_job_has_a_copy_of_the_secret_of_its_variables(
    form: str, with_crds: Cluster, namespace: str, kubectl: Kubectl
) -> None:
    manifest = job()
    pod = manifest["spec"]["job"]["spec"]["containers"][0]
    pod["envFrom"] = [{"secretRef": {"name": "sums-env"}}, {"secretRef": {"name": "shared"}}]
    async with given_client(with_crds, namespace, form) as given:
        first = await given.client.submit(manifest, owned=[SECRET])
        await given.report(first, FAILED)
        second = await given.client.retry(first)
        assert await given.client.retry(first) == second
        found = {item["metadata"]["name"]: item for item in kubectl.items("secrets")}
        copy = found[f"{second.name}-env"]
        assert copy["data"] == SECRET["data"]
        assert copy["metadata"]["ownerReferences"][0]["uid"] == second.uid
        sent = (await given.client.get(second)).manifest
        names = [
            source["secretRef"]["name"]
            for source in sent["spec"]["job"]["spec"]["containers"][0]["envFrom"]
        ]
        assert names == [f"{second.name}-env", "shared"]
        # Of a third one, the Secret of the second is the origin.
        await given.client.delete(first)
        await given.report(second, FAILED)
        third = await given.client.retry(second)
        assert f"{third.name}-env" in [i["metadata"]["name"] for i in kubectl.items("secrets")]


@twins
async def test_retry_without_its_secret_is_an_error_with_the_command(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    manifest = job()
    pod = manifest["spec"]["job"]["spec"]["containers"][0]
    pod["envFrom"] = [{"secretRef": {"name": "sums-env"}}]
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(manifest)
        await given.report(ref, FAILED)
        with pytest.raises(Incomplete, match=r"which is gone; .* submit --like sums --env-file"):
            await given.client.retry(ref)
        assert len(await given.client.list()) == 1


async def test_secret_of_a_deleted_job_of_the_same_name_is_waited_for(
    with_crds: Cluster, namespace: str, kubectl: Kubectl
) -> None:
    async with given_client(with_crds, namespace, "async") as given:
        for _ in range(3):
            ref = await given.client.submit(job(), owned=[SECRET])
            (found,) = kubectl.items("secrets")
            assert found["metadata"]["ownerReferences"][0]["uid"] == ref.uid
            await given.client.delete(ref, force=True)


@twins
async def test_rejected_secret_is_an_error_that_names_the_job(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        given.proxy.on(answer(403, DENIED, "Forbidden"), verb="create", resource="secrets")
        with pytest.raises(Forbidden, match=r"resources: \[secrets\], verbs: \[create\]") as caught:
            await given.client.submit(job(), owned=[SECRET])
        assert caught.value.__notes__ == ["sums was created and waits for it; delete the job"]


@twins
async def test_dry_run_checks_a_job_and_stores_nothing(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        stored = await given.client.dry_run(job())
        assert stored["metadata"]["namespace"] == namespace
        with pytest.raises(Invalid):
            await given.client.dry_run(job(backoffLimit=-1))
        assert await given.client.list() == ()
        await given.client.submit(job())
        with pytest.raises(Conflict):
            await given.client.dry_run(job())


def with_code(*names: str) -> dict[str, Any]:
    return job() | {
        "spec": job()["spec"] | {"code": {"configMaps": list(names), "paths": ["src", "."]}}
    }


@twins
async def test_retried_job_has_a_copy_of_its_code_by_one_request_for_each_part(
    form: str, with_crds: Cluster, namespace: str, kubectl: Kubectl
) -> None:
    names = ["sums-code-0-0", "sums-code-0-1"]
    maps = [part_config_map("sums", name, encoded(name.encode())) for name in names]
    async with given_client(with_crds, namespace, form) as given:
        first = await given.client.submit(with_code(*names, "by-hand"), owned=maps)
        await given.report(first, FAILED)
        before = given.count("create", "configmaps"), given.count("get", "configmaps")
        second = await given.client.retry(first)
        after = given.count("create", "configmaps"), given.count("get", "configmaps")
        assert [new - old for new, old in zip(after, before, strict=True)] == [2, 2]
        assert await given.client.retry(first) == second
        copies = [f"{second.name}-code-0-0", f"{second.name}-code-0-1"]
        code = (await given.client.get(second)).manifest["spec"]["code"]
        assert code == {"configMaps": [*copies, "by-hand"], "paths": ["src", "."]}
        # The copies stay when the first job, and its own code, are gone.
        await given.client.delete(first)
        await given.report(second, FAILED)
        third = await given.client.retry(second)
        found = {item["metadata"]["name"]: item for item in kubectl.items("configmaps")}
        for name, original in zip(copies, names, strict=True):
            copy = found[name]
            assert base64.b64decode(copy["binaryData"]["part"]) == original.encode()
            assert copy["metadata"]["ownerReferences"][0]["uid"] == second.uid
            assert copy["metadata"]["labels"]["dask.org/cluster-name"] == second.name
        assert f"{third.name}-code-0-1" in found


@twins
async def test_retry_of_a_job_whose_code_is_gone_is_an_error_with_the_next_step(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(with_code("sums-code-0-0"))
        await given.report(ref, FAILED)
        message = r"in the ConfigMap sums-code-0-0, which is gone; submit its script again"
        with pytest.raises(Incomplete, match=message):
            await given.client.retry(ref)
        assert len(await given.client.list()) == 1
