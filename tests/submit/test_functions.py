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
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import yaml

import daskjob
from daskjob import AsyncJobClient
from daskjob.core.errors import UnknownArgument, UserFailure, WrongArgument, WrongType
from daskjob.core.manifests import is_too_deep
from daskjob.submit.functions.call import ARGUMENTS_LIMIT, SCRIPT_MODULE, call_of
from daskjob.submit.functions.call_program import Exited, UnfitResult, called, result_text
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

def fails(word):
    raise ValueError(f"no {word}")

async def awaited(value):
    return [value, None]

def both_passwords():
    import os
    get = os.environ.get
    return [get("PASSWORD"), get_client().submit(get, "PASSWORD").result()]
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


def nested(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels - 1):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (math.nan, "Out of range float"),
        ({1: "a", "1": "b"}, "the key 1 is no text"),
        ([{"a": ({None: 1},)}], "the key None is no text"),
        (2**63, "an integer has more than 64 bits"),
        ({"a": [-(2**63) - 1]}, "an integer has more than 64 bits"),
        ("\ud800", ".* surrogates not allowed"),
        (nested(101), "it is nested deeper than 100 levels"),
        (nested(200_000), "maximum recursion depth exceeded"),
        ({1, 2}, "Object of type set"),
        (object(), "Object of type object"),
        (numpy.datetime64("2026-01-01"), "Object of type date"),
    ],
)
def test_a_result_that_would_be_another_one_is_rejected_with_the_reason(
    result: object, why: str
) -> None:
    with pytest.raises(UnfitResult, match=rf"the result of f, of type .*, is not JSON \({why}"):
        result_text(result, "f")


@pytest.mark.parametrize("result", [nested(100), 2**63 - 1, -(2**63), True, None, {"ä": [1.5]}])
def test_a_result_of_json_is_that_of_the_jobs_status(result: object) -> None:
    assert json.loads(result_text(result, "f")) == result
    assert not is_too_deep(result)


def test_numbers_of_numpy_are_numbers() -> None:
    values = [numpy.int64(3), numpy.float32(0.5), numpy.bool_(True), {"a": numpy.uint8(1)}]
    assert json.loads(result_text(values, "f")) == [3, 0.5, True, {"a": 1}]


def test_the_text_of_an_exit_is_the_reason() -> None:
    def leave(code: object) -> None:
        sys.exit(code)  # type: ignore[arg-type]

    with pytest.raises(Exited, match="no input"):
        called(leave, ["no input"])
    for code in (0, 3):
        with pytest.raises(SystemExit):
            called(leave, [code])


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
# workers = 4
# retries = 3
# find-links = "{wheels}"
# ///
from distributed import get_client

def version():
    import colours
    return colours.VERSION

def versions():
    return [version(), get_client().submit(version).result()]
"""


def test_a_function_has_the_packages_and_settings_that_its_module_declares(
    client: LocalJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path / "wheels", "colours", "2.0")
    (tmp_path / "packaged.py").write_text(PACKAGED.format(wheels=tmp_path / "wheels"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    packaged = importlib.import_module("packaged")
    try:
        assert daskjob.submit(packaged.versions, client=client, workers=1) == ["2.0", "2.0"]
        spec = local_job(call_of(packaged.version, ()), {"workers": 0}).manifest["spec"]
        assert (spec["backoffLimit"], spec["cluster"]["spec"]["worker"]["replicas"]) == (3, 0)
        with pytest.raises(WrongArgument, match=r"dask==2000\.1 .* clashes with"):
            local_job(call_of(packaged.version, ()), {"packages": ("dask==2000.1",)})
    finally:
        sys.modules.pop("packaged")


def test_a_function_gets_the_variables_of_a_file_which_no_manifest_has(
    client: LocalJobs, module: Any, tmp_path: Path
) -> None:
    file = tmp_path / "own.env"
    file.write_text("PASSWORD=s3cr3t\n")
    found = daskjob.submit(module.both_passwords, client=client, workers=1, env_file=str(file))
    assert found == ["s3cr3t", "s3cr3t"]
    assert "s3cr3t" not in json.dumps(client.find().manifest["spec"])
    sent = cluster_submission(
        call_of(module.both_passwords, []), {"image": "dask:1", "env-file": str(file)}
    )
    assert "s3cr3t" not in json.dumps(sent.manifest)
    (secret,) = sent.owned
    assert secret["kind"] == "Secret"
    assert list(secret["data"]) == ["PASSWORD"]
    with pytest.raises(WrongArgument, match=r"--env-file /no\.env cannot be read: No such file"):
        local_job(call_of(module.both_passwords, []), {"env-file": "/no.env"})


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


def yielding() -> Iterator[int]:
    yield 1


async def yielding_later() -> AsyncIterator[int]:
    yield 1


def stray() -> None:
    """Be of a module that cannot be imported."""


stray.__module__ = "nosuch_module"


class Holder:
    def method(self) -> None:
        """Be no function of a module."""


def outer() -> Callable[[], None]:
    def inner() -> None:
        """Be inside of another one."""

    return inner


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: 1, "a lambda cannot be sent: write a function with def"),
        (outer(), "inside of another function.*write it into a module"),
        (Holder.method, "of a class"),
        (yielding, "yields its values one by one.*return a list"),
        (yielding_later, "yields its values one by one.*return a list"),
        (stray, "of the module nosuch_module, which cannot be imported: write it into a module"),
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
        ("x" * ARGUMENTS_LIMIT, "have 65,543 bytes as JSON, and a job takes 65,536"),
        (nested(200_000), "argument 2 of the function plain is nested too deep for JSON"),
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


def test_a_function_of_an_installed_package_is_called_there_and_not_sent() -> None:
    for function, note in ((yaml.safe_load, "yaml is an installed package"), (json.loads, "")):
        found = cluster_submission(call_of(function, ["1"]), {"image": "dask:1"})
        assert "files" not in found.manifest["spec"]["job"]
        assert not found.owned
        assert any(note and text.startswith(note) for text in found.notes) is bool(note)


def test_a_folder_is_sent_with_the_function_if_it_is_asked_for(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(module.__file__).parents[1]
    (root / "table.csv").write_text("1,2")
    monkeypatch.chdir(root)
    call = call_of(module.total, [10])
    found = cluster_submission(call, {"image": "dask:1", "code": "."})
    assert "1,2" in found.manifest["spec"]["job"]["files"].values()
    with pytest.raises(WrongArgument, match="code image:a:1: a function is sent with its module"):
        cluster_submission(call, {"image": "dask:1", "code": "image:a:1"})


def test_what_a_function_will_miss_is_reported(module: Any) -> None:
    path = Path(module.__file__).with_name("sums.py")
    path.write_text(f"import nosuch_module\n{MODULE}")
    found = cluster_submission(call_of(module.total, [10]), {"image": "dask:1"})
    assert any("installed here: nosuch_module" in note for note in found.notes)


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
