"""Builds are done once, atomically, and by one process at a time."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.cluster import binaries, packages, runtime
from tests.cluster.cache import input_hash, kept
from tests.cluster.packages import Missing


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DASKJOB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "daskjob"


def test_second_build_of_the_same_inputs_builds_nothing() -> None:
    built = []

    def make(folder: Path) -> None:
        built.append(folder)
        (folder / "program").write_text("x")

    assert kept("thing", "a", make) == kept("thing", "a", make)
    kept("thing", "b", make)
    assert len(built) == 2


def test_failed_build_leaves_nothing_in_the_cache() -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        kept("thing", "a", fail)
    folder = kept("thing", "a", lambda folder: (folder / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_two_processes_at_once_build_once(tmp_path: Path) -> None:
    code = """
        import pathlib, sys, time
        from tests.cluster.cache import kept
        def make(folder):
            with pathlib.Path(sys.argv[1]).open("a") as log:
                log.write("built\\n")
            time.sleep(0.5)
        kept("thing", "a", make)
    """
    log = tmp_path / "log"
    command = [sys.executable, "-c", textwrap.dedent(code), str(log)]
    root = Path(__file__).parents[2]
    both = [subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert log.read_text() == "built\n"


def test_hash_changes_with_the_content_and_the_name_of_any_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = input_hash(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = input_hash(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, second, input_hash(tmp_path)}) == 3
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "b.pyc").write_text("x")
    assert input_hash(tmp_path) == input_hash(tmp_path)


def test_old_or_missing_go_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(Missing, match=r"needs Go 1\.24 or newer; there is none"):
        binaries.binary("etcd")
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho go1.19.8\n")
    go.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda *_, **__: str(go))
    with pytest.raises(Missing, match=r"go is go1\.19\.8"):
        binaries.binary("etcd")


def test_missing_programs_are_listed_in_one_message_if_they_cannot_be_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packages, "SEARCHED", "/nowhere")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(Missing) as raised:
        packages.ensure_packages()
    message = str(raised.value)
    assert "needs runc, iptables, conntrack" in message
    assert "apt-get install buildah conntrack ethtool" in message


def test_versions_of_builds_are_pinned() -> None:
    text = (binaries.TOOLS / "go.mod").read_text()
    assert (binaries.TOOLS / "go.sum").is_file()
    for name, package in binaries.PROGRAMS.items():
        own = binaries.TOOLS / package / "main.go"
        assert own.is_file() if package.startswith("./") else f"\t{package}\n" in text, name
    assert (runtime.MODULE / "go.sum").is_file()
    for package in runtime.PROGRAMS.values():
        assert f"\t{package}\n" in (runtime.MODULE / "go.mod").read_text()
