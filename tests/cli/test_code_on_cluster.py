"""A project with a package below ``src`` and data, on a real cluster; and what a kill leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import yaml

from tests.cli.command import Daskjob
from tests.cli.test_on_cluster import SMALL, OnCluster, operator
from tests.cluster.plugin import Audited, Kubectl, Kubernetes, WaitFor
from tests.operator.jobs import ended
from tests.printed import assert_printed
from tests.submit.test_code_folder import made, write
from tests.waiting import until

TRAIN = """\
import sys
from pathlib import Path
from distributed import Client
from lib.tasks import where

with Client() as client:
    print("worker", client.submit(where, 7).result(), flush=True)
print("data", Path("data/table.bin").read_bytes(), sys.argv[1:], Path.cwd().name)
"""
TASKS = """\
from .numbers import double

def where(n):
    place = __file__.partition("/code/")[2]
    return double(n), place, len(open("data/table.bin").read())
"""


@pytest.fixture
def there(daskjob: Daskjob, with_crds: Kubernetes, namespace: str) -> OnCluster:
    return OnCluster(daskjob, with_crds, namespace)


@pytest.fixture(autouse=True)
def project(there: OnCluster) -> None:
    work = there.daskjob.work
    made(work, "pyproject.toml", "src/lib/__init__.py", ".env", "README.md")
    write(work / "pyproject.toml", "")
    write(work / "src/lib/__init__.py", "")
    write(work / "src/lib/tasks.py", TASKS)
    write(work / "src/lib/numbers.py", "def double(n):\n    return 2 * n\n")
    write(work / "scripts/train.py", TRAIN)
    (work / "data").mkdir()
    (work / "data/table.bin").write_bytes(b"\x01\x00")


async def test_project_runs_there_as_here_and_again(
    there: OnCluster,
    with_crds: Kubernetes,
    kubectl: Kubectl,
    tmp_path: Path,
    audit: Callable[[], AbstractContextManager[Audited]],
) -> None:
    image = with_crds.image("dask")
    words = (*SMALL, "--image", image, "--code", ".", "scripts/train.py", "--n", "3")
    expected = [
        "worker (14, 'src/lib/tasks.py', 2)",
        "data b'\\x01\\x00' ['--n', '3'] code",
    ]
    with audit() as audited:
        done = await there.call("submit", *words)
    assert done.code == 0, done.err
    assert "not sent, looks like a secret: .env" in done.err
    first = done.text.split()[0].removeprefix("daskjob/")
    # Without an operator, these are all requests of the client.
    sent = [
        f"{request.verb} {request.resource}"
        for request in audited.requests
        if request.namespace == there.namespace and "daskjob" in request.user_agent
    ]
    assert sent == ["create daskjobs", "create configmaps"]
    async with operator(with_crds, there.namespace, tmp_path):
        # The same project, as somebody has put it into an image.
        built = f"image:{with_crds.code_image(there.daskjob.work)}"
        other = (*SMALL, "--image", image, "--code", built, "scripts/train.py", "--n", "3")
        both = there.call("attach", first), there.call("submit", "--wait", *other)
        for done in await asyncio.gather(*both):
            assert done.code == 0, done.err
            assert_printed(done.text, *expected)

        # A retry has a copy of the code, also once the first job is gone with its own.
        again = await there.call("retry", first)
        assert again.code == 0, again.err
        second = again.text.split()[-1]
        assert (await there.call("delete", first)).code == 0
        assert (await there.call("wait", second)).code == 0
        assert_printed((await there.call("logs", second)).text, *expected)
        await until(lambda: len(_code(kubectl)) == 1)
        assert _code(kubectl)[0].startswith(f"{second}-code-")
        like = await there.call("submit", "--wait", "--like", second, "--workers", "2")
        assert like.code == 0, like.err
        assert_printed(like.text, *expected)
        here = await asyncio.to_thread(there.daskjob, "run", "--like", second)
        assert here.code == 0, here.err
        assert_printed(here.text, *expected)
        kubectl("delete", "daskjobs", "--all")
        await until(lambda: _code(kubectl) == [])
        gone = await there.call("retry", second)
        assert gone.code == 125
        assert "in ConfigMaps that were deleted with it; submit its script again" in gone.err


def _code(kubectl: Kubectl) -> list[str]:
    names = [str(item["metadata"]["name"]) for item in kubectl.items("configmaps")]
    return [name for name in names if "-code-" in name]


async def test_client_killed_before_the_code_leaves_a_job_that_ends_and_nothing_that_stays(
    there: OnCluster,
    with_crds: Kubernetes,
    kubectl: Kubectl,
    wait_for: WaitFor,
    tmp_path: Path,
) -> None:
    image = with_crds.image("dask")
    words = (*SMALL, "--image", image, "--token", "t", "--startup-deadline", "45s")
    code = ("--code", ".", "scripts/train.py", "--n", "3")
    # What is left of a client that was killed between the job and its code.
    rendered = await there.call("render", *words, *code)
    *_, job = yaml.safe_load_all(rendered.text)
    name = job["metadata"]["name"]
    kubectl("create", "-f", "-", stdin=yaml.safe_dump(job))
    async with operator(with_crds, there.namespace, tmp_path):
        status = wait_for("daskjob", name, ended, seconds=180)["status"]
        assert status["reason"] == "StartupDeadlineExceeded"
        assert f'configmap "{name}-code-' in status["message"], status["message"]
        assert "not found" in status["message"]
        assert (await there.call("delete", name)).code == 0
        await until(lambda: kubectl.there("daskjobs", "daskclusters", "pods", "services") == [])
        assert _code(kubectl) == []


async def test_submitting_again_completes_what_a_killed_client_has_not_sent(
    there: OnCluster,
    with_crds: Kubernetes,
    kubectl: Kubectl,
    tmp_path: Path,
) -> None:
    image = with_crds.image("dask")
    words = (
        *SMALL,
        "--image",
        image,
        "--token",
        "t",
        "--code",
        ".",
        "scripts/train.py",
        "--n",
        "3",
    )
    rendered = await there.call("render", *words)
    *_, job = yaml.safe_load_all(rendered.text)
    name = job["metadata"]["name"]
    async with operator(with_crds, there.namespace, tmp_path):
        kubectl("create", "-f", "-", stdin=yaml.safe_dump(job))
        await until(lambda: f"pod/{name}-runner" in kubectl.there("pods"))
        done = await there.call("submit", "--wait", *words)
        assert done.code == 0, done.err
        assert f"{name} was submitted before, with this token" in done.err
        assert done.text.splitlines()[0] == "worker (14, 'src/lib/tasks.py', 2)"
        assert len(kubectl.there("daskjobs")) == 1
