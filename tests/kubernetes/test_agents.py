"""Requests to schedulers: no answer of a tenant's pod costs much time or memory."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from daskjob.backends.agent_answers import LIMIT_BYTES, NoAnswer
from daskjob.backends.kubernetes.asking.agents import POSTS_EACH, Agents, Endpoint
from daskjob.core.dask import DaskState
from daskjob.core.manifests import Key, Manifest
from tests.waiting import until

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
WHO = Key("DaskJob", "default", "sums")
OTHER = Key("DaskCluster", "default", "sums")


@asynccontextmanager
async def scheduler(handler: Handler) -> AsyncIterator[Endpoint]:
    """A server in place of an agent."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    platform = web.TCPSite(runner, "127.0.0.1", 0)
    await platform.start()
    port = runner.addresses[0][1]
    try:
        yield Endpoint(f"http://127.0.0.1:{port}/prefix", "the-token", "uid/container")
    finally:
        await runner.cleanup()


def state(total: int) -> web.Response:
    return web.json_response({"tasks": {"total": total}})


def asked(handler: Handler) -> str:
    """Ask once; return the error's message, or the answer."""

    async def story() -> str:
        async with scheduler(handler) as endpoint, Agents(lambda _uid: None) as agents:
            try:
                return json.dumps(await agents.ask(endpoint, "state"))
            except NoAnswer as error:
                return str(error)

    return asyncio.run(story())


def test_agent_is_asked_with_its_token_below_the_dashboards_prefix() -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.json_response([request.path, request.headers["Authorization"]])

    async def wrapped(request: web.Request) -> web.Response:
        return web.json_response({"request": json.loads((await echo(request)).text or "")})

    assert json.loads(asked(wrapped)) == {
        "request": ["/prefix/daskjob/v1/state", "Bearer the-token"],
    }


async def _too_long(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    try:
        while True:
            await answer.write(b" " * 65536)
    except ConnectionError:
        return answer


async def _never(request: web.Request) -> web.Response:
    del request
    await asyncio.sleep(60)
    return state(1)


async def _elsewhere(request: web.Request) -> web.Response:
    if request.path.endswith("/state"):
        raise web.HTTPFound("/secret")
    return state(1)


async def _text(request: web.Request) -> web.Response:
    del request
    return web.Response(text="<html>")


async def _list(request: web.Request) -> web.Response:
    del request
    return web.json_response([1])


async def _deep(request: web.Request) -> web.Response:
    del request
    return web.Response(text="[" * 100_000)


async def _latin(request: web.Request) -> web.Response:
    del request
    return web.Response(body='{"tasks": "é"}'.encode("latin-1"))


async def _number(request: web.Request) -> web.Response:
    del request
    return web.Response(text='{"tasks": ' + "9" * 5000 + "}")


async def _error(request: web.Request) -> web.Response:
    del request
    raise web.HTTPForbidden


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (_too_long, f"the answer is longer than {LIMIT_BYTES} bytes"),
        (_never, "no answer within 2 s"),
        (_elsewhere, "HTTP 302"),
        (_text, "not JSON"),
        (_deep, "not JSON"),
        (_latin, "not JSON"),
        (_number, "not JSON"),
        (_list, "not a JSON object"),
        (_error, "HTTP 403"),
    ],
    ids=["endless", "silent", "redirect", "html", "deep", "latin", "number", "list", "forbidden"],
)
def test_unusable_answer_is_no_answer(handler: Handler, message: str) -> None:
    started = time.monotonic()
    assert message in asked(handler)
    assert time.monotonic() - started < 10


async def test_refused_connection_is_no_answer() -> None:
    async with Agents(lambda _uid: None) as agents:
        with pytest.raises(NoAnswer):
            await agents.ask(Endpoint("http://127.0.0.1:1", "", ""), "state")


@pytest.mark.parametrize("token", ["a\nb", "a\x00b", "a\rX-More: 1"])
async def test_a_token_that_no_header_can_hold_is_no_answer(token: str) -> None:
    async with running(_text) as (agents, endpoint, _):
        with pytest.raises(NoAnswer, match=r"null byte|header"):
            await agents.ask(replace(endpoint, token=token), "state")


async def test_a_scheduler_that_answered_nonsense_is_asked_again() -> None:
    answers = iter([_latin, _number])

    async def answer(request: web.Request) -> web.StreamResponse:
        handler = next(answers, None)
        return state(1) if handler is None else await handler(request)

    async with running(answer) as (agents, endpoint, _):
        agents.follow("c", endpoint, WHO, 0.02)
        await until(lambda: agents.state("c"))


async def test_a_scheduler_is_asked_again_whatever_went_wrong() -> None:
    """An unexpected error too: what counts as being asked is never asked again."""

    async def answer(request: web.Request) -> web.Response:
        del request
        return state(1)

    async with running(answer) as (agents, endpoint, _):
        asked = 0

        async def broken(endpoint: Endpoint, route: str) -> Manifest:
            del endpoint, route
            nonlocal asked
            asked += 1
            raise RuntimeError("a mistake of daskjob")

        agents.ask = broken  # type: ignore[method-assign]
        agents.follow("c", endpoint, WHO, 0.02)
        await until(lambda: asked >= 3)


async def test_retirements_delay_no_other_question_and_no_other_namespace() -> None:
    held = asyncio.Event()
    in_flight = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal in_flight
        if request.method == "POST":
            in_flight += 1
            await held.wait()
        return state(1)

    async with running(answer) as (agents, endpoint, _):
        theirs = [replace(endpoint, namespace=f"n{number % 2}") for number in range(64)]
        posts = [asyncio.create_task(agents.post(one, "retire", {}, 30.0)) for one in theirs]
        await until(lambda: in_flight == 2 * POSTS_EACH)
        started = time.monotonic()
        assert await agents.ask(theirs[0], "state")
        assert time.monotonic() - started < 1.5
        mine = asyncio.create_task(
            agents.post(replace(endpoint, namespace="mine"), "retire", {}, 30.0)
        )
        await until(lambda: in_flight == 2 * POSTS_EACH + 1)
        held.set()
        await asyncio.gather(*posts, mine)


async def test_the_wait_for_a_slot_is_part_of_the_time_of_an_answer() -> None:
    held = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        del request
        await held.wait()
        return state(1)

    async with running(answer) as (agents, endpoint, _):
        posts = [
            asyncio.create_task(agents.post(endpoint, "retire", {}, 30.0))
            for _ in range(POSTS_EACH)
        ]
        await asyncio.sleep(0)
        with pytest.raises(NoAnswer, match="too many requests"):
            await agents.post(endpoint, "retire", {}, 0.1)
        held.set()
        await asyncio.gather(*posts)


async def test_nothing_is_recorded_of_a_cluster_that_is_gone() -> None:
    async with Agents(lambda _uid: None, exists=lambda uid: uid == "there") as agents:
        for uid in ("gone", "there"):
            agents.record(uid, Endpoint("http://127.0.0.1:1", "", ""), DaskState())
        assert set(agents._followed) == {"there"}


@asynccontextmanager
async def running(handler: Handler) -> AsyncIterator[tuple[Agents, Endpoint, list[str]]]:
    changed: list[str] = []
    async with scheduler(handler) as endpoint, Agents(changed.append) as agents:
        life = asyncio.create_task(agents.run())
        yield agents, endpoint, changed
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)


async def test_scheduler_is_asked_at_the_shortest_interval_of_its_followers() -> None:
    times: list[float] = []

    async def answer(request: web.Request) -> web.Response:
        del request
        times.append(time.monotonic())
        return state(len(times))

    async with running(answer) as (agents, endpoint, changed):
        agents.follow("c", endpoint, WHO, 30.0)
        await until(lambda: changed)
        agents.follow("c", endpoint, OTHER, 0.2)
        await until(lambda: len(times) >= 4)
        agents.leave("c", OTHER)
        await asyncio.sleep(0)
        seen = len(times)
        found = agents.state("c")
        assert found is not None
        assert found.tasks.total >= seen - 1
        assert times[3] - times[1] >= 0.3


@pytest.mark.parametrize("steps", range(4))
async def test_a_cancellation_along_with_work_still_cancels(steps: int) -> None:
    missing = Endpoint("http://127.0.0.1:1", "", "")
    async with Agents(lambda _uid: None) as agents:
        life = asyncio.create_task(agents.run())
        agents.follow("b", missing, WHO, 30.0)
        await until(lambda: not agents._questions and agents._due)
        await asyncio.sleep(0.01)
        # So that the loop wakes right before, at and after the time of its cancellation.
        agents.follow("c", missing, WHO, 30.0)
        for _ in range(steps):
            await asyncio.sleep(0)
        life.cancel()
        done, _ = await asyncio.wait([life], timeout=10)
        assert done == {life}


async def test_only_changes_are_reported_and_unfollowed_schedulers_are_no_longer_asked() -> None:
    count = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal count
        del request
        count += 1
        return state(7)

    async with running(answer) as (agents, endpoint, changed):
        agents.follow("c", endpoint, WHO, 0.02)
        await until(lambda: count >= 5)
        assert changed == ["c"]
        agents.leave("c", WHO)
        await until(lambda: not agents._questions)
        before = count
        await asyncio.sleep(0.2)
        assert count <= before + 1
        assert agents.state("c") is not None
        agents.forget("c")
        assert agents.state("c") is None


async def test_state_of_a_silent_scheduler_is_unknown_after_three_requests() -> None:
    silent = False
    count = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal count
        del request
        count += 1
        if silent:
            raise web.HTTPServiceUnavailable
        return state(1)

    async with running(answer) as (agents, endpoint, changed):
        agents.follow("c", endpoint, WHO, 0.02)
        await until(lambda: agents.state("c"))
        silent, before = True, count
        await until(lambda: agents.state("c") is None)
        assert count - before >= 3
        assert changed == ["c", "c"]


async def test_restarted_scheduler_has_a_new_state() -> None:
    async def answer(request: web.Request) -> web.Response:
        del request
        return state(1)

    async with running(answer) as (agents, endpoint, _):
        agents.follow("c", endpoint, WHO, 30.0)
        await until(lambda: agents.state("c"))
        reborn = Endpoint(endpoint.url, endpoint.token, "uid/other")
        agents.follow("c", reborn, WHO, 30.0)
        assert agents.state("c") is None
        await until(lambda: agents.state("c"))


async def test_additional_query_of_one_follower_is_sent_for_all_and_at_once() -> None:
    routes: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        routes.append(request.path_qs)
        wanted = {"more": 3} if request.query.get("groups") == "[1]" else {}
        return web.json_response({"target": {"default": 1, **wanted}})

    async with running(answer) as (agents, endpoint, _):
        agents.follow("c", endpoint, WHO, 30.0)
        await until(lambda: agents.state("c"))
        assert not agents.answered("c", "state?groups=%5B1%5D")
        assert set(agents.demands("c")) == {"default"}
        agents.follow("c", endpoint, OTHER, 30.0, "state?groups=%5B1%5D")
        await until(lambda: agents.answered("c", "state?groups=%5B1%5D"))
        assert {name: d.workers for name, d in agents.demands("c").items()} == {
            "default": 1,
            "more": 3,
        }
        assert agents.demands("c")["default"].since < agents.demands("c")["more"].since
        agents.follow("c", endpoint, WHO, 30.0)
        assert await agents.fresh("c", endpoint)
        assert routes[1:] == ["/prefix/daskjob/v1/state?groups=%5B1%5D"] * 2


async def test_workers_that_do_not_fit_into_one_answer_are_asked_for_page_by_page() -> None:
    columns = ["name", "address", "memory", "processing", "status"]
    rows = [[f"w-{i}", f"tls://[fd00::{i}]:1", 0, 0, "running"] for i in range(1, 6)]
    routes: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        routes.append(request.query.get("after", ""))
        page = [row for row in rows if str(row[1]) > routes[-1]][:2]
        return web.json_response({"workers": {"total": 5, "columns": columns, "rows": page}})

    async with running(answer) as (agents, endpoint, _):
        state = await agents.fresh("c", endpoint)
        assert state is not None
        assert state.is_whole
        assert [worker.name for worker in state.workers] == ["w-1", "w-2", "w-3", "w-4", "w-5"]
        assert routes == ["", "tls://[fd00::2]:1", "tls://[fd00::4]:1"]
        rows[1:] = []
        # The others never come: the state is not whole, and the requests end.
        state = await agents.fresh("c", endpoint)
        assert state is not None
        assert not state.is_whole
        assert len(routes) == 5


async def test_demand_of_a_silent_scheduler_is_unknown() -> None:
    silent = False

    async def answer(request: web.Request) -> web.Response:
        del request
        if silent:
            raise web.HTTPServiceUnavailable
        return web.json_response({"target": {"default": 1}})

    async with running(answer) as (agents, endpoint, changed):
        agents.follow("c", endpoint, WHO, 0.02)
        await until(lambda: agents.demands("c"))
        assert not agents.silent("c")
        since = agents.demands("c")["default"].since
        silent = True
        await until(lambda: agents.silent("c"))
        assert agents.demands("c") == {}
        silent = False
        await until(lambda: agents.demands("c"))
        assert not agents.silent("c")
        assert agents.demands("c")["default"].since > since
        assert changed == ["c"] * 3


async def test_scheduler_that_never_answered_is_reported_once() -> None:
    count = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal count
        del request
        count += 1
        raise web.HTTPServiceUnavailable

    async with running(answer) as (agents, endpoint, changed):
        agents.follow("c", endpoint, WHO, 0.02)
        await until(lambda: count >= 8)
        assert agents.silent("c")
        assert changed == ["c"]
