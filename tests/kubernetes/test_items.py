"""The cached part of an object, decoded from a server's bytes."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from daskjob.backends.kubernetes.watching.items import Change, ItemDecoder, is_terminating
from daskjob.backends.kubernetes.watching.kinds import (
    CLUSTERS,
    CONFIG_MAPS,
    GROUPS,
    JOBS,
    PODS,
    Watched,
)
from daskjob.core.caching import forget
from daskjob.core.errors import ApiError
from daskjob.core.manifests import Manifest, ObjectRef, is_too_deep
from daskjob.core.pods import pod_facts
from daskjob.kube.decoding import READ_LEVELS
from daskjob.kube.errors import WatchFailed

OWNER = {"apiVersion": "v1", "kind": "DaskJob", "name": "sums", "uid": "job-uid"}
POD: Manifest = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {
        "name": "sums-runner",
        "namespace": "here",
        "uid": "pod-uid",
        "resourceVersion": "1234",
        "generation": 2,
        "creationTimestamp": "2026-11-25T19:32:01Z",
        "deletionTimestamp": "2026-11-25T19:33:31Z",
        "deletionGracePeriodSeconds": 30,
        "labels": {"dask.org/cluster-name": "sums", "dask.org/component": "job-runner"},
        "annotations": {"kubernetes.dask.org/attempt": "2", "kubernetes.dask.org/template": "ab"},
        "ownerReferences": [{**OWNER, "uid": "not-it"}, {**OWNER, "controller": True}],
        "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
    },
    "spec": {
        "volumes": [{"name": "v", "emptyDir": {}}],
        "activeDeadlineSeconds": 60,
        "nodeName": "node-1",
        "containers": [
            {"name": "sidecar", "image": "x"},
            {"name": "job", "env": [{"name": "DASKJOB_AGENT_TOKEN", "value": "s3cret"}]},
        ],
    },
    "status": {
        "phase": "Running",
        "reason": "Evicted",
        "message": "because",
        "startTime": "2026-11-25T19:32:03Z",
        "podIP": "10.0.0.7",
        "hostIP": "10.0.0.1",
        "conditions": [
            {"type": "Ready", "status": "True", "lastProbeTime": None},
            {"type": "PodScheduled", "status": "False", "message": "0/3 nodes"},
            {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "PreemptionByScheduler",
                "lastTransitionTime": "2026-11-25T19:33:00Z",
            },
        ],
        "initContainerStatuses": [
            {"name": "init", "state": {"terminated": {"exitCode": 0}}, "restartCount": 0}
        ],
        "containerStatuses": [
            {
                "name": "job",
                "state": {
                    "terminated": {
                        "exitCode": 3,
                        "reason": "Error",
                        "message": "the last line",
                        "startedAt": "2026-11-25T19:32:05Z",
                        "finishedAt": "2026-11-25T19:33:01Z",
                    }
                },
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                "ready": True,
                "restartCount": 4,
                "containerID": "containerd://abc",
            }
        ],
    },
}


def item(watched: Watched, manifest: Manifest) -> Any:
    return ItemDecoder(watched).item(json.dumps(manifest).encode())


def test_a_pods_facts_equal_those_of_its_full_manifest() -> None:
    found = item(PODS, POD)
    assert found.pod == pod_facts(POD)
    assert found.pod.token == "s3cret"
    assert found.pod.main.message == "the last line"
    assert found.manifest is None
    assert (found.version, found.owner_kind, found.owner_uid) == (1234, "DaskJob", "job-uid")
    assert (found.cluster, found.deleting) == ("sums", True)
    assert found.ref == ObjectRef("Pod", "here", "sums-runner", "pod-uid")


def test_every_field_that_facts_depend_on_is_decoded() -> None:
    """Remove each leaf in turn: the item's facts change as those of the full manifest."""
    for path in _leaves(POD):
        without = _without(POD, path)
        if path in (("metadata",), ("metadata", "uid")):
            continue  # Not an object any more.
        assert item(PODS, without).pod == pod_facts(without), path


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, child in below:
        found.append((*path, key))
        if isinstance(child, dict | list):
            found += _leaves(child, (*path, key))
    return found


def _without(value: Any, path: tuple[Any, ...]) -> Any:
    key, *rest = path
    copy = value.copy()
    if rest:
        copy[key] = _without(value[key], tuple(rest))
    else:
        del copy[key]
    return copy


def test_nulls_written_by_sloppy_clients_count_as_absent() -> None:
    sloppy = json.loads(json.dumps(POD))
    for field in ("labels", "annotations", "ownerReferences", "deletionTimestamp"):
        sloppy["metadata"][field] = None
    sloppy["status"] = None
    sloppy["spec"]["containers"][1]["env"] = None
    found = item(PODS, sloppy)
    assert (found.cluster, found.owner_uid, found.deleting) == ("", "", False)
    assert found.pod == pod_facts(sloppy)


def test_our_kinds_are_kept_completely_except_annotations_of_tools() -> None:
    job: Manifest = {
        "metadata": {
            "name": "sums",
            "namespace": "here",
            "uid": "u",
            "resourceVersion": "7",
            "generation": 3,
            "finalizers": ["kopf.zalando.org/KopfFinalizerMarker"],
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{...}",
                "kopf.zalando.org/last-handled-configuration": "{...}",
                "mine": "stays",
            },
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": {"job": {"spec": {"newer": {"than": ["we", "know"]}}}},
        "status": {"jobStatus": "Running"},
    }
    kept = item(JOBS, job).manifest
    assert kept["metadata"]["annotations"] == {"mine": "stays"}
    assert "managedFields" not in kept["metadata"]
    assert kept["metadata"]["generation"] == 3
    assert kept["metadata"]["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"]
    assert (kept["spec"], kept["status"]) == (job["spec"], job["status"])
    # Objects in a list lack these.
    assert (kept["apiVersion"], kept["kind"]) == ("kubernetes.dask.org/v1", "DaskJob")


def test_our_kinds_are_parsed_on_first_use_and_once_for_all_users() -> None:
    found = item(JOBS, {"metadata": {"name": "sums", "uid": "u"}, "spec": {"cancel": True}})
    first = found.manifest
    assert first["spec"] == {"cancel": True}
    assert "status" not in first
    assert found.manifest is first
    # Without users only a few bytes are left.
    before = sys.getrefcount(first)
    forget()
    assert sys.getrefcount(first) == before - 1
    assert found.manifest == first


@pytest.mark.parametrize(
    ("watched", "spec", "cluster"),
    [
        (JOBS, {"clusterRef": {"name": "sums"}, "cluster": {"spec": {}}}, "sums"),
        (JOBS, {"cluster": {"spec": {}}}, ""),
        (JOBS, {"clusterRef": None}, ""),
        (JOBS, {"clusterRef": {"name": 5}}, ""),
        (JOBS, {"clusterRef": "sums"}, ""),
        (GROUPS, {"cluster": "sums", "worker": {}}, "sums"),
        (GROUPS, {"cluster": {"name": "sums"}}, ""),
        (GROUPS, {}, ""),
        (GROUPS, None, ""),
        (GROUPS, "sums", ""),
        (CLUSTERS, {"cluster": "sums", "clusterRef": {"name": "sums"}}, ""),
    ],
)
def test_a_specs_cluster_is_known_and_an_invalid_name_is_none(
    watched: Watched, spec: object, cluster: str
) -> None:
    found = item(watched, {"metadata": {"name": "one", "uid": "u"}, "spec": spec})
    assert found.cluster_ref == cluster
    assert found.manifest["spec"] == spec


def test_only_the_existence_of_a_config_map_is_kept() -> None:
    files = {"metadata": POD["metadata"], "data": {"big.py": "x" * 100_000}}
    found = item(CONFIG_MAPS, files)
    assert (found.ref.kind, found.owner_uid, found.cluster) == ("ConfigMap", "job-uid", "sums")
    assert (found.manifest, found.pod) == (None, None)


def test_a_page_has_objects_version_and_continue_token() -> None:
    data = {"metadata": {"resourceVersion": "99", "continue": "more"}, "items": [POD, POD]}
    page = ItemDecoder(PODS).page(json.dumps(data).encode())
    assert (len(page.items), page.version, page.proceed) == (2, 99, "more")
    empty = ItemDecoder(PODS).page(b'{"metadata":{"resourceVersion":"100"},"items":null}')
    assert (empty.items, empty.version, empty.proceed) == ([], 100, "")


def change(kind: str, thing: Manifest) -> Change:
    return ItemDecoder(PODS).change(json.dumps({"type": kind, "object": thing}).encode())


def test_lines_of_a_watch_are_changes_deletions_and_bookmarks() -> None:
    assert change("ADDED", POD) == Change(1234, item(PODS, POD))
    assert change("MODIFIED", POD) == Change(1234, item(PODS, POD))
    assert change("DELETED", POD) == Change(1234, gone=item(PODS, POD).ref)
    bookmark = {
        "kind": "Pod",
        "metadata": {"resourceVersion": "2000"},
        "spec": {"containers": None},
    }
    assert change("BOOKMARK", bookmark) == Change(2000)


def test_known_versions_are_not_decoded_again() -> None:
    line = json.dumps({"type": "MODIFIED", "object": POD}).encode()
    queried: list[tuple[str, int]] = []

    def known(uid: str, version: int) -> bool:
        queried.append((uid, version))
        return True

    assert ItemDecoder(PODS).change(line, known) == Change(1234)
    assert queried == [(POD["metadata"]["uid"], 1234)]


def test_an_error_within_a_watch_carries_its_code() -> None:
    with pytest.raises(WatchFailed, match="the watch ended with 410: too old") as caught:
        change("ERROR", {"kind": "Status", "code": 410, "message": "too old", "metadata": {}})
    assert caught.value.code == 410


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"<html>",
        b'{"type":"ADDED"}',
        b'{"type":"ADDED","object":{}}',
        b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}',
        b'{"type":"ADDED","object":{"metadata":7}}',
        b'{"type":"NOVEL","object":{"metadata":{"uid":"u"}}}',
        b'{"type":"ERROR","object":7}',
    ],
)
def test_a_malformed_line_of_a_watch_is_an_error_of_ours(line: bytes) -> None:
    with pytest.raises(ApiError):
        ItemDecoder(PODS).change(line)


@pytest.mark.parametrize(
    ("answer", "exists"),
    [
        ({"kind": "Status", "status": "Success", "details": {"uid": "u"}}, False),
        ({"kind": "Service", "metadata": {"name": "s", "uid": "u"}}, False),
        ({"metadata": {"deletionTimestamp": "t", "deletionGracePeriodSeconds": 30}}, True),
        ({"metadata": {"deletionTimestamp": "t", "deletionGracePeriodSeconds": 0}}, False),
        ({"metadata": {"deletionTimestamp": "t", "finalizers": ["a/b"]}}, True),
    ],
    ids=["Status", "Service", "pod in its grace period", "pod that no node runs", "finalizer"],
)
def test_the_answer_to_a_delete_shows_whether_the_object_still_exists(
    answer: Manifest, exists: bool
) -> None:
    assert is_terminating(json.dumps(answer).encode()) is exists


DEEP = b'{"a":' * 20_000 + b'"]}"' + b"}" * 20_000


def test_an_object_too_deep_for_python_is_read_and_still_too_deep_for_a_spec() -> None:
    meta = b'{"name":"sums","uid":"u","resourceVersion":"7","labels":{"a":"\\"}{["}}'
    data = b'{"spec":{"cancel":true,"deep":%b},"metadata":%b}' % (DEEP, meta)
    item = ItemDecoder(JOBS).item(data)
    assert (item.ref.name, item.ref.uid, item.version) == ("sums", "u", 7)
    assert item.manifest is not None
    assert item.manifest["spec"]["cancel"] is True
    assert item.manifest["metadata"]["labels"] == {"a": '"}{['}
    assert is_too_deep(item.manifest["spec"])
    assert not is_terminating(data)


def test_deep_objects_are_cut_to_the_same_depth_even_if_python_could_read_them() -> None:
    deep = b'{"a":' * 400 + b"1" + b"}" * 400
    item = ItemDecoder(JOBS).item(b'{"metadata":{"uid":"u"},"spec":%b}' % deep)
    assert item.manifest is not None
    assert is_too_deep(item.manifest["spec"])
    assert not is_too_deep(item.manifest, READ_LEVELS)


def test_one_such_object_does_not_break_a_list_or_a_watch_with_others_in_it() -> None:
    plain = b'{"metadata":{"name":"two","uid":"v","resourceVersion":"8"},"spec":{}}'
    deep = b'{"metadata":{"name":"one","uid":"u","resourceVersion":"7"},"spec":%b}' % DEEP
    page = ItemDecoder(JOBS).page(
        b'{"metadata":{"resourceVersion":"9"},"items":[%b,%b]}' % (deep, plain)
    )
    assert [item.ref.name for item in page.items] == ["one", "two"]
    change = ItemDecoder(JOBS).change(b'{"type":"ADDED","object":%b}' % deep)
    assert change.item is not None
    assert change.item.ref == page.items[0].ref
    # Other kinds are not decoded to that depth.
    assert ItemDecoder(PODS).item(deep).ref.name == "one"
