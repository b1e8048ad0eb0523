"""The folders of a project that a script imports from, beside those that Python searches."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskjob.submit.cluster_job.program import Sources
from daskjob.submit.cluster_job.project_path import project_path
from tests.submit.test_code_folder import write


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path / "src/measures/__init__.py", "from .reading import values\n")
    write(tmp_path / "src/measures/reading.py", "values = 1\n")
    write(tmp_path / "tools.py", "import measures\n")
    write(tmp_path / "scripts/own.py", "")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "folders"),
    [
        ("import measures", ["src"]),
        ("from measures.reading import values", ["src"]),
        ("import own, json", []),
        ("import tools", ["src", "."]),
        # An installed package comes first, as on a cluster.
        ("import click", []),
        ("def wrong(:", []),
    ],
)
def test_only_folders_that_the_script_imports_from_are_added(
    project: Path, text: str, folders: list[str]
) -> None:
    write(project / "src/click/__init__.py", "")
    found = project_path(text, Sources(project=project), project / "scripts")
    assert found == tuple(str(project / folder) for folder in folders)


def test_modules_of_the_command_line_are_found(project: Path) -> None:
    found = project_path("", Sources(project=project), project, ["measures.reading"])
    assert found == (str(project / "src"),)


def test_what_python_searches_already_is_not_added_again(project: Path) -> None:
    sources = Sources(project=project, python_path=(project / "src",))
    assert project_path("import measures", sources, project) == ()
    assert project_path("import measures", Sources(), project) == ()
