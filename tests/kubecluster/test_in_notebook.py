"""KubeCluster in JupyterLab: from its Dask extension, and from a notebook in a real browser."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daskjob.kubecluster.lease import DURATION
from tests.browser import Page, page
from tests.kubecluster.conftest import Place
from tests.kubecluster.jupyter import Jupyter, environment, jupyter

SECONDS = 90.0
#: Where pictures are kept, to be looked at.
PICTURES = os.environ.get("DASKJOB_TEST_PICTURES", "")


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


#: Runs cells in a kernel, as nbconvert and papermill do, and prints their outputs.
KERNEL = """
import json, sys
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel()
found = []
try:
    for cell in json.load(sys.stdin):
        seen = {}
        def take(message):
            content = message["content"]
            if message["msg_type"] == "stream":
                seen[content["name"]] = seen.get(content["name"], "") + content["text"]
            elif message["msg_type"] == "error":
                seen["error"] = content["ename"] + ": " + content["evalue"]
        client.execute_interactive(cell, output_hook=take, timeout=120)
        found.append(seen)
finally:
    client.stop_channels()
    manager.shutdown_kernel()
print(json.dumps(found))
"""
#: Of a blocking and of an asynchronous cluster, in the loop that the kernel runs.
IN_KERNEL = [
    "from daskjob import KubeCluster\ncluster = KubeCluster(**{arguments})",
    "other = await KubeCluster.from_name('kernel', asynchronous=True, **{where})\n"
    "print(other.name, other == cluster)",
    "await other.scale(1)\nawait other.close()\nprint(len(cluster.requested))",
    "KubeCluster.from_name('none', **{where})",
    "cluster.close()\nprint(cluster)",
]


@pytest.mark.check(33)
@pytest.mark.check(40)
def test_a_kernel_without_a_browser_has_both_kinds_and_no_errors(place: Place) -> None:
    arguments = {**place.arguments("kernel", n_workers=0), "quiet": False}
    where = {key: arguments[key] for key in ("namespace", "kubeconfig")}
    cells = [
        cell.replace("{arguments}", repr(arguments)).replace("{where}", repr(where))
        for cell in IN_KERNEL
    ]
    done = subprocess.run(
        [str(environment() / "python"), "-c", KERNEL],
        input=json.dumps(cells),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    first, second, third, missing, last = json.loads(done.stdout.splitlines()[-1])
    assert first["stdout"].startswith("Creating the DaskCluster\nWaiting for the scheduler\n")
    assert "Ready; the dashboard is at http" in first["stdout"]
    assert second["stdout"].startswith("Connecting to the existing cluster\n")
    assert second["stdout"].endswith("\nkernel True\n")
    assert third == {"stdout": "1\n"}
    assert missing.pop("error").startswith("NoSuchCluster: ")
    assert last == {"stdout": "KubeCluster(kernel, closed)\n"}
    # What a kernel writes to standard error is on red ground.
    assert not [seen for seen in (first, second, missing) if set(seen) != {"stdout"}]


KERNEL_IS_READY = """(() => {
    const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
    return kernel?.connectionStatus === 'connected' && kernel.status === 'idle';
})()"""

CELLS = [
    "from daskjob import KubeCluster\ncluster = KubeCluster({arguments})\ncluster",
    "from distributed import Client\nclient = Client(cluster)\n"
    "print('sum', client.submit(sum, range(100)).result())",
    "cluster.add_worker_group('huge', n_workers=1, resources={'requests': {'cpu': '500'}})",
    "cluster.close()\nprint('callbacks', list(cluster.periodic_callbacks))\nprint(cluster)",
    "other = KubeCluster({other})\nimport os\nprint('process', os.getpid())",
]


def notebook(cells: list[str]) -> str:
    shown: list[dict[str, Any]] = [
        {
            "id": f"cell{number}",
            "cell_type": "code",
            "source": source,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
        for number, source in enumerate(cells)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return json.dumps({"cells": shown, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


class Notebook:
    """The notebook in the browser."""

    def __init__(self, browser: Page) -> None:
        self.browser = browser
        self._next = 0

    async def command(self, name: str, **arguments: Any) -> None:
        """Execute a command of JupyterLab, as its menus and keys do."""
        call = f"void jupyterapp.commands.execute('{name}', {json.dumps(arguments)})"
        await self.browser.evaluate(call)

    async def run(self, shows: str) -> str:
        """Run the next cell, and wait for what it shows."""
        # A click into an output has selected the cell of that output.
        await self.browser.evaluate(
            f"jupyterapp.shell.currentWidget.content.activeCellIndex = {self._next}"
        )
        self._next += 1
        await self.command("notebook:run-cell")
        return await self.shows(shows)

    async def shows(self, text: str) -> str:
        """Wait for a text; return all that is seen."""

        async def seen() -> str:
            found = await self.text()
            return found if text in found else ""

        try:
            return str(await until(seen, text))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{await self.text()}") from None

    async def text(self) -> str:
        script = "document.querySelector('.jp-Notebook')?.innerText ?? ''"
        return " ".join(str(await self.browser.evaluate(script)).split())

    async def click(self, selector: str, text: str) -> None:
        """Click what has this text."""
        # Tabs act when a pointer goes down, buttons when it goes up again.
        await self.browser.evaluate(
            f"""(() => {{
            const found = [...document.querySelectorAll({selector!r})]
                .find(e => e.innerText.trim() === {text!r});
            const box = found.getBoundingClientRect();
            const at = {{bubbles: true, cancelable: true, button: 0, view: window,
                clientX: box.x + box.width / 2, clientY: box.y + box.height / 2}};
            found.dispatchEvent(new PointerEvent('pointerdown', at));
            found.dispatchEvent(new MouseEvent('mousedown', at));
            found.dispatchEvent(new PointerEvent('pointerup', at));
            found.dispatchEvent(new MouseEvent('mouseup', at));
            found.click();
            }})()"""
        )

    async def fill(self, label: str, value: int) -> None:
        """Write a number into the field of a label, as the keyboard does."""
        await self.browser.evaluate(
            f"""(() => {{
            const row = [...document.querySelectorAll('.widget-inline-hbox')]
                .find(e => e.innerText.trim() === {label!r});
            const input = row.querySelector('input');
            input.value = {value};
            input.dispatchEvent(new Event('input', {{bubbles: true}}));
            input.dispatchEvent(new Event('change', {{bubbles: true}}));
            }})()"""
        )

    async def press(self, label: str, text: str) -> str:
        """Press a button until a text is there: the kernel may get the value of a field later."""
        seen = ""

        async def shown() -> bool:
            nonlocal seen
            await self.click("button", label)
            for _ in range(20):
                seen = await self.text()
                if text in seen:
                    return True
                await asyncio.sleep(0.2)
            return False

        await until(shown, text)
        return seen

    async def picture(self, name: str) -> None:
        """Keep pictures in both themes."""
        for theme in ("Dark", "Light") if PICTURES else ():
            await self.command("apputils:change-theme", theme=f"JupyterLab {theme}")
            want = str(theme == "Light").lower()

            async def changed(want: str = want) -> bool:
                script = "document.body.dataset.jpThemeLight"
                return bool(await self.browser.evaluate(script) == want)

            await until(changed, theme)
            await asyncio.sleep(0.5)  # the stylesheet of a theme comes after its name
            await self.browser.screenshot(Path(PICTURES) / f"{name}-{theme.lower()}.png")


@pytest.mark.check(41)
@pytest.mark.check(42)
@pytest.mark.check(43)
@pytest.mark.check(37)
async def test_a_notebook_shows_and_scales_a_cluster(place: Place, lab: Jupyter) -> None:
    where = f"'browser', kubeconfig={str(place.kubernetes.kubeconfig)!r}"
    cells = [
        cell.replace("{arguments}", where).replace("{other}", where.replace("browser", "killed"))
        for cell in CELLS
    ]
    (lab.work / "first.ipynb").write_text(notebook(cells))
    async with page() as browser:
        await browser.go(f"{lab.address}lab/tree/first.ipynb?token={lab.token}", height=1100)
        user = Notebook(browser)

        async def ready() -> bool:
            return bool(await browser.evaluate(KERNEL_IS_READY))

        await until(ready, "a kernel")
        text = await user.run("Scheduler ready")
        assert "Workers (default) 0 of 0 ready" in text
        await user.click(".lm-TabBar-tab", "Scaling")
        await user.shows("Scaling mode: Manual")
        await user.fill("Workers", 1)
        await user.click("button", "Scale")
        await user.shows("Workers: 1 requested, 1 ready, 1 connected")
        await user.run("sum 4950")
        await user.fill("Minimum", 14)
        await user.click("button", "Adapt")
        await user.shows("maximum=10 is less than minimum=14")
        await user.fill("Minimum", 1)
        await user.fill("Maximum", 2)
        text = await user.press("Adapt", "default Adaptive, 1 to 2")
        assert "Scaling mode: Adaptive" in text
        assert "maximum=10" not in text
        await user.run("Insufficient cpu")
        await user.picture("scaling")
        await user.click(".lm-TabBar-tab", "Status")
        await user.shows("Workers (huge) 0 of 1 ready: ")
        await user.picture("status")
        text = await user.run("KubeCluster(browser, closed)")
        assert "callbacks []" in text
        await user.shows("DaskCluster closed")
        assert place.kubectl.there("daskclusters") == []
        await user.click(".lm-TabBar-tab", "Scaling")
        await user.shows("The cluster is closed.")
        await user.picture("closed")

        # A kernel that is killed cannot close its cluster: the lease is there for that.
        text = await user.run("process ")
        os.kill(int(text.rpartition("process ")[2].split()[0]), signal.SIGKILL)
        found = json.loads(place.kubectl("get", "daskcluster", "killed", "-o", "json"))
        assert found["metadata"]["annotations"][DURATION] == "300"
        place.kubectl("delete", "daskcluster", "killed", "--wait=false")
