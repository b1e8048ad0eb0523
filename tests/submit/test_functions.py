"""``daskjob.submit``: functions as jobs; which ones can be sent, and what comes back."""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import math
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import daskjob
from daskjob import AsyncJobClient
from daskjob.core.errors import UnknownArgument, UserFailure, WrongArgument, WrongType
from daskjob.submit.functions.call import ARGUMENTS_LIMIT, SCRIPT_MODULE, call_of
from daskjob.submit.functions.job import cluster_submission, local_job, settings_by_key
from daskjob.submit.local import LocalJobs
from tests.in_pod.wheels import wheel

MODULE = """\
from distributed import get_client

from helper import double

def total(count, factor=1):
    client = get_client()
    return {"total": factor * sum(client.gather(client.map(double, range(count))))}

def text(length):
    return "x" * length

def thing():
    return object()

def fails(word):
    raise ValueError(f"no {word}")

async def awaited(value):
    return [value, None]
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module of the user, in the package ``calls``, which imports another one."""
    folder = tmp_path / "code"
    (folder / "calls").mkdir(parents=True)
    (folder / "calls" / "__init__.py").touch()
    (folder / "calls" / "sums.py").write_text(MODULE)
    (folder / "helper.py").write_text("def double(n):\n    return 2 * n\n")
    monkeypatch.syspath_prepend(str(folder))
    import calls.sums  # type: ignore[import-not-found]

    yield calls.sums
    for name in ("calls", "calls.sums", "helper"):
        sys.modules.pop(name, None)


def test_a_function_runs_on_the_workers_of_its_own_job(client: LocalJobs, module: Any) -> None:
    found = daskjob.submit(module.total, 10, 3, client=client, workers=1, name="sums")
    assert found == {"total": 270}
    job = client.find("sums")
    assert job.status.result == found
    assert job.manifest["spec"]["cluster"]["spec"]["worker"]["replicas"] == 1


def test_what_a_job_cannot_keep_is_a_failure_of_the_user(client: LocalJobs, module: Any) -> None:
    assert len(daskjob.submit(module.text, 4094, client=client, workers=0)) == 4094
    with pytest.raises(UserFailure, match=r"result of text has 4097 bytes as JSON.* keeps 4096"):
        daskjob.submit(module.text, 4095, client=client, workers=0)
    with pytest.raises(UserFailure, match="result of thing, of type object, is not JSON"):
        daskjob.submit(module.thing, client=client, workers=0)


def test_an_exception_of_the_function_is_named(client: LocalJobs, module: Any) -> None:
    with pytest.raises(UserFailure, match="ValueError: no data"):
        daskjob.submit(module.fails, "data", client=client, workers=0)


def test_the_async_twin_awaits_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    monkeypatch.setenv("DASKJOB_STATE_DIR", str(tmp_path / "state"))

    async def called() -> Any:
        async with AsyncJobClient.local() as client:
            return await daskjob.submit_async(module.awaited, 7, client=client, workers=0)

    assert asyncio.run(called()) == [7, None]


SCRIPT = """\
import daskjob
from daskjob import JobClient
from distributed import get_client

def double(n):
    return 2 * n

def total(count):
    client = get_client()
    return sum(client.gather(client.map(double, range(count))))

{guard}
    with JobClient.local() as client:
        print(daskjob.submit(total, 4, client=client, workers=1))
"""


def run_script(path: Path, guard: str) -> subprocess.CompletedProcess[str]:
    path.write_text(SCRIPT.format(guard=guard))
    return subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=100, check=False
    )


def test_a_function_of_the_script_itself_works(client: LocalJobs, tmp_path: Path) -> None:
    done = run_script(tmp_path / "my-script.py", 'if __name__ == "__main__":')
    assert (done.stdout, done.returncode) == ("12\n", 0), done.stderr
    assert len(client.list()) == 1


PACKAGED = """\
# /// script
# dependencies = ["colours"]
# [tool.daskjob]
# find-links = "{wheels}"
# ///
from distributed import get_client

def version():
    import colours
    return colours.VERSION

def versions():
    return [version(), get_client().submit(version).result()]
"""


def test_a_function_has_the_packages_that_its_module_declares(
    client: LocalJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path / "wheels", "colours", "2.0")
    (tmp_path / "packaged.py").write_text(PACKAGED.format(wheels=tmp_path / "wheels"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    packaged = importlib.import_module("packaged")
    try:
        assert daskjob.submit(packaged.versions, client=client, workers=1) == ["2.0", "2.0"]
        with pytest.raises(WrongArgument, match=r"dask==2000\.1 .* clashes with"):
            local_job(call_of(packaged.version, ()), {"packages": ("dask==2000.1",)})
    finally:
        sys.modules.pop("packaged")


def test_a_script_that_would_submit_itself_again_is_rejected(
    client: LocalJobs, tmp_path: Path
) -> None:
    done = run_script(tmp_path / "endless.py", "if True:")
    assert 'put it below if __name__ == "__main__":' in done.stderr
    assert "endless.py, line 14," in done.stderr
    assert not client.list()


def test_a_function_that_the_job_would_not_have_is_rejected(
    client: LocalJobs, tmp_path: Path
) -> None:
    guard = 'if __name__ == "__main__":\n    def total(count):\n        return count'
    done = run_script(tmp_path / "late.py", guard)
    assert "the function total of late.py, line 13, is below if __name__" in done.stderr
    assert not client.list()


def decorated(function: Callable[[], None]) -> Callable[[], None]:
    @functools.wraps(function)
    def changed() -> None:
        function()

    return changed


def plain(*values: Any) -> None:
    del values


@decorated
def wrapped() -> None:
    """Have this name in its module, and a wrapper in front of it."""


class Holder:
    def method(self) -> None:
        """Be no function of a module."""


def nested() -> Callable[[], None]:
    def inner() -> None:
        """Be inside of another one."""

    return inner


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: 1, "a lambda cannot be sent: write a function with def"),
        (nested(), "inside of another function.*write it into a module"),
        (Holder.method, "of a class"),
        (wrapped.__wrapped__, "was decorated or replaced"),  # type: ignore[attr-defined]
    ],
)
def test_functions_that_cannot_be_sent_are_rejected(
    function: Callable[..., Any], message: str
) -> None:
    with pytest.raises(WrongArgument, match=message):
        call_of(function, [])


@pytest.mark.parametrize("function", [math.sqrt, Holder, functools.partial(plain, 1)])
def test_what_is_no_function_is_rejected(function: Callable[..., Any]) -> None:
    with pytest.raises(WrongType, match="no function of a module"):
        call_of(function, [])


def test_arguments_that_a_function_does_not_take_are_rejected(module: Any) -> None:
    message = "the function total cannot be called with these arguments: missing a required"
    with pytest.raises(WrongArgument, match=message):
        call_of(module.total, [])
    with pytest.raises(WrongArgument, match="too many positional arguments"):
        call_of(module.total, [1, 2, 3])


def test_a_function_of_a_notebook_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    session = types.ModuleType("__main__")
    exec("def cell():\n    return 1\n", session.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", session)
    with pytest.raises(WrongArgument, match="of a notebook or of an interactive session: write it"):
        call_of(session.cell, [])


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({1, 2}, "argument 2 of the function plain is not JSON"),
        (float("nan"), "is not JSON"),
        ({1: "one"}, "all keys of a dict are texts"),
        ("x" * ARGUMENTS_LIMIT, "have 64 KiB as JSON, and a job takes 64"),
    ],
)
def test_arguments_that_are_not_json_are_rejected(argument: object, message: str) -> None:
    with pytest.raises(WrongArgument, match=message):
        call_of(plain, [1, argument])


def test_arguments_arrive_as_they_are() -> None:
    values = [1, -2.5, "$(HOME) é", None, True, {"a": [(1, 2)]}]
    assert json.loads(call_of(plain, values).arguments) == [*values[:-1], {"a": [[1, 2]]}]


def test_settings_are_those_of_submit() -> None:
    assert settings_by_key({"runner_memory": "4Gi", "workers": None}) == {"runner-memory": "4Gi"}
    with pytest.raises(UnknownArgument, match=r"there is no setting 'worker'.*workers"):
        settings_by_key({"worker": 4})


def test_settings_of_clusters_are_rejected_on_this_machine(module: Any) -> None:
    with pytest.raises(WrongArgument, match="image: jobs of this machine have workers"):
        local_job(call_of(module.total, [1]), {"image": "dask:1"})
    with pytest.raises(WrongArgument, match="workers"):
        local_job(call_of(module.total, [1]), {"workers": -1})


def test_a_job_of_a_cluster_has_the_module_and_what_it_imports(module: Any) -> None:
    call = call_of(module.total, [10])
    found = cluster_submission(call, {"workers": 3, "image": "dask:1", "memory": "4Gi"})
    spec = found.manifest["spec"]
    (runner,) = spec["job"]["spec"]["containers"]
    assert runner["args"][3:] == ["calls.sums", "total", "[10]"]
    assert spec["cluster"]["spec"]["worker"]["replicas"] == 3
    assert {"def total" in text for text in spec["job"]["files"].values()} == {True, False}
    assert any("def double" in text for text in spec["job"]["files"].values())


def test_a_wrong_setting_of_a_cluster_is_an_argument(module: Any) -> None:
    with pytest.raises(WrongArgument, match="memory"):
        cluster_submission(call_of(module.total, [10]), {"memory": "much"})


def test_a_script_is_sent_as_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "my-script.py"
    path.write_text("def double(n):\n    return 2 * n\n")
    script = types.ModuleType("__main__")
    script.__file__, script.__spec__ = str(path), None
    exec(path.read_text(), script.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", script)
    found = cluster_submission(call_of(script.double, [4]), {"image": "dask:1"})
    (runner,) = found.manifest["spec"]["job"]["spec"]["containers"]
    assert runner["args"][3:6] == [SCRIPT_MODULE, "double", "[4]"]
    assert runner["args"][6].endswith("/my-script.py")
