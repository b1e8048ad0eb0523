"""Notes on what a script says that will be otherwise on a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskjob.submit.cluster_job.doubts import doubts, installed_in


def notes(text: str, **files: str) -> list[str]:
    places = {name.replace("__", "/") + ".py": content for name, content in files.items()}
    return doubts({"a.py": text, **places}, installed_in(None))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import nosuch_thing, deep", "nosuch_thing, deep"),
        ("def f():\n    from deep.er import x", "deep"),
        ("import json, deep\nfrom . import near", "deep"),
    ],
)
def test_modules_that_are_nowhere_are_named(text: str, found: str) -> None:
    (note,) = notes(text)
    assert f"installed here: {found}. Name their packages (--with PACKAGE" in note


@pytest.mark.parametrize(
    "text",
    [
        "import json, dask.array, near.er, helper",
        "try:\n    import ujson as json\nexcept ImportError:\n    import json",
        "import importlib\nimportlib.import_module('nosuch_thing')",
    ],
)
def test_modules_that_are_sent_installed_or_optional_are_not(text: str) -> None:
    assert notes(text, near__er="", helper="") == []


def test_an_environment_is_searched_too(tmp_path: Path) -> None:
    package = tmp_path / "lib/python3.11/site-packages/only_there"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    assert not installed_in(None)("only_there")
    assert installed_in(tmp_path)("only_there")


@pytest.mark.parametrize(
    ("call", "flags"),
    [
        ("LocalCluster(n_workers=5, threads_per_worker=3, memory_limit='1GiB')",
         "--workers 5 --threads 3 --memory 1GiB"),
        ("distributed.LocalCluster(n_workers=N)", "--workers …"),
        ("Client(n_workers=2)", "--workers 2"),
    ],
)  # fmt: skip
def test_a_cluster_of_the_script_is_reported_with_the_settings_that_do_it(
    call: str, flags: str
) -> None:
    (note,) = notes(f"import distributed\ncluster = {call}\n")
    assert note.startswith("a.py, line 2: ")
    assert note.endswith(f"Write Client(). The job's workers are set by {flags}.")


def test_other_clients_are_not_reported() -> None:
    assert notes("client = Client()\nother = Client('tcp://x:1', timeout=3)\n") == []


def test_a_syntax_error_is_reported_by_its_line() -> None:
    (note,) = notes("import json\ndef f(:\n")
    assert note.startswith("a.py, line 2: invalid syntax")
