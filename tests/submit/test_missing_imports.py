"""What a script imports when it starts and its Python does not find: known before it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from daskjob.submit.cluster_job.imports import Folder
from daskjob.submit.cluster_job.missing_imports import missing_imports
from tests.submit.test_code_folder import write

#: Imports that may fail, or do not happen when the module is imported; and lines of a text.
FINE = '''\
"""
import prose
from the.text import lines
"""
import os, json as j, click
import beside.part, names.below
try:
    import fast
except ImportError:
    fast = None

def later():
    import much_later
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path / "src/sales/__init__.py", "from .sums import (\n    total,\n)\n")
    write(tmp_path / "src/sales/sums.py", "import click\nimport humanize_x as h, os\n")
    write(tmp_path / "src/sales/unused.py", "import not_imported\n")
    write(tmp_path / "src/sales/__main__.py", "from . import sums\nfrom gone.part import x\n")
    write(tmp_path / "beside.py", "")
    (tmp_path / "names").mkdir()
    return tmp_path


def missing(project: Path, text: str, *modules: str, packages: tuple[Path, ...] = ()) -> list[str]:
    folders = [Folder(project, after_library=False), Folder(project / "src", after_packages=True)]
    return missing_imports(
        text, folders, modules, python=sys.executable, environ=os.environ, packages=packages
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import sales", ["humanize_x"]),
        ("from sales import sums\nimport other_x.part, click", ["other_x", "humanize_x"]),
        ("import sales\nimport sys\nsys.path.append('lib')", []),
        (FINE, []),
        ("import wrong_x\ndef broken(:", []),
    ],
)
def test_imports_of_a_script_and_its_modules_are_looked_for(
    project: Path, text: str, found: list[str]
) -> None:
    assert missing(project, text) == found


def test_module_of_the_command_line_is_followed(project: Path) -> None:
    assert sorted(missing(project, "", "sales", "sales.__main__")) == ["gone", "humanize_x"]


def test_packages_for_this_run_are_there(project: Path) -> None:
    write(project / "overlay/humanize_x/__init__.py", "")
    assert missing(project, "import sales", packages=(project / "overlay",)) == []


def test_no_python_is_asked_about_a_script_that_has_all(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(subprocess, "run", never)
    assert missing(project, FINE) == []


def test_nothing_of_the_user_is_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    for name in ("json", "importlib", "sales"):
        write(project / f"{name}.py", "import humanize_x\nraise SystemExit(1)\n")
    assert missing(project, "import sales") == ["humanize_x"]
