"""What a person sees on Airflow's pages of a task, in a real browser.

``DASKJOB_WRITE_PICTURES=1`` writes the pictures of docs/howto/airflow.md from them.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.browser import Page, page
from tests.cluster.plugin import ROOT
from tests.orchestrators.airflow.jobs import Jobs
from tests.orchestrators.airflow.servers import PATIENCE, Servers
from tests.waiting import until

#: Where the pictures are that the documentation shows.
PICTURES = ROOT / "docs" / "_static" / "airflow"
WIDTH = 1180
#: Folds the traceback of an error.
FOLD = """
[...document.querySelectorAll('summary, button, span, code, p')]
    .filter(e => e.innerText && e.innerText.includes('UserFailure: ')).at(-1).click()
"""


async def shows(browser: Page, url: str, *texts: str, height: int = 640) -> str:
    """Open a page, and wait until it shows texts; return everything that it shows."""
    await browser.go(url, width=WIDTH, height=height)
    seen = ""

    async def found() -> bool:
        nonlocal seen
        seen = await browser.text()
        return all(text in seen for text in texts)

    await until(found, PATIENCE, lambda: seen, pause=0.2)
    return seen


async def picture(browser: Page, name: str, folder: Path) -> None:
    """Write what the browser shows: into the documentation if that is wanted."""
    target = PICTURES if os.environ.get("DASKJOB_WRITE_PICTURES") else folder
    target.mkdir(exist_ok=True)
    await browser.screenshot(target / f"{name}.webp")


async def folded(browser: Page) -> bool:
    """Return whether the page shows no frame of a traceback of this project."""
    return "conclusion.py" not in await browser.text()


async def test_the_page_of_a_task_shows_its_progress_and_the_link_to_the_dashboard(
    servers: Servers, jobs: Jobs, place: str, tmp_path: Path
) -> None:
    run = "nightly-2026-01-31"
    servers.trigger("nightly_sales", run)
    job = jobs.running(run)
    url = f"{servers.url}/dags/nightly_sales/runs/{run}/tasks/totals"
    async with page() as browser:
        seen = await shows(browser, url, "tasks 80/120", "reading 120 days of sales")
        await picture(browser, "log", tmp_path)
        name = job["metadata"]["name"]
        assert f"{name} was started in namespace {place}" in seen
        await shows(browser, f"{url}/details", "Dask dashboard", height=370)
        link = await browser.evaluate(
            "[...document.querySelectorAll('a')].find(a => a.innerText == 'Dask dashboard').href"
        )
        await picture(browser, "link", tmp_path)
    assert link == f"https://dask.example.org/{place}/{job['status']['clusterName']}/status"
    jobs.let_end(job)
    servers.until("nightly_sales", run, "success", task_id="totals")


async def test_the_page_of_a_failed_task_shows_the_reason(servers: Servers, tmp_path: Path) -> None:
    run = "nightly-2026-02-01"
    servers.trigger("nightly_checks", run)
    servers.until("nightly_checks", run, "failed", task_id="amounts")
    url = f"{servers.url}/dags/nightly_checks/runs/{run}/tasks/amounts"
    async with page() as browser:
        seen = await shows(browser, url, "UserFailure", "Task failed with exception", height=830)
        # The frames of the traceback are paths of this machine.
        await browser.evaluate(FOLD)
        await until(lambda: folded(browser), PATIENCE, pause=0.2)
        await picture(browser, "failed", tmp_path)
    assert "failed (ExitCode): the runner exited with code 1" in seen
    assert "tasks: 2 of 3 done, 1 erred" in seen
    assert "line 5, in amount. Its log: daskjob" in seen
