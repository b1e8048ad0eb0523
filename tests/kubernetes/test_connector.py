"""The connector: its connections are really closed when it reports so."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from daskjob.kube.connector import Connector
from daskjob.kube.credentials import find_credentials
from tests.cluster.plugin import Kubernetes


async def _open_after(kubernetes: Kubernetes, connector: aiohttp.TCPConnector) -> bool:
    """Leave a watch before its end, and return whether its connection outlives the session."""
    access = await find_credentials(str(kubernetes.kubeconfig)).access()
    async with aiohttp.ClientSession(connector=connector) as session:
        url = access.server + "/api/v1/namespaces?watch=1"
        async with session.get(url, ssl=access.tls, headers=access.headers) as answer:
            assert answer.connection is not None
            assert answer.connection.transport is not None
            connection = answer.connection.transport.get_extra_info("socket")
    still = connection.fileno() >= 0
    # aiohttp's own connector must not leave it open for other tests.
    while connection.fileno() >= 0:
        await asyncio.sleep(0.01)
    return bool(still)


@pytest.mark.parametrize(("make", "stays"), [(aiohttp.TCPConnector, True), (Connector, False)])
def test_connection_of_a_watch_left_early_is_closed_with_its_session(
    kubernetes: Kubernetes, make: type[aiohttp.TCPConnector], stays: bool
) -> None:
    async def left() -> bool:
        return await _open_after(kubernetes, make())

    assert asyncio.run(left()) is stays
