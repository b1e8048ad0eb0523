"""An informer keeps the cache equal to a real server, for any order of events."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.backends.kubernetes.watching.informer import PACE, Informer, informers
from daskjob.backends.kubernetes.watching.items import Item, ItemDecoder
from daskjob.backends.kubernetes.watching.kinds import JOBS, PODS, WATCHED, Watched
from daskjob.core import names
from daskjob.core.errors import CreateRejected, Forbidden, RejectionKind
from daskjob.core.manifests import ObjectRef
from daskjob.kube.api import Api
from daskjob.kube.credentials import find_credentials
from daskjob.kube.errors import NoSuchResource
from daskjob.kube.kubeconfig import Kubeconfig
from daskjob.kube.resources import Resource
from tests.cluster import proxy as faults
from tests.cluster.proxy import Fault, Passage, answer
from tests.core.manifests import job
from tests.kubernetes.given import (
    KEY,
    QUICK,
    Cluster,
    Kubectl,
    Side,
    informed,
    pod,
    run,
    seen,
)
from tests.waiting import until

# Listing and watching


async def test_existing_objects_are_listed_in_pages_and_later_ones_are_watched(
    side: Side, namespace: str
) -> None:
    for number in range(7):
        await side.api.create(pod(f"p{number}", namespace))
    async with informed(side, namespace, page_limit=3) as informer:
        assert side.held == await side.others.see(namespace)
        assert [r.query.get("limit") for r in side.proxy.requests("list")] == ["3"] * 3
        await side.others.delete("p3", namespace=namespace)
        await side.others.label("p4", namespace, a="b")
        await side.api.create(pod("p7", namespace))
        await until(lambda: "p7" in side.names and "p3" not in side.names)
        assert side.held == await side.others.see(namespace)
        assert (informer.lists, informer.watches) == (1, 1)


async def test_only_objects_with_our_label_are_requested(side: Side, namespace: str) -> None:
    await side.api.create(pod("foreign", namespace, cluster=""))
    async with informed(side, namespace):
        await side.api.create(pod("ours", namespace))
        await until(lambda: side.names)
        assert side.names == {"ours"}
        for request in side.proxy.requests("list") + side.proxy.requests("watch"):
            assert request.query["labelSelector"] == "dask.org/cluster-name"


async def test_all_namespaces_are_watched_in_one_watch(side: Side, namespace: str) -> None:
    await side.api.create(pod("listed", namespace))
    informer = Informer(side.api, side.cache, PODS, pace=QUICK)
    task = asyncio.create_task(informer.run())
    await until(lambda: informer.synced.is_set() and side.proxy.watching)
    await side.api.create(pod("watched", namespace))

    def here() -> set[str]:
        return {item.ref.name for item in side.cache.all("Pod", namespace)}

    await until(lambda: here() == {"listed", "watched"})
    assert side.proxy.requests("watch")[0].namespace == ""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_our_kinds_are_watched_completely(
    side: Side, namespace: str, kubectl: Kubectl, with_crds: object
) -> None:
    del with_crds

    async with informed(side, namespace, JOBS):
        manifest = job("sums")
        await asyncio.to_thread(kubectl, "apply", "-f", "-", stdin=_here(manifest, namespace))
        await until(lambda: side.cache.get("DaskJob", namespace, "sums"))
        kept = side.cache.objects(namespace).named("DaskJob", "sums")
        assert kept is not None
        assert kept["spec"]["job"] == manifest["spec"]["job"]
        assert "managedFields" not in kept["metadata"]
        # The annotation of kubectl apply is as large as the object.
        assert not kept["metadata"].get("annotations")


def _here(manifest: dict[str, object], namespace: str) -> str:
    return json.dumps({**manifest, "metadata": {"name": "sums", "namespace": namespace}})


async def test_removing_the_label_looks_like_a_deletion_and_restoring_it_like_a_creation(
    side: Side, namespace: str
) -> None:
    await side.api.create(pod("one", namespace))
    async with informed(side, namespace):
        await until(lambda: side.proxy.watching)
        await side.others.label_ours("one", namespace, None)
        await until(lambda: not side.names)
        await side.others.label_ours("one", namespace, "x")
        await until(lambda: side.names)
        assert side.held == await side.others.see(namespace)


async def test_each_kind_and_namespace_has_an_informer() -> None:
    kinds = [watched.kind for watched in WATCHED]

    nothing: object = None
    made = informers(nothing, nothing)  # type: ignore[arg-type]
    assert [informer.watched.kind for informer in made] == kinds
    assert {informer.namespace for informer in made} == {None}
    two = informers(nothing, nothing, ["a", "b"])  # type: ignore[arg-type]
    assert len(two) == 2 * len(kinds)
    assert [str(informer) for informer in two[:2]] == [
        "daskjobs of namespace a",
        "daskjobs of namespace b",
    ]


# Our own writes


async def test_our_writes_show_at_once_and_the_watch_adds_nothing(
    side: Side, namespace: str
) -> None:
    async with informed(side, namespace):
        await until(lambda: side.proxy.watching)
        item = await side.writes.create(KEY, pod("one", namespace))
        assert side.held == [f"one={item.version}"]
        changed = await side.writes.patch(item.ref, {"metadata": {"labels": {"a": "b"}}})
        assert side.held == [f"one={changed.version}"]
        await side.writes.delete(item.ref)
        assert side.held == []
        # Another client's write follows ours in the watch.
        await side.api.create(pod("two", namespace))
        await until(lambda: side.names == {"two"})
        versions = [new.version if new else None for _, new in side.changes]
        # A deletion marks the pod before it is removed; the watch may report that first.
        assert versions[:2] == [item.version, changed.version]
        assert versions[-2] is None
        assert len(set(versions)) == len(versions) <= 5


def test_versions_known_from_answers_are_not_decoded_again_from_the_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = (seen(pod(name, "default"), 7) for name in ("one", "two"))
    lines = [
        b'{"type":"ADDED","object":{"metadata":{"uid":"%b","resourceVersion":"7"}}}'
        % item.ref.uid.encode()
        for item in (one, two)
    ]

    class Replaying(Api):
        """An API whose watch replays these lines."""

        @asynccontextmanager
        async def watch(self, *_: Any, **__: Any) -> AsyncIterator[AsyncIterator[bytes]]:
            async def recorded() -> AsyncIterator[bytes]:
                for line in lines:
                    yield line

            yield recorded()

    read: list[str] = []

    def item(_: ItemDecoder, data: bytes) -> Item:
        read.append(bytes(data).decode())
        return two

    cache = Cache()
    cache.put(one)
    monkeypatch.setattr(ItemDecoder, "item", item)
    asyncio.run(Informer(Replaying(find_credentials()), cache, PODS)._watch(1))
    assert len(read) == 1
    assert two.ref.uid in read[0]
    assert {item.ref.name for item in cache.all("Pod")} == {"one", "two"}


async def test_a_list_from_before_our_write_does_not_undo_it(side: Side, namespace: str) -> None:

    async def write() -> None:
        await side.writes.create(KEY, pod("ours", namespace))

    side.proxy.on(faults.delayed(write), verb="list")
    async with informed(side, namespace) as informer:
        assert side.names == {"ours"}
        await until(lambda: side.proxy.watching)
        await side.api.create(pod("more", namespace))
        await until(lambda: side.names == {"ours", "more"})
        assert informer.lists == 1


async def test_a_list_from_before_our_deletion_does_not_bring_the_object_back(
    side: Side, namespace: str
) -> None:
    item = await side.writes.create(KEY, pod("ours", namespace))

    async def delete() -> None:
        await side.writes.delete(item.ref)

    side.proxy.on(faults.delayed(delete), verb="list")
    async with informed(side, namespace):
        assert side.names == set()
        await until(lambda: side.proxy.watching)
        await side.api.create(pod("more", namespace))
        await until(lambda: side.names == {"more"})


async def test_a_patch_answered_after_the_deletion_does_not_bring_the_object_back(
    side: Side, namespace: str
) -> None:
    async with informed(side, namespace):
        await until(lambda: side.proxy.watching)
        item = await side.writes.create(KEY, pod("ours", namespace))

        async def deleted() -> None:
            await side.others.delete("ours", namespace=namespace)
            await until(lambda: not side.names)

        side.proxy.on(faults.delayed(deleted), verb="patch")
        await side.writes.patch(item.ref, {"metadata": {"labels": {"a": "b"}}})
        assert side.names == set()
        assert not side.writes.unsettled.unsettled(KEY)


async def test_an_object_without_our_label_is_not_kept_since_no_watch_would_report_its_end(
    side: Side, namespace: str
) -> None:
    item = await side.writes.create(KEY, pod("bare", namespace, cluster=""))
    assert await side.writes.look(item.ref) == item
    await side.writes.patch(item.ref, {"metadata": {"labels": {"a": "b"}}})
    assert side.names == set()


OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": True}


def webhook(taken: str) -> Fault:
    """A webhook that removes a field of the metadata of every written object."""

    async def fault(passage: Passage) -> web.StreamResponse:
        manifest = json.loads(passage.request.body)
        del manifest["metadata"][taken]
        passage.request.body = json.dumps(manifest).encode()
        return await passage.forward()

    return fault


@pytest.mark.parametrize("taken", ["labels", "ownerReferences"])
async def test_an_object_altered_at_its_creation_is_deleted_and_rejected(
    side: Side, taken: str, namespace: str
) -> None:
    async with informed(side, namespace):
        side.proxy.on(webhook(taken), verb="create", times=None)
        manifest = pod("one", namespace, ownerReferences=[OWNER])
        with pytest.raises(CreateRejected, match="mutating webhook") as rejection:
            await side.writes.create(KEY, manifest)
        assert rejection.value.kind is RejectionKind.REJECTED
        assert not side.writes.unsettled.unsettled(KEY)
        assert await side.writes.look(ObjectRef("Pod", namespace, "one")) is None
        assert side.names == set()


@pytest.mark.parametrize("kind", ["Service", "ConfigMap"])
@pytest.mark.parametrize(
    ("taken", "message"),
    [("labels", "policy$"), ("ownerReferences", "then kubectl delete .* one$")],
)
async def test_an_altered_dependent_is_rejected_too_but_not_deleted_without_permission(
    side: Side, taken: str, message: str, kind: str, namespace: str
) -> None:
    side.proxy.on(webhook(taken), verb="create", times=None)
    manifest = {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": pod("one", namespace, ownerReferences=[OWNER])["metadata"],
        **({"spec": {"ports": [{"port": 8786}]}} if kind == "Service" else {}),
    }
    with pytest.raises(CreateRejected, match=message) as rejection:
        await side.writes.create(KEY, manifest)
    assert rejection.value.kind is RejectionKind.REJECTED
    assert not side.writes.unsettled.unsettled(KEY)
    assert [request.verb for request in side.proxy.seen] == ["create"]


async def test_a_label_that_is_removed_again_at_once_is_a_rejection(
    side: Side, namespace: str
) -> None:
    item = await side.writes.create(KEY, pod("bare", namespace, cluster=""))
    rule = side.proxy.on(webhook("labels"), verb="patch", times=None)
    with pytest.raises(CreateRejected, match="mutating webhook"):
        await side.writes.label(item.ref, names.LABEL_CLUSTER_NAME, "sums")
    assert side.names == set()
    rule.end()
    await side.writes.label(item.ref, names.LABEL_CLUSTER_NAME, "sums")
    assert side.names == {"bare"}


# Recovery


async def test_a_half_open_watch_is_detected_and_its_lost_events_recovered(
    side: Side, namespace: str
) -> None:
    await side.api.create(pod("goes", namespace))
    async with informed(side, namespace) as informer:
        await until(lambda: side.proxy.watching)
        side.proxy.silence_watches()
        await side.others.delete("goes", namespace=namespace)
        await side.api.create(pod("comes", namespace))
        await until(lambda: side.names == {"comes"})
        assert (informer.lists, informer.watches) == (1, 2)


@pytest.mark.parametrize("how", ["an error", "a 410", "silence"])
async def test_a_broken_watch_is_counted_once(side: Side, how: str, namespace: str) -> None:
    broken: list[str] = []
    options: dict[str, Any] = {"on_watch_broken": broken.append}
    async with informed(side, namespace, **options) as informer:
        await until(lambda: side.proxy.watching)
        match how:
            case "an error":
                side.proxy.cut_watches()
            case "a 410":
                await side.proxy.say_in_watches(faults.error_line(410))
            case "silence":
                side.proxy.silence_watches()
        await until(lambda: informer.watches == 2 and side.proxy.watching)
        assert broken == ["Pod"]


async def test_a_watch_ended_by_the_server_on_time_is_renewed_and_not_counted_as_broken(
    side: Side, namespace: str
) -> None:
    broken: list[str] = []
    # The server ends each after one second; a watch without events is no failure.
    pace = replace(QUICK, idle=20.0, duration=1.0, sound=0.1)
    options: dict[str, Any] = {"pace": pace, "on_watch_broken": broken.append}
    async with informed(side, namespace, **options) as informer:
        await until(lambda: informer.watches >= 3)
        assert (broken, informer.trouble, informer.lists) == ([], None, 1)


async def test_unreported_changes_show_after_a_410(side: Side, namespace: str) -> None:
    for name in ("goes", "is recreated", "stays"):
        await side.api.create(pod(name.replace(" ", "-"), namespace))
    async with informed(side, namespace) as informer:
        await until(lambda: side.proxy.watching)
        before = side.cache.get("Pod", namespace, "is-recreated")
        side.proxy.silence_watches()
        await side.others.delete("goes", "is-recreated", namespace=namespace)
        await side.api.create(pod("is-recreated", namespace))
        await side.proxy.say_in_watches(faults.error_line(410))
        await until(lambda: side.names == {"is-recreated", "stays"})
        await until(lambda: informer.lists == 2)
        assert side.held == await side.others.see(namespace)
        after = side.cache.get("Pod", namespace, "is-recreated")
        assert before
        assert after
        assert before.ref.uid != after.ref.uid
        ends = [(old and old.ref.name, new and new.ref.name) for old, new in side.changes[3:]]
        assert sorted(ends, key=str) == [
            ("goes", None),
            ("is-recreated", None),
            (None, "is-recreated"),
        ]


async def test_a_list_with_an_expired_page_restarts_from_the_first(
    side: Side, namespace: str
) -> None:
    for number in range(5):
        await side.api.create(pod(f"p{number}", namespace))
    expired = answer(410, "the provided continue parameter is too old", "Expired")
    side.proxy.on(expired, when=lambda request: "continue" in request.query)
    async with informed(side, namespace, page_limit=2) as informer:
        assert side.held == await side.others.see(namespace)
        assert informer.lists == 2
        continued = ["continue" in r.query for r in side.proxy.requests("list")]
        assert continued == [False, True, False, True, True]


async def test_an_informer_is_in_sync_only_after_a_complete_list(
    side: Side, namespace: str
) -> None:
    for number in range(3):
        await side.api.create(pod(f"p{number}", namespace))
    expired = answer(410, "too old", "Expired")
    rule = side.proxy.on(expired, when=lambda request: "continue" in request.query, times=None)
    informer = Informer(side.api, side.cache, PODS, namespace=namespace, pace=QUICK, page_limit=2)
    task = asyncio.create_task(informer.run())
    await until(lambda: rule.hits >= 2)
    assert not informer.synced.is_set()
    rule.end()
    await until(informer.synced.is_set)
    assert len(side.cache) == 3
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_watch_continues_from_the_bookmark(side: Side, namespace: str) -> None:
    item = ItemDecoder(PODS).item(await side.api.create(pod("one", namespace)))
    bookmark = {"metadata": {"resourceVersion": str(item.version + 1000)}}
    line = {"type": "BOOKMARK", "object": {"kind": "Pod", **bookmark}}
    side.proxy.on(faults.watch_says(line), verb="watch")
    async with informed(side, namespace) as informer:
        await until(lambda: len(side.proxy.requests("watch")) == 2)
        versions = [r.query["resourceVersion"] for r in side.proxy.requests("watch")]
        assert int(versions[0]) >= item.version
        assert versions[1] == str(item.version + 1000)
        assert informer.lists == 1
        assert {r.query["allowWatchBookmarks"] for r in side.proxy.requests("watch")} == {"true"}


async def test_after_an_outage_the_watch_continues_without_a_list(
    side: Side, namespace: str
) -> None:
    await side.api.create(pod("one", namespace))
    async with informed(side, namespace) as informer:
        await until(lambda: side.proxy.watching)
        async with side.proxy.away():
            await until(lambda: informer.watches >= 5)
            assert informer.trouble is not None
            assert informer.continuity.since() is None
            await side.others.delete("one", namespace=namespace)
        await until(lambda: not side.names)
        assert informer.continuity.since() is not None
        assert informer.lists == 1
        assert informer.trouble is None


async def test_a_removed_kind_is_watched_again_when_it_returns(
    side: Side, namespace: str, kubectl: Kubectl
) -> None:
    group = f"{namespace}.tests.daskjob.dev"
    things = Watched(Resource("Thing", f"{group}/v1", "things"))
    definition = json.dumps(_definition(group))

    def install() -> None:
        kubectl("apply", "-f", "-", stdin=definition)
        kubectl("wait", "--for=condition=Established", f"crd/things.{group}")

    def make(name: str) -> None:
        thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": name}}
        kubectl("create", "-f", "-", stdin=json.dumps(thing))

    install()
    try:
        async with informed(side, namespace, things) as informer:
            await asyncio.to_thread(make, "first")
            await until(lambda: side.cache.get("Thing", namespace, "first"))
            await asyncio.to_thread(kubectl, "delete", "crd", f"things.{group}")
            await until(lambda: isinstance(informer.trouble, NoSuchResource))
            await asyncio.to_thread(install)
            await asyncio.to_thread(make, "second")
            await until(lambda: side.cache.get("Thing", namespace, "second"))
            assert [item.ref.name for item in side.cache.all("Thing")] == ["second"]
            times = [request.at for request in side.proxy.requests("list")]
            assert len(times) <= (times[-1] - times[0]) / QUICK.shortest + 1
    finally:
        kubectl("delete", "crd", f"things.{group}", "--ignore-not-found", "--wait=false")


def _definition(group: str) -> dict[str, object]:
    schema = {"openAPIV3Schema": {"type": "object"}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things", "singular": "thing"},
            "versions": [version],
        },
    }


def test_informers_that_end_with_their_loop_leave_no_connection_open(
    kubernetes: Cluster, namespace: str
) -> None:
    opened: list[str] = []

    def on_request(verb: str, kind: str, code: int, seconds: float) -> None:
        del kind, code, seconds
        opened.append(verb)

    async def live() -> None:
        async with Api(Kubeconfig(str(kubernetes.kubeconfig)), on_request=on_request) as api:
            made = informers(api, Cache(), [namespace])
            await asyncio.gather(*(i.run() for i in made if i.watched.selector))

    async def story() -> asyncio.Task[None]:
        task = asyncio.create_task(live())
        await until(lambda: opened.count("watch") == 3)
        return task

    assert run(story()).cancelled()
    # An open socket warns when it is garbage collected, which fails the test.
    gc.collect()


# Pace and health


async def test_requests_become_rarer_the_longer_a_server_fails(side: Side, namespace: str) -> None:
    side.proxy.on(answer(500, "no"), times=None)
    informer = Informer(side.api, side.cache, PODS, namespace=namespace, pace=QUICK)
    task = asyncio.create_task(informer.run())
    await until(lambda: len(side.proxy.seen) == 6)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    times = [request.at for request in side.proxy.seen]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    for gap, least in zip(gaps, (0.05, 0.1, 0.2, 0.4, 0.4), strict=True):
        assert least <= gap < 2 * least + 0.3


def test_a_real_informer_asks_at_most_once_a_second_and_recovers_within_fifteen() -> None:
    assert PACE.shortest == 1
    assert PACE.longest * 1.25 <= 15
    assert PACE.idle == 70


async def test_a_watch_ended_at_once_does_not_cause_a_hot_loop(side: Side, namespace: str) -> None:
    side.proxy.on(faults.watch_ends(), verb="watch", times=None)
    async with informed(side, namespace) as informer:
        await until(lambda: informer.lists == 3)
        times = [request.at for request in side.proxy.requests("watch")]
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert min(gaps) >= QUICK.shortest
        # After two watches in a row without an event, there is a list.
        assert len(times) <= 6


async def test_an_informer_continues_when_a_lost_permission_returns(
    side: Side, namespace: str
) -> None:
    await side.api.create(pod("one", namespace))
    async with informed(side, namespace) as informer:
        await until(lambda: side.proxy.watching)
        message = 'pods is forbidden: User "x" cannot watch resource "pods"'
        rule = side.proxy.on(answer(403, message, "Forbidden"), times=None)
        side.proxy.cut_watches()
        await until(lambda: rule.hits >= 3)
        assert isinstance(informer.trouble, Forbidden)
        await side.others.delete("one", namespace=namespace)
        rule.end()
        await until(lambda: not side.names)


async def test_the_time_of_the_last_message_from_the_server_is_known(
    side: Side, namespace: str
) -> None:
    now = 100.0
    side.proxy.on(answer(500), verb="list", times=1)
    clock = Clock(now)
    informer = Informer(
        side.api,
        side.cache,
        PODS,
        namespace=namespace,
        pace=replace(QUICK, shortest=0.0),
        clock=clock,
    )
    assert informer.last_heard == 100.0
    task = asyncio.create_task(informer.run())
    clock.now = 200.0
    await until(informer.synced.is_set)
    assert informer.last_heard == 200.0
    await until(lambda: side.proxy.watching)
    clock.now = 300.0
    await side.api.create(pod("one", namespace))
    await until(lambda: side.names)
    assert informer.last_heard == 300.0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("code", "message", "is_an_answer"),
    [
        (403, 'pods is forbidden: User "x" cannot list resource "pods"', True),
        (404, "the server could not find the requested resource", True),
        (429, "too many requests", True),
        (503, "the server is currently unable to handle the request", False),
    ],
)
async def test_answer_that_denies_a_list_shows_that_the_server_is_there(
    code: int, message: str, is_an_answer: bool, side: Side, namespace: str
) -> None:
    rule = side.proxy.on(answer(code, message), verb="list", times=None)
    clock = Clock(100.0)
    pace = replace(QUICK, shortest=0.0)
    informer = Informer(side.api, side.cache, PODS, namespace=namespace, pace=pace, clock=clock)
    clock.now = 200.0
    task = asyncio.create_task(informer.run())
    await until(lambda: rule.hits and informer.trouble)
    assert informer.last_heard == 100.0
    assert (informer.last_answered == 200.0) is is_an_answer
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("size", [70_000, 900_000])
async def test_a_line_longer_than_any_buffer_is_read_completely(
    side: Side, size: int, namespace: str, with_crds: object
) -> None:
    del with_crds

    async with informed(side, namespace, JOBS) as informer:
        await until(lambda: side.proxy.watching)
        manifest = job("sums")
        manifest["metadata"]["namespace"] = namespace
        manifest["spec"]["job"]["files"] = {"big.py": "x" * size}
        await side.api.create(manifest)
        await until(lambda: side.cache.get("DaskJob", namespace, "sums"))
        assert (informer.lists, informer.watches) == (1, 1)
