"""An informer survives every answer of the server, and the cache ends up equal to the server."""

from __future__ import annotations

import pytest

from tests.cluster import proxy as faults
from tests.cluster.proxy import Fault, answer
from tests.kubernetes.given import (
    QUICK,
    Cluster,
    Side,
    informed,
    side_of,
)
from tests.waiting import until

#: Possible failures of a list or a watch, from a server or a proxy in front of it.
ANSWERS: dict[str, Fault] = {
    "401": answer(401, "Unauthorized", "Unauthorized"),
    "403": answer(403, 'pods is forbidden: User "x" cannot list resource "pods"', "Forbidden"),
    "404": answer(404, "the server could not find the requested resource", "NotFound"),
    "408": answer(408),
    "409": answer(409, "conflict", "Conflict"),
    "410": answer(410, "too old resource version", "Expired"),
    "422": answer(422, "invalid", "Invalid"),
    "429": answer(429, "too many requests", "TooManyRequests"),
    "500": answer(500, "etcdserver: request timed out", "InternalError"),
    "503": answer(503, "the server is currently unable to handle the request"),
    "504": answer(504, "timeout", "Timeout"),
    "reset": faults.reset(),
    "hang": faults.hang(),
    "lost answer": faults.lose_answer(),
}
WATCHES: dict[str, Fault] = {
    "410 within": faults.watch_says(faults.error_line(410)),
    "500 within": faults.watch_says(faults.error_line(500, "internal error")),
    "504 within": faults.watch_says(faults.error_line(504, "Too large resource version")),
    "ends at once": faults.watch_ends(),
    "cut in a line": faults.watch_sends(b'{"type":"ADDED","object":{"kind":"Pod","metad'),
    "no JSON": faults.watch_sends(b"<html>502 Bad Gateway</html>\n"),
    "an unknown event": faults.watch_sends(b'{"type":"NOVEL","object":{"metadata":{}}}\n'),
    "silent": faults.watch_is_silent(),
}


#: Requests that are retried at once: with new credentials, or since the client's kept-alive
#: connection turned out to be dead.
SECOND_TRIES = {"401": 3, "reset": 3, "lost answer": 3}


def assert_no_hot_loop(found: Side, second_tries: int = 0) -> None:
    """Assert that the requests kept to the pace: a list and its watch in turn."""
    times = [r.at for r in found.proxy.seen if r.verb in ("list", "watch")]
    span = max(times) - min(times)
    assert len(times) <= span / QUICK.shortest + 2 + second_tries


async def assert_same(found: Side, namespace: str, *expected: str) -> None:
    """Wait until the cache has the server's pods in the same versions."""
    server = await found.others.see(namespace)
    assert {line.partition("=")[0] for line in server} == set(expected)
    await until(lambda: found.held == server)


@pytest.mark.parametrize("fault", ANSWERS)
async def test_a_list_that_fails_three_times_succeeds_in_the_end(
    fault: str, kubernetes: Cluster, namespace: str
) -> None:
    async with side_of(kubernetes, try_seconds=1.0) as found:
        await found.others.create("one", namespace=namespace)
        found.proxy.on(ANSWERS[fault], verb="list", times=3)
        async with informed(found, namespace) as informer:
            await assert_same(found, namespace, "one")
            await until(lambda: informer.watches)
            assert found.proxy.rules[0].hits == 3
            assert_no_hot_loop(found, SECOND_TRIES.get(fault, 0))


@pytest.mark.parametrize("fault", [*ANSWERS, *WATCHES])
async def test_a_watch_that_fails_three_times_continues_and_misses_nothing(
    fault: str, kubernetes: Cluster, namespace: str
) -> None:
    async with side_of(kubernetes, try_seconds=1.0) as found:
        await found.others.create("stays", "goes", namespace=namespace)
        async with informed(found, namespace):
            await until(lambda: found.proxy.watching)
            rule = found.proxy.on({**ANSWERS, **WATCHES}[fault], verb="watch", times=None)
            found.proxy.cut_watches()
            await until(lambda: rule.hits)
            # While no watch is open, one pod is deleted and one created.
            await found.others.delete("goes", namespace=namespace)
            await found.others.create("comes", namespace=namespace)
            await until(lambda: rule.hits >= 3)
            rule.end()
            await assert_same(found, namespace, "stays", "comes")
            await until(lambda: found.proxy.watching)
            await found.others.label("stays", namespace, seen="too")
            await assert_same(found, namespace, "stays", "comes")
            assert_no_hot_loop(found, SECOND_TRIES.get(fault, 0))
