"""Requests to a real API server: what it takes, what it says no to, and in which words."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from daskjob.backends.kubernetes.watching.items import Item, ItemDecoder
from daskjob.backends.kubernetes.watching.kinds import CONFIG_MAPS, JOBS, PODS, SERVICES, Watched
from daskjob.backends.kubernetes.writing.events import event_manifest
from daskjob.core.decision import Event
from daskjob.core.errors import (
    ApiError,
    ChangeDenied,
    Conflict,
    CreateRejected,
    NotFound,
    RejectionKind,
)
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.kube.errors import AlreadyExists, NoSuchResource, Replaced
from daskjob.kube.resources import Resource, Selection
from tests.core.manifests import job
from tests.kubernetes.given import KEY, Cluster, Kubectl, pod, run, side, until

ANOTHER = "00000000-0000-0000-0000-000000000000"


def daskjob(namespace: str, name: str = "sums") -> Manifest:
    manifest = job(name)
    manifest["metadata"]["namespace"] = namespace
    return manifest


def another(item: Item) -> ObjectRef:
    """A reference to an object that had this name before."""
    return replace(item.ref, uid=ANOTHER)


# Creating


def test_a_created_object_comes_back_with_what_the_server_gave_it(
    kubernetes: Cluster, namespace: str
) -> None:
    async def story() -> None:
        async with side(kubernetes) as found:
            item = await found.writes.create(KEY, pod("one", namespace))
            assert item.ref.uid
            assert item.version > 0
            assert item.pod is not None
            assert item.pod.phase == "Pending"
            again = await found.api.get(replace(item.ref, uid=""))
            assert ItemDecoder(PODS).item(again) == item

    run(story())


def test_a_name_that_is_taken_already_exists(kubernetes: Cluster, namespace: str) -> None:
    async def story() -> None:
        async with side(kubernetes) as found:
            await found.api.create(pod("one", namespace))
            with pytest.raises(AlreadyExists, match='pods "one" already exists'):
                await found.api.create(pod("one", namespace))

    run(story())


def test_a_pod_that_can_never_be_is_invalid_in_kubernetes_words(
    kubernetes: Cluster, namespace: str
) -> None:
    async def story() -> None:
        async with side(kubernetes) as found:
            manifest = pod("one", namespace)
            manifest["spec"]["containers"][0]["name"] = "A_B"
            with pytest.raises(
                CreateRejected, match=r"spec.containers\[0\].name: Invalid value"
            ) as rejection:
                await found.api.create(manifest)
            assert rejection.value.kind is RejectionKind.INVALID
            assert rejection.value.name == f"Pod {namespace}/one"
            manifest["spec"]["containers"] = "none"
            with pytest.raises(CreateRejected, match="cannot be handled as a Pod") as rejection:
                await found.api.create(manifest)
            assert rejection.value.kind is RejectionKind.INVALID
            assert len(found.proxy.requests("create")) == 2

    run(story())


def test_a_quota_that_is_full_is_told_from_other_refusals(
    kubernetes: Cluster, namespace: str, kubectl: Kubectl
) -> None:
    kubectl("create", "quota", "few", "--hard=count/configmaps=0")
    # The controller of quotas would write this too, in its own time.
    known = {"status": {"hard": {"count/configmaps": "0"}, "used": {"count/configmaps": "0"}}}
    kubectl(
        "patch", "quota", "few", "--subresource=status", "--type=merge", f"-p={json.dumps(known)}"
    )

    async def story() -> None:
        async with side(kubernetes) as found:
            files = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "files", "namespace": namespace},
            }

            async def rejected() -> CreateRejected | None:
                try:
                    await found.api.create(files)
                except CreateRejected as error:
                    return error
                await found.api.delete(ObjectRef("ConfigMap", namespace, "files"))
                return None

            # The server takes notice of a quota in its own time.
            error = await rejected()
            for _ in range(200):
                if error is not None and error.kind is RejectionKind.QUOTA:
                    break
                await asyncio.sleep(0.05)
                error = await rejected()
            assert error is not None
            assert error.kind is RejectionKind.QUOTA
            assert "exceeded quota: few" in error.message

    run(story())


def test_a_pod_that_admission_refuses_is_rejected(
    kubernetes: Cluster, namespace: str, kubectl: Kubectl
) -> None:
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")

    async def story() -> None:
        async with side(kubernetes) as found:
            with pytest.raises(
                CreateRejected, match='violates PodSecurity "restricted'
            ) as rejection:
                await found.api.create(pod("one", namespace))
            assert rejection.value.kind is RejectionKind.REJECTED

    run(story())


def test_a_pod_that_an_admission_policy_refuses_is_rejected_though_the_code_is_422(
    kubernetes: Cluster, namespace: str, kubectl: Kubectl
) -> None:
    name = f"no-pods-{namespace}"
    rules = [
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    ]
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": rules, "namespaceSelector": here},
            "validations": [{"expression": "false", "message": "not here"}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    listed = {"apiVersion": "v1", "kind": "List", "items": [policy, binding]}
    kubectl("apply", "-f", "-", stdin=json.dumps(listed))

    async def story() -> None:
        async with side(kubernetes) as found:

            async def rejected() -> CreateRejected | None:
                try:
                    await found.api.create(pod("one", namespace))
                except CreateRejected as error:
                    return error
                await found.api.delete(ObjectRef("Pod", namespace, "one"))
                return None

            error = await rejected()
            for _ in range(200):
                if error is not None:
                    break
                await asyncio.sleep(0.05)
                error = await rejected()
            assert error is not None
            assert "not here" in error.message
            assert error.kind is RejectionKind.REJECTED

    try:
        run(story())
    finally:
        kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name)


def test_a_namespace_that_is_not_there_is_not_found(kubernetes: Cluster, namespace: str) -> None:
    async def story() -> None:
        async with side(kubernetes) as found:
            with pytest.raises(NotFound, match="not found"):
                await found.api.create(pod("one", f"{namespace}-none"))

    run(story())


# Changing


def test_a_patch_merges_and_a_null_takes_away(
    kubernetes: Cluster, namespace: str, with_crds: object
) -> None:
    del with_crds

    async def story() -> None:
        async with side(kubernetes) as found:
            item = await found.writes.create(KEY, daskjob(namespace))
            notes = {"metadata": {"annotations": {"a": "1", "b": "2"}}}
            await found.writes.patch(item.ref, notes)
            body = {"metadata": {"annotations": {"a": None}}, "spec": {"suspend": True}}
            changed = await found.writes.patch(item.ref, body)
            assert changed.manifest is not None
            assert changed.manifest["metadata"]["annotations"] == {"b": "2"}
            assert changed.manifest["spec"]["suspend"] is True
            assert changed.manifest["spec"]["job"] == daskjob(namespace)["spec"]["job"]

    run(story())


def test_a_pod_is_told_to_stop_by_its_deadline(kubernetes: Cluster, namespace: str) -> None:
    async def story() -> None:
        async with side(kubernetes) as found:
            item = await found.writes.create(KEY, pod("one", namespace))
            stopped = await found.writes.patch(item.ref, {"spec": {"activeDeadlineSeconds": 1}})
            assert stopped.pod is not None
            assert stopped.pod.stop_asked

    run(story())


def test_a_change_that_may_not_be_is_denied(kubernetes: Cluster, namespace: str) -> None:
    async def story() -> None:
        async with side(kubernetes) as found:
            item = await found.writes.create(KEY, pod("one", namespace))
            with pytest.raises(ChangeDenied) as rejection:
                await found.writes.patch(item.ref, {"spec": {"hostNetwork": True}})
            assert "pod updates may not change fields" in str(rejection.value)
            assert len(found.proxy.requests("patch")) == 1

    run(story())


@pytest.mark.parametrize("kind", ["Pod", "DaskJob"])
def test_no_write_reaches_another_object_of_the_name(
    kind: str, kubernetes: Cluster, namespace: str, with_crds: object
) -> None:
    del with_crds

    async def story() -> None:
        async with side(kubernetes) as found:
            made = pod("sums", namespace) if kind == "Pod" else daskjob(namespace)
            item = await found.writes.create(KEY, made)
            with pytest.raises(Replaced):
                await found.api.patch(another(item), {"metadata": {"labels": {"a": "b"}}})
            with pytest.raises(Replaced):
                await found.api.replace_status(another(item), {"attempt": 3})
            with pytest.raises(Replaced):
                await found.api.delete(another(item))
            assert await found.writes.look(item.ref) == item

    run(story())


def test_no_write_reaches_an_object_that_is_gone(kubernetes: Cluster, namespace: str) -> None:
    async def story() -> None:
        async with side(kubernetes) as found:
            gone = ObjectRef("Pod", namespace, "gone", ANOTHER)
            for write in (
                found.api.patch(gone, {"metadata": {"labels": {"a": "b"}}}),
                found.api.replace_status(gone, {"phase": "Running"}),
                found.api.delete(gone),
                found.api.get(gone),
            ):
                with pytest.raises(NotFound):
                    await write
            assert await found.writes.look(gone) is None

    run(story())


def test_a_patch_from_an_older_version_is_a_conflict_and_of_no_other_object(
    kubernetes: Cluster, namespace: str
) -> None:
    async def story() -> None:
        async with side(kubernetes) as found:
            item = await found.writes.create(KEY, pod("one", namespace))
            await found.writes.patch(item.ref, {"metadata": {"labels": {"a": "b"}}})
            stale = {"metadata": {"resourceVersion": str(item.version), "labels": {"a": "c"}}}
            with pytest.raises(Conflict) as caught:
                await found.writes.patch(item.ref, stale)
            assert type(caught.value) is Conflict
            assert found.cache.of_uid(item.ref.uid) is not None

    run(story())


def test_a_status_is_replaced_whole_and_writing_it_again_changes_nothing(
    kubernetes: Cluster, namespace: str, with_crds: object
) -> None:
    del with_crds

    async def story() -> None:
        async with side(kubernetes) as found:
            item = await found.writes.create(KEY, daskjob(namespace))
            first = {"attempt": 0, "policy": {"backoffLimit": 3}, "reason": "Evicted"}
            await found.writes.replace_status(item.ref, first)
            second = {"attempt": 1, "policy": {}}
            written = await found.writes.replace_status(item.ref, second)
            assert written.manifest is not None
            assert written.manifest["status"] == second
            again = await found.writes.replace_status(item.ref, second)
            assert again.version == written.version

    run(story())


def test_a_status_that_the_schema_refuses_is_an_error_in_its_words(
    kubernetes: Cluster, namespace: str, with_crds: object
) -> None:
    del with_crds

    async def story() -> None:
        async with side(kubernetes) as found:
            item = await found.writes.create(KEY, daskjob(namespace))
            with pytest.raises(ApiError, match=r"status.attempt") as caught:
                await found.writes.replace_status(item.ref, {"attempt": "one"})
            assert not isinstance(caught.value, Conflict)
            assert len(found.proxy.requests("patch")) == 1

    run(story())


# Deleting


def test_an_object_that_is_deleted_is_gone_from_the_cache_or_shown_as_it_goes(
    kubernetes: Cluster, namespace: str, with_crds: object
) -> None:
    del with_crds

    async def story() -> None:
        async with side(kubernetes) as found:
            slow = pod("slow", namespace, finalizers=["tests.daskjob.dev/wait"])
            held = await found.writes.create(KEY, slow)
            for made in (pod("quick", namespace), daskjob(namespace), service(namespace)):
                item = await found.writes.create(KEY, made)
                await found.writes.delete(item.ref)
                assert found.cache.of_uid(item.ref.uid) is None
                assert await found.writes.look(item.ref) is None
            await found.writes.delete(held.ref)
            going = found.cache.of_uid(held.ref.uid)
            assert going is not None
            assert going.deleting
            await found.writes.patch(held.ref, {"metadata": {"finalizers": None}})

    run(story())


def service(namespace: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "sums-scheduler",
            "namespace": namespace,
            "labels": {"dask.org/cluster-name": "sums"},
        },
        "spec": {"ports": [{"name": "tcp-comm", "port": 8786}]},
    }


def test_what_an_owner_leaves_goes_in_the_background(kubernetes: Cluster, namespace: str) -> None:
    async def story() -> None:
        async with side(kubernetes) as found:
            item = await found.writes.create(KEY, pod("one", namespace))
            await found.api.delete(item.ref, grace_seconds=7)
            sent = json.loads(found.proxy.requests("delete")[0].body)
            assert sent["propagationPolicy"] == "Background"
            assert sent["preconditions"] == {"uid": item.ref.uid}
            assert sent["gracePeriodSeconds"] == 7

    run(story())


# Reading


def test_a_list_comes_in_pages_that_tell_of_one_moment(kubernetes: Cluster, namespace: str) -> None:
    async def story() -> None:
        async with side(kubernetes) as found:
            for number in range(5):
                await found.api.create(pod(f"p{number}", namespace))
            await found.api.create(pod("unlabelled", namespace, cluster=""))
            decoder = ItemDecoder(PODS)
            first = decoder.page(await found.api.list_page(PODS.within(namespace), limit=3))
            await found.api.create(pod("later", namespace))
            second = decoder.page(
                await found.api.list_page(PODS.within(namespace), limit=3, proceed=first.proceed)
            )
            assert [i.ref.name for i in first.items] == ["p0", "p1", "p2"]
            assert [i.ref.name for i in second.items] == ["p3", "p4"]
            assert (first.version, second.proceed) == (second.version, "")
            assert "resourceVersion" not in found.proxy.requests("list")[0].query

    run(story())


@pytest.mark.parametrize("watched", [SERVICES, CONFIG_MAPS], ids=lambda w: w.resource.plural)
def test_of_services_and_config_maps_no_more_than_metadata_is_sent(
    watched: Watched, kubernetes: Cluster, namespace: str
) -> None:
    async def story() -> None:
        async with side(kubernetes) as found:
            big = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {**service(namespace)["metadata"], "name": "files"},
                "data": {"big.py": "x" * 500_000},
            }
            made = service(namespace) if watched is SERVICES else big
            assert len(await found.api.create(made, metadata_only=True)) < 2000
            data = await found.api.list_page(watched.within(namespace), limit=10)
            assert len(data) < 2000
            (item,) = ItemDecoder(watched).page(data).items
            assert item.ref.kind == watched.kind
            async with found.api.watch(
                watched.within(namespace), item.version - 1, idle_seconds=5, duration_seconds=5
            ) as lines:
                line = await anext(lines)
            assert len(line) < 2000
            assert ItemDecoder(watched).change(line).item == item

    run(story())


def test_a_kind_that_the_server_does_not_know_is_told_as_such(
    kubernetes: Cluster, namespace: str
) -> None:
    async def story() -> None:
        async with side(kubernetes) as found:
            nothing = Resource("Nothing", "none.kubernetes.dask.org/v1", "nothings")
            with pytest.raises(NoSuchResource):
                await found.api.list_page(Selection(nothing, namespace), limit=1)

    run(story())


# Events


def test_an_event_shows_in_kubectl_with_its_time_and_its_object(
    kubernetes: Cluster, namespace: str, kubectl: Kubectl, with_crds: object
) -> None:
    del with_crds

    async def story() -> None:
        async with side(kubernetes) as found:
            item = await found.writes.create(KEY, daskjob(namespace))
            event = Event("ImagePull", "image x cannot be pulled. " + "y" * 2000, warning=True)
            await found.api.emit(event_manifest(item.ref, event, datetime.now(UTC), "0123abcd"))

    run(story())
    (event,) = json.loads(kubectl("get", "events", "-o", "json"))["items"]
    assert (event["type"], event["reason"]) == ("Warning", "ImagePull")
    assert event["involvedObject"]["name"] == "sums"
    assert len(event["message"]) == 1024
    assert "image x cannot be pulled" in kubectl("describe", "daskjob", "sums")
    columns = kubectl("get", "events").splitlines()[1].split()
    assert columns[0].endswith("s")


def test_an_event_that_cannot_be_emitted_fails_nothing(kubernetes: Cluster, namespace: str) -> None:
    async def story() -> None:
        async with side(kubernetes) as found:
            ref = ObjectRef(JOBS.kind, f"{namespace}-none", "sums", "u")
            event = event_manifest(ref, Event("A", "b"), datetime.now(UTC), "0123abcd")
            await found.api.emit(event)
            assert [r.code for r in found.proxy.requests("create", "events")] == [404]

    run(story())


def test_on_request_is_called_with_verb_kind_and_code(kubernetes: Cluster, namespace: str) -> None:
    requests: list[tuple[str, str, int]] = []

    def count(verb: str, kind: str, code: int, seconds: float) -> None:
        assert 0 <= seconds < 10
        requests.append((verb, kind, code))

    async def story() -> None:
        async with side(kubernetes, on_request=count) as found:
            item = await found.writes.create(KEY, pod("one", namespace))
            await found.writes.look(item.ref)
            await found.writes.patch(item.ref, {"metadata": {"labels": {"a": "b"}}})
            await found.api.list_page(PODS.within(namespace), limit=5)
            async with found.api.watch(
                PODS.within(namespace), item.version, idle_seconds=5, duration_seconds=5
            ):
                pass
            await found.writes.delete(item.ref)
            await found.writes.look(item.ref)
            await until(lambda: not found.proxy.watching)

    run(story())
    assert requests == [
        ("create", "Pod", 201),
        ("get", "Pod", 200),
        ("patch", "Pod", 200),
        ("list", "Pod", 200),
        ("watch", "Pod", 200),
        ("delete", "Pod", 200),
        ("get", "Pod", 404),
    ]
