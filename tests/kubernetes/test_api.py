"""Requests to a real API server: accepted ones, rejected ones, and the messages of rejections."""

from __future__ import annotations

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
from tests.kubernetes.given import KEY, Cluster, Kubectl, Side, pod, side_of
from tests.waiting import until

ANOTHER = "00000000-0000-0000-0000-000000000000"


def daskjob(namespace: str, name: str = "sums") -> Manifest:
    manifest = job(name)
    manifest["metadata"]["namespace"] = namespace
    return manifest


def another(item: Item) -> ObjectRef:
    """Return a reference to an earlier object of this name."""
    return replace(item.ref, uid=ANOTHER)


# Creating


async def test_a_created_object_is_returned_with_the_servers_fields(
    side: Side, namespace: str
) -> None:
    item = await side.writes.create(KEY, pod("one", namespace))
    assert item.ref.uid
    assert item.version > 0
    assert item.pod is not None
    assert item.pod.phase == "Pending"
    again = await side.api.get(replace(item.ref, uid=""))
    assert ItemDecoder(PODS).item(again) == item


async def test_a_taken_name_already_exists(side: Side, namespace: str) -> None:
    await side.api.create(pod("one", namespace))
    with pytest.raises(AlreadyExists, match='pods "one" already exists'):
        await side.api.create(pod("one", namespace))


async def test_an_impossible_pod_is_invalid_with_kubernetes_message(
    side: Side, namespace: str
) -> None:
    manifest = pod("one", namespace)
    manifest["spec"]["containers"][0]["name"] = "A_B"
    with pytest.raises(
        CreateRejected, match=r"spec.containers\[0\].name: Invalid value"
    ) as rejection:
        await side.api.create(manifest)
    assert rejection.value.kind is RejectionKind.INVALID
    assert rejection.value.name == f"Pod {namespace}/one"
    manifest["spec"]["containers"] = "none"
    with pytest.raises(CreateRejected, match="cannot be handled as a Pod") as rejection:
        await side.api.create(manifest)
    assert rejection.value.kind is RejectionKind.INVALID
    assert len(side.proxy.requests("create")) == 2


async def test_an_exceeded_quota_is_distinguished_from_other_rejections(
    side: Side, namespace: str, kubectl: Kubectl
) -> None:
    kubectl("create", "quota", "few", "--hard=count/configmaps=0")
    # The quota controller would write this too, but later.
    known = {"status": {"hard": {"count/configmaps": "0"}, "used": {"count/configmaps": "0"}}}
    kubectl(
        "patch", "quota", "few", "--subresource=status", "--type=merge", f"-p={json.dumps(known)}"
    )

    files = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "files", "namespace": namespace},
    }

    async def by_the_quota() -> CreateRejected | None:
        try:
            await side.api.create(files)
        except CreateRejected as error:
            return error if error.kind is RejectionKind.QUOTA else None
        await side.api.delete(ObjectRef("ConfigMap", namespace, "files"))
        return None

    # The server enforces a new quota with a delay.
    error = await until(by_the_quota, pause=0.05)
    assert "exceeded quota: few" in error.message


async def test_a_pod_rejected_by_admission_is_rejected(
    side: Side, namespace: str, kubectl: Kubectl
) -> None:
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")

    with pytest.raises(CreateRejected, match='violates PodSecurity "restricted') as rejection:
        await side.api.create(pod("one", namespace))
    assert rejection.value.kind is RejectionKind.REJECTED


async def test_a_pod_denied_by_an_admission_policy_is_rejected_though_the_code_is_422(
    side: Side, namespace: str, kubectl: Kubectl
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

    async def by_the_policy() -> CreateRejected | None:
        try:
            await side.api.create(pod("one", namespace))
        except CreateRejected as error:
            return error
        await side.api.delete(ObjectRef("Pod", namespace, "one"))
        return None

    try:
        error = await until(by_the_policy, pause=0.05)
        assert "not here" in error.message
        assert error.kind is RejectionKind.REJECTED
    finally:
        kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name)


async def test_a_missing_namespace_is_not_found(side: Side, namespace: str) -> None:
    with pytest.raises(NotFound, match="not found"):
        await side.api.create(pod("one", f"{namespace}-none"))


# Changing


async def test_a_patch_merges_and_a_null_removes(
    side: Side, namespace: str, with_crds: object
) -> None:
    del with_crds

    item = await side.writes.create(KEY, daskjob(namespace))
    notes = {"metadata": {"annotations": {"a": "1", "b": "2"}}}
    await side.writes.patch(item.ref, notes)
    body = {"metadata": {"annotations": {"a": None}}, "spec": {"suspend": True}}
    changed = await side.writes.patch(item.ref, body)
    assert changed.manifest is not None
    assert changed.manifest["metadata"]["annotations"] == {"b": "2"}
    assert changed.manifest["spec"]["suspend"] is True
    assert changed.manifest["spec"]["job"] == daskjob(namespace)["spec"]["job"]


async def test_a_pod_is_stopped_by_its_deadline(side: Side, namespace: str) -> None:
    item = await side.writes.create(KEY, pod("one", namespace))
    stopped = await side.writes.patch(item.ref, {"spec": {"activeDeadlineSeconds": 1}})
    assert stopped.pod is not None
    assert stopped.pod.stop_asked


async def test_a_forbidden_change_is_denied(side: Side, namespace: str) -> None:
    item = await side.writes.create(KEY, pod("one", namespace))
    with pytest.raises(ChangeDenied) as rejection:
        await side.writes.patch(item.ref, {"spec": {"hostNetwork": True}})
    assert "pod updates may not change fields" in str(rejection.value)
    assert len(side.proxy.requests("patch")) == 1


@pytest.mark.parametrize("kind", ["Pod", "DaskJob"])
async def test_no_write_reaches_another_object_of_the_name(
    side: Side, kind: str, namespace: str, with_crds: object
) -> None:
    del with_crds

    made = pod("sums", namespace) if kind == "Pod" else daskjob(namespace)
    item = await side.writes.create(KEY, made)
    with pytest.raises(Replaced):
        await side.api.patch(another(item), {"metadata": {"labels": {"a": "b"}}})
    with pytest.raises(Replaced):
        await side.api.replace_status(another(item), {"attempt": 3})
    with pytest.raises(Replaced):
        await side.api.delete(another(item))
    assert await side.writes.look(item.ref) == item


async def test_no_write_reaches_an_object_that_is_gone(side: Side, namespace: str) -> None:
    gone = ObjectRef("Pod", namespace, "gone", ANOTHER)
    for write in (
        side.api.patch(gone, {"metadata": {"labels": {"a": "b"}}}),
        side.api.replace_status(gone, {"phase": "Running"}),
        side.api.delete(gone),
        side.api.get(gone),
    ):
        with pytest.raises(NotFound):
            await write
    assert await side.writes.look(gone) is None


async def test_a_patch_of_an_older_version_is_a_conflict_not_another_object(
    side: Side, namespace: str
) -> None:
    item = await side.writes.create(KEY, pod("one", namespace))
    await side.writes.patch(item.ref, {"metadata": {"labels": {"a": "b"}}})
    stale = {"metadata": {"resourceVersion": str(item.version), "labels": {"a": "c"}}}
    with pytest.raises(Conflict) as caught:
        await side.writes.patch(item.ref, stale)
    assert type(caught.value) is Conflict
    assert side.cache.of_uid(item.ref.uid) is not None


async def test_a_status_is_replaced_completely_and_writing_it_again_changes_nothing(
    side: Side, namespace: str, with_crds: object
) -> None:
    del with_crds

    item = await side.writes.create(KEY, daskjob(namespace))
    first = {"attempt": 0, "policy": {"backoffLimit": 3}, "reason": "Evicted"}
    await side.writes.replace_status(item.ref, first)
    second = {"attempt": 1, "policy": {}}
    written = await side.writes.replace_status(item.ref, second)
    assert written.manifest is not None
    assert written.manifest["status"] == second
    again = await side.writes.replace_status(item.ref, second)
    assert again.version == written.version


async def test_a_status_rejected_by_the_schema_is_an_error_with_its_message(
    side: Side, namespace: str, with_crds: object
) -> None:
    del with_crds

    item = await side.writes.create(KEY, daskjob(namespace))
    with pytest.raises(ApiError, match=r"status.attempt") as caught:
        await side.writes.replace_status(item.ref, {"attempt": "one"})
    assert not isinstance(caught.value, Conflict)
    assert len(side.proxy.requests("patch")) == 1


# Deleting


async def test_a_deleted_object_is_gone_from_the_cache_or_shown_as_terminating(
    side: Side, namespace: str, with_crds: object
) -> None:
    del with_crds

    slow = pod("slow", namespace, finalizers=["tests.daskjob.dev/wait"])
    held = await side.writes.create(KEY, slow)
    for made in (pod("quick", namespace), daskjob(namespace), service(namespace)):
        item = await side.writes.create(KEY, made)
        await side.writes.delete(item.ref)
        assert side.cache.of_uid(item.ref.uid) is None
        assert await side.writes.look(item.ref) is None
    await side.writes.delete(held.ref)
    going = side.cache.of_uid(held.ref.uid)
    assert going is not None
    assert going.deleting
    await side.writes.patch(held.ref, {"metadata": {"finalizers": None}})


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


async def test_dependents_are_deleted_in_the_background(side: Side, namespace: str) -> None:
    item = await side.writes.create(KEY, pod("one", namespace))
    await side.api.delete(item.ref, grace_seconds=7)
    sent = json.loads(side.proxy.requests("delete")[0].body)
    assert sent["propagationPolicy"] == "Background"
    assert sent["preconditions"] == {"uid": item.ref.uid}
    assert sent["gracePeriodSeconds"] == 7


# Reading


async def test_pages_of_a_list_are_of_one_version(side: Side, namespace: str) -> None:
    for number in range(5):
        await side.api.create(pod(f"p{number}", namespace))
    await side.api.create(pod("unlabelled", namespace, cluster=""))
    decoder = ItemDecoder(PODS)
    first = decoder.page(await side.api.list_page(PODS.within(namespace), limit=3))
    await side.api.create(pod("later", namespace))
    second = decoder.page(
        await side.api.list_page(PODS.within(namespace), limit=3, proceed=first.proceed)
    )
    assert [i.ref.name for i in first.items] == ["p0", "p1", "p2"]
    assert [i.ref.name for i in second.items] == ["p3", "p4"]
    assert (first.version, second.proceed) == (second.version, "")
    assert "resourceVersion" not in side.proxy.requests("list")[0].query


@pytest.mark.parametrize("watched", [SERVICES, CONFIG_MAPS], ids=lambda w: w.resource.plural)
async def test_only_metadata_is_sent_of_services_and_config_maps(
    side: Side, watched: Watched, namespace: str
) -> None:
    big = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {**service(namespace)["metadata"], "name": "files"},
        "data": {"big.py": "x" * 500_000},
    }
    made = service(namespace) if watched is SERVICES else big
    assert len(await side.api.create(made, metadata_only=True)) < 2000
    data = await side.api.list_page(watched.within(namespace), limit=10)
    assert len(data) < 2000
    (item,) = ItemDecoder(watched).page(data).items
    assert item.ref.kind == watched.kind
    async with side.api.watch(
        watched.within(namespace), item.version - 1, idle_seconds=5, duration_seconds=5
    ) as lines:
        line = await anext(lines)
    assert len(line) < 2000
    assert ItemDecoder(watched).change(line).item == item


async def test_a_kind_unknown_to_the_server_is_reported_as_such(side: Side, namespace: str) -> None:
    nothing = Resource("Nothing", "none.kubernetes.dask.org/v1", "nothings")
    with pytest.raises(NoSuchResource):
        await side.api.list_page(Selection(nothing, namespace), limit=1)


# Events


async def test_an_event_shows_in_kubectl_with_its_time_and_its_object(
    kubernetes: Cluster, namespace: str, kubectl: Kubectl, with_crds: object
) -> None:
    del with_crds

    async with side_of(kubernetes) as found:
        item = await found.writes.create(KEY, daskjob(namespace))
        event = Event("ImagePull", "image x cannot be pulled. " + "y" * 2000, warning=True)
        await found.api.emit(event_manifest(item.ref, event, datetime.now(UTC), "0123abcd"))
    (event,) = json.loads(kubectl("get", "events", "-o", "json"))["items"]
    assert (event["type"], event["reason"]) == ("Warning", "ImagePull")
    assert event["involvedObject"]["name"] == "sums"
    assert len(event["message"]) == 1024
    assert "image x cannot be pulled" in kubectl("describe", "daskjob", "sums")
    columns = kubectl("get", "events").splitlines()[1].split()
    assert columns[0].endswith("s")


async def test_an_event_that_cannot_be_emitted_fails_nothing(side: Side, namespace: str) -> None:
    ref = ObjectRef(JOBS.kind, f"{namespace}-none", "sums", "u")
    event = event_manifest(ref, Event("A", "b"), datetime.now(UTC), "0123abcd")
    await side.api.emit(event)
    assert [r.code for r in side.proxy.requests("create", "events")] == [404]


async def test_on_request_is_called_with_verb_kind_and_code(
    kubernetes: Cluster, namespace: str
) -> None:
    requests: list[tuple[str, str, int]] = []

    def count(verb: str, kind: str, code: int, seconds: float) -> None:
        assert 0 <= seconds < 10
        requests.append((verb, kind, code))

    async with side_of(kubernetes, on_request=count) as found:
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
    assert requests == [
        ("create", "Pod", 201),
        ("get", "Pod", 200),
        ("patch", "Pod", 200),
        ("list", "Pod", 200),
        ("watch", "Pod", 200),
        ("delete", "Pod", 200),
        ("get", "Pod", 404),
    ]
