"""Decoded objects for clients: get, list, and a watch that misses nothing despite failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from daskjob.core.errors import Forbidden, NotFound
from daskjob.core.manifests import Manifest, ObjectRef, object_ref
from daskjob.kube.errors import NoSuchResource, Unanswered
from daskjob.kube.objects import (
    Change,
    ObjectList,
    Pace,
    get_object,
    list_objects,
    watching,
)
from daskjob.kube.resources import CONFIG_MAPS, PODS, Resource, Selection, selection_of
from tests.cluster import proxy as faults
from tests.cluster.proxy import Fault, answer, error_line
from tests.kubernetes.given import Cluster, Side, run, side_of
from tests.waiting import until

QUICK = Pace(idle=2.0, duration=60.0, shortest=0.02, longest=0.2, sound=5.0)

#: Transient failures of a watch; changes meanwhile must be yielded all the same.
FAILURES: dict[str, Fault] = {
    "410": answer(410, "too old resource version", "Expired"),
    "410 within": faults.watch_says(error_line(410)),
    "429": answer(429, "too many requests", "TooManyRequests"),
    "500 within": faults.watch_says(error_line(500, "internal error")),
    "503": answer(503),
    "reset": faults.reset(),
    "closed early": faults.watch_ends(),
    "cut in a line": faults.watch_sends(b'{"type":"ADDED","object":{"kind":"Con'),
    "no JSON": faults.watch_sends(b"<html>502 Bad Gateway</html>\n"),
    "silent": faults.watch_is_silent(),
}


def files(name: str, namespace: str, text: str = "", **labels: str) -> Manifest:
    """Return a ConfigMap, which never changes by itself."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "data": {"text": text},
    }


@dataclass
class Seen:
    """The changes yielded by a watch."""

    changes: list[Change] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """Return each change of a ConfigMap as its name and text, with ``-`` for a deletion."""
        return [_text(change) for change in self.changes]

    @property
    def uids(self) -> list[str]:
        return [change.ref.uid for change in self.changes]


def _text(change: Change) -> str:
    if change.gone:
        return f"-{change.ref.name}"
    assert change.manifest is not None
    return f"{change.ref.name}={change.manifest['data']['text']}"


@asynccontextmanager
async def watched(found: Side, selection: Selection, **options: Any) -> AsyncIterator[Seen]:
    """Run a watch during the block."""
    seen = Seen()

    async def watch() -> None:
        try:
            options.setdefault("pace", QUICK)
            async with watching(found.api, selection, **options) as changes:
                async for change in changes:
                    seen.changes.append(change)
        except Exception as error:
            seen.failed.append(error)

    task = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def write(found: Side, name: str, namespace: str, text: str) -> None:
    """Change a ConfigMap, bypassing the proxy."""
    await found.others.api.patch(ObjectRef("ConfigMap", namespace, name), {"data": {"text": text}})


async def make(found: Side, name: str, namespace: str, text: str = "", **labels: str) -> str:
    """Create a ConfigMap, bypassing the proxy, and return its uid."""
    await found.others.api.create(files(name, namespace, text, **labels))
    made = await get_object(found.others.api, ObjectRef("ConfigMap", namespace, name))
    return object_ref(made).uid


async def remove(found: Side, name: str, namespace: str) -> None:
    """Delete a ConfigMap, bypassing the proxy."""
    await found.others.api.delete(ObjectRef("ConfigMap", namespace, name))


async def opened(found: Side) -> None:
    """Wait until a watch is open."""
    await until(lambda: found.proxy.watching)


def selected(namespace: str, name: str = "one") -> Selection:
    return selection_of(ObjectRef("ConfigMap", namespace, name))


# Get and list


async def test_an_object_is_read_completely_and_by_its_uid(
    kubernetes: Cluster, namespace: str
) -> None:
    async with side_of(kubernetes) as found:
        uid = await make(found, "one", namespace, "x" * 5000)
        ref = ObjectRef("ConfigMap", namespace, "one", uid)
        read = await get_object(found.api, ref)
        assert (read["kind"], read["apiVersion"]) == ("ConfigMap", "v1")
        assert read["data"]["text"] == "x" * 5000
        await remove(found, "one", namespace)
        await make(found, "one", namespace)
        with pytest.raises(NotFound, match="another object"):
            await get_object(found.api, ref)
        await remove(found, "one", namespace)
        with pytest.raises(NotFound):
            await get_object(found.api, ref)


async def test_a_list_has_all_pages_and_only_selected_objects(
    kubernetes: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskjob.kube.objects.PAGE_LIMIT", 2)

    async with side_of(kubernetes) as found:
        for number in range(5):
            await make(found, f"f{number}", namespace, str(number), mine="yes")
        await make(found, "other", namespace)
        listed = await list_objects(found.api, Selection(CONFIG_MAPS, namespace, labels="mine"))
        assert [item["data"]["text"] for item in listed.items] == list("01234")
        assert {item["kind"] for item in listed.items} == {"ConfigMap"}
        assert len(found.proxy.requests("list")) == 3
        named = Selection(CONFIG_MAPS, namespace, fields="metadata.name=f3")
        (item,) = (await list_objects(found.api, named)).items
        assert item["metadata"]["name"] == "f3"


async def test_a_list_that_expired_between_two_pages_is_restarted(
    kubernetes: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskjob.kube.objects.PAGE_LIMIT", 1)

    async with side_of(kubernetes) as found:
        await make(found, "one", namespace, mine="yes")
        await make(found, "two", namespace, mine="yes")
        found.proxy.on(FAILURES["410"], verb="list", when=lambda r: "continue" in r.query)
        listed = await list_objects(found.api, Selection(CONFIG_MAPS, namespace, labels="mine"))
        assert [item["metadata"]["name"] for item in listed.items] == ["one", "two"]


# Watch


async def test_a_watch_of_one_object_shows_it_and_its_changes_and_no_other(
    kubernetes: Cluster, namespace: str
) -> None:
    async with side_of(kubernetes) as found:
        uid = await make(found, "one", namespace, "a")
        await make(found, "two", namespace, "other")
        async with watched(found, selected(namespace)) as seen:
            await until(lambda: seen.texts == ["one=a"])
            await opened(found)
            await write(found, "one", namespace, "b")
            await write(found, "two", namespace, "other still")
            await write(found, "one", namespace, "c")
            await until(lambda: seen.texts == ["one=a", "one=b", "one=c"])
            await remove(found, "one", namespace)
            await until(lambda: len(seen.changes) == 4)
        assert set(seen.uids) == {uid}
        last = seen.changes[-1]
        assert last.gone
        assert last.manifest is not None
        assert last.manifest["data"]["text"] == "c"
        assert [len(found.proxy.requests(verb)) for verb in ("list", "watch")] == [1, 1]
        assert found.proxy.requests("watch")[0].query["fieldSelector"] == "metadata.name=one"


async def test_a_missing_object_shows_when_it_is_created(
    kubernetes: Cluster, namespace: str
) -> None:
    async with side_of(kubernetes) as found, watched(found, selected(namespace)) as seen:
        await opened(found)
        assert seen.changes == []
        await make(found, "one", namespace, "a")
        await until(lambda: seen.texts == ["one=a"])


@pytest.mark.parametrize("failure", FAILURES)
async def test_no_change_is_missed_while_a_watch_fails_three_times(
    failure: str, kubernetes: Cluster, namespace: str
) -> None:
    async with side_of(kubernetes, try_seconds=2.0) as found:
        await make(found, "one", namespace, "a")
        async with watched(found, selected(namespace)) as seen:
            await opened(found)
            rule = found.proxy.on(FAILURES[failure], verb="watch", times=None)
            found.proxy.cut_watches()
            await until(lambda: rule.hits)
            await write(found, "one", namespace, "b")
            await until(lambda: rule.hits >= 3)
            rule.end()
            await until(lambda: seen.texts == ["one=a", "one=b"])
            await opened(found)
            await write(found, "one", namespace, "c")
            await until(lambda: seen.texts == ["one=a", "one=b", "one=c"])
        assert seen.failed == []
        # A list after every failure. (A connection that breaks is tried twice by aiohttp.)
        verbs = " ".join(request.verb for request in found.proxy.seen)
        assert "watch watch" not in verbs or failure == "reset"


@pytest.mark.parametrize("between", ["one watch", "two watches"])
async def test_deletion_and_recreation_under_one_name_are_two_objects(
    between: str, kubernetes: Cluster, namespace: str
) -> None:
    async with side_of(kubernetes) as found:
        first = await make(found, "one", namespace, "a")
        async with watched(found, selected(namespace)) as seen:
            await opened(found)
            if between == "two watches":
                rule = found.proxy.on(answer(503), verb="watch", times=None)
                blind = found.proxy.on(answer(503), verb="list", times=None)
                found.proxy.cut_watches()
                await until(lambda: rule.hits + blind.hits)
            await remove(found, "one", namespace)
            second = await make(found, "one", namespace, "a")
            if between == "two watches":
                rule.end()
                blind.end()
            await until(lambda: seen.texts == ["one=a", "-one", "one=a"])
        assert first != second
        assert seen.uids == [first, first, second]


async def test_a_watch_ended_by_the_server_on_time_is_resumed_without_a_list(
    kubernetes: Cluster, namespace: str
) -> None:
    pace = Pace(idle=5.0, duration=1.0, shortest=0.02, longest=0.2, sound=5.0)

    async with side_of(kubernetes) as found:
        await make(found, "one", namespace, "a")
        async with watched(found, selected(namespace), pace=pace) as seen:
            await until(lambda: len(found.proxy.requests("watch")) == 3)
            await write(found, "one", namespace, "b")
            await until(lambda: seen.texts == ["one=a", "one=b"])
            await until(lambda: len(found.proxy.requests("watch")) >= 5)
        assert len(found.proxy.requests("list")) == 1
        versions = [int(r.query["resourceVersion"]) for r in found.proxy.requests("watch")]
        assert versions == sorted(versions)
        assert versions[-1] > versions[0]


async def test_a_watch_resumes_from_the_version_of_the_last_bookmark(
    kubernetes: Cluster, namespace: str
) -> None:
    pace = Pace(idle=5.0, duration=1.0, shortest=0.02, longest=0.2, sound=5.0)

    async with side_of(kubernetes) as found:
        await make(found, "one", namespace, "a")
        async with watched(found, selected(namespace), pace=pace) as seen:
            await opened(found)
            # Writes to other objects raise the server's version without an event here.
            await make(found, "two", namespace)
            now = await list_objects(found.others.api, selected(namespace))
            bookmark = {"metadata": {"resourceVersion": str(now.version)}}
            for passage in found.proxy.watching:
                await passage.say({"type": "BOOKMARK", "object": bookmark})
            watches = len(found.proxy.requests("watch"))
            await until(lambda: len(found.proxy.requests("watch")) > watches)
            again = found.proxy.requests("watch")[watches]
            assert int(again.query["resourceVersion"]) >= now.version
            assert seen.texts == ["one=a"]


async def test_a_watch_since_a_list_shows_only_later_changes(
    kubernetes: Cluster, namespace: str
) -> None:
    async with side_of(kubernetes) as found:
        await make(found, "one", namespace, "a")
        await make(found, "two", namespace, "b")
        everything = Selection(CONFIG_MAPS, namespace, fields="metadata.name!=kube-root-ca.crt")
        listed = await list_objects(found.api, everything)
        await write(found, "one", namespace, "c")
        await remove(found, "two", namespace)
        async with watched(found, everything, since=listed) as seen:
            await until(lambda: seen.texts == ["one=c", "-two"])
        assert len(found.proxy.requests("list")) == 1


async def test_a_watch_since_a_too_old_version_lists_and_shows_the_difference(
    kubernetes: Cluster, namespace: str
) -> None:
    async with side_of(kubernetes) as found:
        await make(found, "one", namespace, "a")
        listed = await list_objects(found.api, selected(namespace))
        await write(found, "one", namespace, "b")
        found.proxy.on(FAILURES["410 within"], verb="watch")
        async with watched(found, selected(namespace), since=listed) as seen:
            await until(lambda: seen.texts == ["one=b"])
        assert len(found.proxy.requests("list")) == 2


FINAL: dict[str, tuple[Fault, type[Exception]]] = {
    "403": (
        answer(403, 'configmaps is forbidden: User "x" cannot list resource', "Forbidden"),
        Forbidden,
    ),
    "404": (answer(404, "the server could not find the requested resource"), NoSuchResource),
}


@pytest.mark.parametrize("code", FINAL)
async def test_permanent_failures_are_raised(
    code: str, kubernetes: Cluster, namespace: str
) -> None:
    fault, error = FINAL[code]

    async with side_of(kubernetes) as found:
        found.proxy.on(fault, verb="list", times=None)
        async with watched(found, selected(namespace)) as seen:
            await until(lambda: seen.failed)
        assert [type(failed) for failed in seen.failed] == [error]


async def test_an_unreachable_server_is_an_error_at_first_and_retried_later(
    kubernetes: Cluster, namespace: str
) -> None:
    async with side_of(kubernetes, budget_seconds=0.5) as found:
        await make(found, "one", namespace, "a")
        rule = found.proxy.on(answer(503), times=None)
        async with watched(found, selected(namespace)) as seen:
            await until(lambda: seen.failed)
        assert isinstance(seen.failed[0], Unanswered)
        rule.end()
        async with watched(found, selected(namespace)) as seen:
            await opened(found)
            async with found.proxy.away():
                await write(found, "one", namespace, "b")
            await until(lambda: seen.texts == ["one=a", "one=b"])
        assert seen.failed == []


async def test_the_connection_of_a_watch_ends_with_its_context(
    kubernetes: Cluster, namespace: str
) -> None:
    async with side_of(kubernetes) as found:
        await make(found, "one", namespace, "a")
        async with watching(found.api, selected(namespace)) as changes:
            await anext(changes)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await anext(changes)
        # The proxy notices once it has something to forward.
        await write(found, "one", namespace, "b")
        await until(lambda: not found.proxy.watching)


def test_backoff_grows_to_a_bound_and_has_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    from daskjob.kube import objects

    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    class Down:
        """A server that fails every request."""

        def __getattr__(self, name: str) -> Callable[..., Any]:
            def fail(*_: object, **__: object) -> Any:
                if len(waits) == 40:
                    raise asyncio.CancelledError
                raise Unanswered(name)

            return fail

    async def story() -> None:
        watch = objects.ObjectWatch(Down(), selected("here"), since=ObjectList((), 7))  # type: ignore[arg-type]
        with pytest.raises(asyncio.CancelledError):
            async for _ in watch.changes():
                pass

    monkeypatch.setattr("daskjob.kube.objects.asyncio.sleep", sleep)
    run(story())
    assert len(set(waits)) == len(waits)
    assert waits[0] <= objects.PACE.shortest
    assert max(waits) <= objects.PACE.longest
    assert min(waits[10:]) >= objects.PACE.longest / 2


async def test_an_unserved_kind_is_distinguished_from_an_empty_list(
    kubernetes: Cluster, namespace: str
) -> None:
    async with side_of(kubernetes) as found:
        nothing = Resource("Nothing", "none.kubernetes.dask.org/v1", "nothings")
        with pytest.raises(NoSuchResource):
            await list_objects(found.api, Selection(nothing, namespace))
        empty = await list_objects(found.api, Selection(PODS, namespace))
        assert empty.items == ()
        assert empty.version > 0
