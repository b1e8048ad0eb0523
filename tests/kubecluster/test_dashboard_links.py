"""Links to a dashboard open in a browser behind real proxies, with a real scheduler."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dask.config
import pytest

from daskjob.kubecluster.links import dashboard_link
from daskjob.kubecluster.ways import Way
from tests.browser import Page, page
from tests.kubecluster.jupyter import Jupyter, environment, jupyter
from tests.kubecluster.reverse_proxy import reverse_proxy
from tests.waiting import until, wait_until

pytestmark = [pytest.mark.check(24), pytest.mark.check(31)]
#: JupyterHub and Kubeflow start notebook servers with a prefix.
BASE = "/user/me/"
#: What each of them has in a notebook's environment.
VARIABLES = {"JUPYTERHUB_SERVICE_PREFIX": BASE, "NB_PREFIX": BASE.rstrip("/")}
#: Bokeh draws figures once its session is open, which takes a websocket.
DRAWN = "window.Bokeh ? Bokeh.documents.map(d => d.roots().length).reduce((a, b) => a + b, 0) : 0"


@contextmanager
def scheduler(folder: Path, prefix: str = "") -> Iterator[Way]:
    """Start a scheduler with a dashboard; yield the way to it."""
    file = folder / "scheduler.json"
    words = ["--host=127.0.0.1", "--port=0", "--dashboard-address=127.0.0.1:0"]
    words += [f"--scheduler-file={file}", *(["--dashboard-prefix", prefix] if prefix else [])]
    log = folder / "scheduler.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [str(environment() / "dask"), "scheduler", *words], stdout=stream, stderr=stream
        )
    try:
        wait_until(lambda: file.exists() and file.read_text(), shows=log.read_text, pause=0.1)
        port = json.loads(file.read_text())["services"]["dashboard"]
        yield Way("tcp://127.0.0.1:1", "localhost", port, f"{prefix}/status")
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    """A notebook server, whose extension is a proxy to local ports."""
    folder = tmp_path_factory.mktemp("jupyter")
    with jupyter(folder, {}, f"--ServerApp.base_url={BASE}") as server:
        yield server


async def draws(browser: Page, url: str) -> None:
    """Open a dashboard, and wait until it has drawn its figures and requested all that it needs."""
    await browser.go(url)
    await until(lambda: browser.evaluate(DRAWN), shows=lambda: browser.complaints, pause=0.2)
    assert "Dask" in str(await browser.evaluate("document.title"))
    failed = [text for text in browser.complaints if "Failed to load" in text]
    assert not [text for text in failed if "favicon" not in text], failed


async def test_links_of_notebooks_open_in_their_proxy(lab: Jupyter, tmp_path: Path) -> None:
    origin = lab.address.removesuffix(BASE)
    templates = [
        "{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status",
        "{JUPYTERHUB_SERVICE_PREFIX}proxy/{host}:{port}/status",
        "{NB_PREFIX}/proxy/{port}/status",
    ]
    with scheduler(tmp_path) as way:
        links = []
        for template in templates:
            with dask.config.set({"distributed.dashboard.link": template}):
                links.append(dashboard_link(way, environment=VARIABLES))
        # Kubeflow's is the same as JupyterHub's.
        assert len(set(links)) == 2
        async with page() as browser:
            # The browser is logged in.
            await browser.go(f"{lab.address}api/status?token={lab.token}")
            for link in set(links):
                assert link.startswith(f"{BASE}proxy/")
                await draws(browser, f"{origin}{link}")


async def test_a_fixed_link_opens_behind_an_ingress_with_a_path(tmp_path: Path) -> None:
    with scheduler(tmp_path, "/team/x") as way:
        target = f"http://127.0.0.1:{way.dashboard_port}"
        async with reverse_proxy("/team/x", target) as address, page() as browser:
            with dask.config.set({"distributed.dashboard.link": f"{address}/team/x/status"}):
                await draws(browser, dashboard_link(way))
