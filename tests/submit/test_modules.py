"""Which modules a Python can run with ``-m``, and which were probably meant."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from daskjob.submit.modules import missing_module


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: modules whose import would fail, and a folder of others."""
    files = {
        "pkg/__init__.py": "raise AssertionError('imported')",
        "pkg/main.py": "",
        "pkg/steps.py": "",
        "tool/__main__.py": "",
        "growing/__init__.py": "__path__.append('/elsewhere')",
        "single.py": "raise AssertionError('imported')",
        "source/elsewhere.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def search(name: str, *options: str, **environ: str) -> str:
    variables = {"PATH": os.environ["PATH"], **environ}
    return missing_module(sys.executable, name, options=options, environ=variables)


@pytest.mark.parametrize(
    "name",
    ["single", "pkg.main", "tool", "json.tool", "timeit", "pytest", "growing.more", "growing"],
)
def test_module_that_may_run_is_not_rejected(folder: Path, name: str) -> None:
    del folder
    assert search(name) == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("singel", "there is no module 'singel'; did you mean daskjob run -m single?"),
        ("pytst", "there is no module 'pytst'; did you mean daskjob run -m pytest?"),
        ("pkg.mian", "there is no module 'pkg.mian'; did you mean daskjob run -m pkg.main?"),
        ("pkgs.main", "there is no module 'pkgs'; did you mean daskjob run -m pkg.main?"),
        ("json.toll", "there is no module 'json.toll'; did you mean daskjob run -m json.tool?"),
        ("single.main", "there is no module 'single.main': single is a module, not a package"),
        ("pkg", "without __main__.py, which -m needs; did you mean daskjob run -m pkg.main?"),
        ("xml", "without __main__.py, which -m needs; its modules: dom, etree, parsers, sax"),
        ("zzzzz", f"there is no module 'zzzzz' in this folder or for {sys.executable}"),
    ],
)
def test_missing_module_is_named_with_a_similar_one_and_nothing_is_imported(
    folder: Path, name: str, message: str
) -> None:
    del folder
    assert message in search(name)


def test_path_is_that_of_the_variables_and_options_of_python(folder: Path) -> None:
    assert search("elsewhere") != ""
    assert search("elsewhere", PYTHONPATH=str(folder / "source")) == ""
    assert search("elsewhere", "-I", PYTHONPATH=str(folder / "source")) != ""
    assert search("single", "-u", "-W", "error") == ""
    assert search("single", "-I") != ""


def test_python_that_cannot_search_is_left_to_report_it() -> None:
    assert missing_module("/bin/false", "zzzzz", environ={}) == ""
    assert missing_module("/bin/true", "zzzzz", environ={}) == ""
    assert missing_module("/no/such/python", "zzzzz", environ={}) == ""
