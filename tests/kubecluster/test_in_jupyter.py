"""KubeCluster in JupyterLab: from its Dask extension."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.kubecluster.conftest import Place
from tests.kubecluster.jupyter import Jupyter, jupyter

SECONDS = 90.0


@pytest.fixture(scope="module")
def lab(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    """A JupyterLab whose extension makes clusters as its user has configured."""
    arguments = place.arguments("sidebar", n_workers=0)
    factory = {"module": "daskjob", "class": "KubeCluster", "args": [], "kwargs": arguments}
    # Kernels are configured by the same file.
    kubernetes = {key: arguments[key] for key in ("namespace", "image", "resources")}
    config = {"labextension": {"factory": factory}, "kubernetes": kubernetes}
    with jupyter(tmp_path_factory.mktemp("jupyter"), config) as server:
        yield server


async def until(true: Callable[[], Awaitable[Any]], what: str, seconds: float = SECONDS) -> Any:
    """Wait until a condition is true, and return its value."""
    found: Any = None
    try:
        async with asyncio.timeout(seconds):
            while not (found := await true()):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None
    return found


def spec(place: Place, name: str) -> dict[str, Any]:
    """Return the worker part of a cluster."""
    found = json.loads(place.kubectl("get", "daskcluster", name, "-o", "json"))
    worker: dict[str, Any] = found["spec"]["worker"]
    return worker


@pytest.mark.check(44)
async def test_the_extension_starts_scales_adapts_and_closes(place: Place, lab: Jupyter) -> None:
    made = await lab.call("PUT", "dask/clusters")
    assert (made["workers"], made["cores"], made["memory"]) == (0, 0, "0 B")
    assert made["name"] == "KubeCluster 1"
    assert made["dashboard_link"].startswith("http://")
    path = f"dask/clusters/{made['id']}"

    async def model() -> dict[str, Any]:
        found: dict[str, Any] = await lab.call("GET", path)
        return found

    async def has(workers: int) -> bool:
        return bool((await model())["workers"] == workers)

    assert "adapt" not in await lab.call("PATCH", path, {"workers": 1})
    await until(lambda: has(1), "one worker")
    assert (await model())["memory"] == "500.00 MiB"
    adapted = await lab.call("PATCH", path, {"adapt": {"minimum": 2, "maximum": 3}})
    assert adapted["adapt"] == {"minimum": 2, "maximum": 3}
    await until(lambda: has(2), "two workers")
    assert spec(place, "sidebar")["autoscaling"] == {"minimum": 2, "maximum": 3}
    assert await lab.call("GET", "dask/clusters") == [await model()]
    assert "Dask" in await lab.call("GET", f"dask/dashboard/{made['id']}/status")

    # What was asked for last wins, although the extension does not wait for `adapt`.
    await lab.call("PATCH", path, {"adapt": {"minimum": 0, "maximum": 5}})
    assert "adapt" not in await lab.call("PATCH", path, {"workers": 0})
    worker = spec(place, "sidebar")
    assert (worker["replicas"], worker.get("autoscaling")) == (0, None)

    await lab.call("DELETE", path)
    assert await lab.call("GET", "dask/clusters") == []
    assert place.kubectl.there("daskclusters") == []
