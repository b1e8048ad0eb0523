"""Where the processes of a run write."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from daskjob.backends.local.scratch import temporary_directory
from daskjob.core.spec import ClusterSpec, DaskJob, parse
from tests.cli.command import job

VARIABLE = "DASK_TEMPORARY_DIRECTORY"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def parent_of(
    tmp_path: Path, environment: dict[str, str], cluster: ClusterSpec | None = None
) -> Path:
    known = {"HOME": str(tmp_path / "home"), "DASK_ROOT_CONFIG": str(tmp_path / "etc")}
    made = temporary_directory(cluster, {**known, **environment}, tmp_path, prefix="daskjob-a-")
    assert made.name.startswith("daskjob-a-")
    return made.parent


def configuration(folder: Path, text: str, name: str = "dask.yaml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder


def cluster_with(value: str | None) -> ClusterSpec | None:
    variable = {"name": VARIABLE} | ({} if value is None else {"value": value})
    return parse(DaskJob, job("pass", worker={"env": [variable]})).cluster


def test_it_is_the_systems_folder_where_nothing_is_configured(
    tmp_path: Path, temporary: Path
) -> None:
    assert parent_of(tmp_path, {}) == temporary


def test_the_variable_wins_over_the_configuration(tmp_path: Path) -> None:
    config = configuration(tmp_path / "config", f"temporary-directory: {tmp_path}/file")
    assert parent_of(tmp_path, {"DASK_CONFIG": str(config)}) == tmp_path / "file"
    both = {"DASK_CONFIG": str(config), VARIABLE: f"{tmp_path}/variable"}
    assert parent_of(tmp_path, both) == tmp_path / "variable"


def test_the_workers_own_variable_wins_and_may_be_the_users(tmp_path: Path) -> None:
    environment = {VARIABLE: f"{tmp_path}/user"}
    assert parent_of(tmp_path, environment, cluster_with(f"{tmp_path}/w")) == tmp_path / "w"
    assert parent_of(tmp_path, environment, cluster_with(None)) == tmp_path / "user"


@pytest.mark.parametrize(
    ("folder", "name", "text"),
    [
        ("home/.config/dask", "dask.yaml", "temporary-directory: {0}/large"),
        ("home/.config/dask", "any.yml", "distributed: {{}}\n'temporary_directory': {0}/large\n"),
        ("etc", "dask.yaml", "temporary-directory: $LARGE"),
        ("etc", "dask.json", '{{"temporary-directory": "{0}/large"}}'),
    ],
)
def test_files_of_dasks_configuration_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, name: str, text: str
) -> None:
    monkeypatch.setenv("LARGE", f"{tmp_path}/large")
    configuration(tmp_path / folder, text.format(tmp_path), name)
    assert parent_of(tmp_path, {}) == tmp_path / "large"


@pytest.mark.parametrize("text", ["temporary-directory: null", "temporary-directory: [", "- a", ""])
def test_files_without_a_folder_change_nothing(tmp_path: Path, temporary: Path, text: str) -> None:
    configuration(tmp_path / "etc", text)
    assert parent_of(tmp_path, {}) == temporary
