"""The packages of a run: none if its Python has them, else those that it lacks."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from daskjob.submit.environment.local import environment_of_run
from daskjob.submit.environment.uv import find_uv
from daskjob.submit.environment.wanted import (
    Given,
    Indexes,
    NotResolved,
    Resolved,
    UnfitEnvironment,
)
from tests.submit.package_index import Index, serving, variables_for
from tests.submit.test_environment import block, pins


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    folder = tmp_path / "index"
    folder.mkdir()
    with serving(Index(folder)) as found:
        found.add("tiny", "1.0", requires=["base; extra == 'more'"])
        found.add("tiny", "2.0", requires=["base; extra == 'more'"])
        found.add("base", "1.0")
        found.add("dask", "2026.8.0")
        yield found


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    return folder


class Run:
    """A user whose environment has tiny 1.0 and dask 2026.8.0."""

    def __init__(self, folder: Path, index: Index, bare: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self.index = index
        self.python = str(bare / "bin/python")
        self.environ = variables_for(index, folder)
        (packages,) = bare.glob("lib/python3.*/site-packages")
        for name in ("tiny-1.0", "dask-2026.8.0"):
            install = [find_uv(self.environ), "pip", "install", "--quiet", "--no-deps"]
            where = ["--target", str(packages), "--python", self.python]
            subprocess.run(
                [*install, *where, name.replace("-", "==")],
                env=self.environ,
                check=True,
            )
        index.asked.clear()

    def resolve(self, text: str, *packages: str, find_links: str = "") -> Resolved:
        return environment_of_run(
            text,
            "sums.py",
            self.folder,
            given=Given(packages, indexes=Indexes(find_links=find_links)),
            python=self.python,
            environ=self.environ,
        )


@pytest.fixture
def run(tmp_path: Path, index: Index, bare: Path) -> Run:
    return Run(tmp_path, index, bare)


@pytest.mark.parametrize(
    "wanted",
    [["tiny"], ["tiny<2", "dask"], ["gone; python_version < '3.9'", "tiny==1.0"]],
)
def test_what_is_installed_already_asks_no_index(run: Run, wanted: list[str]) -> None:
    assert run.resolve(block(*wanted)).manifest() == {}
    assert run.index.asked == []


def test_what_is_missing_is_resolved_for_this_python(run: Run) -> None:
    assert pins(run.resolve(block("tiny>=2"))) == ["tiny==2.0"]
    assert pins(run.resolve(block("tiny"), "base")) == ["base==1.0", "tiny==2.0"]
    # An extra that is not installed.
    assert "base==1.0" in pins(run.resolve(block("tiny[more]==1.0")))


def test_wheels_that_only_pods_have_are_not_looked_for(run: Run) -> None:
    found = run.resolve(block("tiny>=2"), find_links="/wheels/of/pods")
    assert found.manifest()["requirements"][0].startswith("tiny==2.0 ")
    assert "findLinks" not in found.manifest()
    assert [note for note in found.notes if "/wheels/of/pods" in note] == [
        "/wheels/of/pods is not on this machine: packages are installed from the index that it asks"
    ]
    here = str(run.index.folder)
    assert run.resolve(block("tiny>=2"), find_links=here).manifest()["findLinks"] == here


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_full_disk_under_the_cache_of_uv_is_no_obstacle(run: Run, tmp_path: Path) -> None:
    cache = tmp_path / "full"
    cache.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", cache], check=True)
    try:
        run.environ["UV_CACHE_DIR"] = str(cache)
        assert pins(run.resolve(block("tiny>=2"))) == ["tiny==2.0"]
    finally:
        subprocess.run(["umount", cache], check=True)


def test_index_that_does_not_answer_any_more_leaves_the_versions_of_before(run: Run) -> None:
    run.environ["UV_HTTP_RETRIES"] = "0"
    before = run.resolve(block("tiny>=2"))
    run.index.is_down = True
    found = run.resolve(block("tiny>=2"))
    assert found.manifest() == before.manifest()
    assert found.notes[-1].startswith("the index does not answer: the versions of packages")


def test_index_that_never_answered_names_what_helps_a_run(run: Run) -> None:
    run.environ["UV_HTTP_RETRIES"] = "0"
    run.index.is_down = True
    with pytest.raises(NotResolved) as caught:
        run.resolve(block("tiny>=2"))
    message = str(caught.value)
    for way in ('index-url = "URL"', 'find-links = "FOLDER"', "--no-install"):
        assert way in message
    # Options that `daskjob run` has not.
    for way in ("--index-url", "--mount", "--image"):
        assert way not in message


def test_other_dask_than_the_pythons_names_both(run: Run) -> None:
    with pytest.raises(UnfitEnvironment) as caught:
        run.resolve(block("dask<2026"))
    assert str(caught.value) == (
        f"dask<2026 (dependencies of sums.py) clashes with {run.python}, which has dask 2026.8.0, "
        "and a job keeps that one: choose another Python: --python PATH, or require dask==2026.8.0"
    )


@pytest.mark.parametrize("package", ["tiny", "base"])
def test_other_python_is_an_error_with_the_option(run: Run, package: str) -> None:
    with pytest.raises(UnfitEnvironment) as caught:
        run.resolve(block(package).replace(">=3.11", ">=3.99"))
    have = ".".join(map(str, sys.version_info[:3]))
    assert str(caught.value) == (
        f"sums.py requires Python >=3.99, and {run.python} has {have}; choose another Python: "
        "--python PATH"
    )


def test_lock_without_uv_runs_with_what_is_installed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run.folder / "pyproject.toml").write_text("[project]\nname = 'sums'\n")
    (run.folder / "uv.lock").write_text("version = 1\n")
    run.environ["PATH"] = ""
    monkeypatch.setitem(sys.modules, "uv", None)
    found = run.resolve("import tiny")
    assert found.manifest() == {}
    assert "there is no uv to read it" in found.notes[0]
    assert found.notes[0].endswith("; runs with what is installed")
    with pytest.raises(NotResolved):
        run.resolve("import tiny", "base")


def test_program_that_is_no_python_is_named(run: Run) -> None:
    run.python = "/bin/false"
    with pytest.raises(NotResolved, match="/bin/false is no working Python"):
        run.resolve(block("tiny"))
