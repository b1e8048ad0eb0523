"""What a person sees on Prefect's page of a flow run, in a real browser.

``DASKJOB_WRITE_PICTURES=1`` writes the pictures of docs/howto/prefect.md from them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.context import FlowRunContext

from daskjob.integrations.prefect import DaskJob, run_daskjob
from tests.browser import Page, page
from tests.cluster.plugin import ROOT
from tests.orchestrators.prefect.server import Server
from tests.waiting import until

#: Where the pictures are that the documentation shows.
PICTURES = ROOT / "docs" / "_static" / "prefect"
WIDTH, HEIGHT = 1180, 900
PATIENCE = 240.0
SCRIPT = """
import os, time
from distributed import Client

def volume(side):
    time.sleep(0.01)
    return side**3

with Client(os.environ["DASK_SCHEDULER_ADDRESS"]) as client:
    print("counting 200 cubes", flush=True)
    total = sum(client.gather(client.map(volume, range(200))))
print(f"the sum is {total}", flush=True)
"""


#: The middle of the innermost element with a text.
WHERE = """
JSON.stringify((box => [box.x + box.width / 2, box.y + box.height / 2])(
    [...document.querySelectorAll("*")]
        .filter(each => (each.innerText || "").trim() == %s)
        .at(-1).getBoundingClientRect()))
"""


@flow(name="nightly", flow_run_name="nightly-2026-01-31")
def nightly(script: str) -> str:
    """Run a job; return the id of the flow run."""
    run_daskjob(DaskJob(command=[sys.executable, script], n_workers=2, local=True))
    context: Any = FlowRunContext.get()
    return str(context.flow_run.id)


async def shows(browser: Page, *texts: str) -> str:
    """Wait until the page shows texts; return everything that it shows."""
    seen = ""

    async def found() -> bool:
        nonlocal seen
        seen = await browser.text()
        return all(text in seen for text in texts)

    await until(found, PATIENCE, lambda: seen, pause=0.2)
    return seen


async def click(browser: Page, text: str) -> None:
    """Click what has this text; the page does not react to a click by JavaScript."""
    x, y = json.loads(await browser.evaluate(WHERE % json.dumps(text)))
    for kind in ("mousePressed", "mouseReleased"):
        event = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
        await browser.call("Input.dispatchMouseEvent", **event)


async def picture(browser: Page, name: str, folder: Path) -> None:
    """Write what the browser shows: into the documentation if that is wanted."""
    target = folder
    if os.environ.get("DASKJOB_WRITE_PICTURES"):
        target = PICTURES
        # The axis of the graph moves at first.
        await asyncio.sleep(5)
    target.mkdir(exist_ok=True)
    await browser.screenshot(target / f"{name}.webp")


async def test_the_page_of_a_flow_run_shows_its_log_and_its_artifacts(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASKJOB_STATE_DIR", str(tmp_path / "runs"))
    script = tmp_path / "nightly.py"
    script.write_text(SCRIPT)
    flow_run = nightly(str(script))
    url = f"{server.url.removesuffix('/api')}/runs/flow-run/{flow_run}"
    async with page() as browser:
        await browser.go(url, width=WIDTH, height=HEIGHT)
        seen = await shows(browser, "Submitted DaskJob nightly-py-", "the sum is 396010000")
        await picture(browser, "log", tmp_path)
        assert "counting 200 cubes" in seen
        await click(browser, "Artifacts")
        await shows(
            browser, "nightly-py-dashboard", "Succeeded, 200 of 200 tasks done, 2/2 workers"
        )
        await picture(browser, "artifacts", tmp_path)
