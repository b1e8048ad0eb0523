"""Pods with image volumes, on a server that keeps them, and on one that drops them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from daskjob.core.errors import CreateRejected, RejectionKind
from daskjob.core.manifests import Manifest
from tests.cluster.proxy import Passage, answer
from tests.kubernetes.given import KEY, Cluster, pod, side_of

VOLUME = {"name": "code", "image": {"reference": "nowhere.invalid/code:1"}}
MOUNT = {"name": "code", "mountPath": "/code", "readOnly": True}


def with_code(name: str, namespace: str) -> Manifest:
    """A pod with an image volume."""
    made = pod(name, namespace)
    made["spec"]["volumes"] = [VOLUME]
    made["spec"]["containers"][0]["volumeMounts"] = [MOUNT]
    return made


async def dropped(passage: Passage) -> web.StreamResponse:
    """Create a pod as a server does whose feature gate is off: without its image volumes."""
    made: dict[str, Any] = json.loads(passage.request.body)
    del made["spec"]["volumes"], made["spec"]["containers"][0]["volumeMounts"]
    passage.request.body = json.dumps(made).encode()
    return await passage.forward()


async def test_a_pod_is_rejected_before_it_is_created_without_its_image_volume(
    kubernetes: Cluster, namespace: str
) -> None:
    async with side_of(kubernetes) as found:
        found.proxy.on(dropped, verb="create", times=None)
        for name in ("one", "two"):
            with pytest.raises(CreateRejected) as raised:
                await found.writes.create(KEY, with_code(name, namespace))
            assert raised.value.kind is RejectionKind.INVALID
            assert "drops its image volume code. Image volumes need" in raised.value.message
        assert await found.others.see(namespace) == []


async def test_a_server_that_keeps_image_volumes_is_asked_once(
    kubernetes: Cluster, namespace: str
) -> None:
    async with side_of(kubernetes) as found:
        await found.writes.create(KEY, pod("none", namespace))
        # A webhook that knows no dry runs, for one.
        found.proxy.on(answer(400, "does not support dry run", "BadRequest"), verb="create")
        for name in ("one", "two", "three"):
            await found.writes.create(KEY, with_code(name, namespace))
        created = [request.query for request in found.proxy.requests("create", "pods")]
        dry: dict[str, str] = {"dryRun": "All"}
        assert created == [{}, dry, {}, dry, {}, {}]
        assert len(await found.others.see(namespace)) == 4
