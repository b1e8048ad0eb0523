"""Notes on what a script says that will be otherwise on a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskjob.submit.cluster_job.doubts import doubts, installed_in, outside_folder


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
        "if TYPE_CHECKING:\n    import deep",
        "if sys.version_info < (3, 11):\n    import tomli\nelse:\n    import tomllib",
        "with suppress(ImportError):\n    import deep",
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


def test_a_file_that_is_no_text_is_reported_without_a_line() -> None:
    (note,) = notes("a\0b")
    assert note == (
        "a.py cannot be parsed: source code string cannot contain null bytes; the modules that it "
        "imports are not known"
    )


@pytest.mark.parametrize(
    "call", ["import_module(name)", "import_module(f'.{x}', 'p')", "pkgutil.iter_modules(path)"]
)
def test_modules_of_computed_names_are_reported_unless_the_folder_is_sent(call: str) -> None:
    (note,) = notes(f"import importlib\n{call}\n{call}")
    assert note.startswith("a.py, line 2: imports modules by computed names")
    assert doubts({"a.py": call}, installed_in(None), is_whole=True) == []


def test_modules_of_any_folder_that_is_sent_are_there() -> None:
    text = "import deep, fast"
    sent = ["vendor/deep/__init__.py", "vendor/fast.cpython-311-x86_64-linux-gnu.so"]
    assert doubts({"a.py": text}, installed_in(None), sent=sent) == []


def test_modules_of_another_project_are_reported_with_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/__init__.py").touch()
    (tmp_path / "single_other.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert outside_folder("single_other") == tmp_path
    assert [outside_folder(name) for name in ("yaml", "json", "nosuch_thing", "dask")] == [None] * 4
    (note,) = doubts({"a.py": "import other"}, installed_in(None), elsewhere=outside_folder)
    assert note.startswith(f"other is imported from {tmp_path} here, which is outside of the")
    assert f"PYTHONPATH={tmp_path} sends what is imported" in note


def test_warnings_about_the_users_code_are_left_to_python(
    recwarn: pytest.WarningsRecorder,
) -> None:
    assert notes(r"print('\d')") == []
    assert list(recwarn) == []
