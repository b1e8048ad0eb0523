"""The cache of overlays: installed once, whole or not at all, healed, and pruned."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from daskjob.backends.local import overlays
from daskjob.backends.local.overlays import (
    Building,
    Cancelled,
    Overlay,
    is_complete,
    overlay,
    overlay_key,
    overlays_root,
    prune,
)

KEY = overlay_key(["pandas==3.0.1", "3.11.7"])
OTHER = overlay_key(["pandas==3.0.2", "3.11.7"])

#: A process that holds an overlay of a key; its installation waits for a file.
BUILDER = """\
import os, sys, time
from pathlib import Path
from daskjob.backends.local.overlays import Building, overlay

root, key, gate, log = map(Path, sys.argv[1:])

def install(folder):
    with log.open("a") as file:
        file.write("installed\\n")
    (folder / "half.py").write_text("half")
    while not gate.exists():
        time.sleep(0.01)
    (folder / "package.py").write_text("answer = 42")

found = overlay(root, str(key), Building(install))
print((found.folder / "package.py").read_text(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder for overlays, which does not exist yet."""
    return tmp_path / "cache" / "overlays"


class Installer:
    """Installs a module, and counts how often."""

    def __init__(self, text: str = "answer = 42") -> None:
        self.count = 0
        self.text = text

    def __call__(self, folder: Path) -> None:
        self.count += 1
        (folder / "package").mkdir()
        (folder / "package" / "__init__.py").write_text(self.text)


@contextmanager
def held(root: Path, key: str, install: Installer) -> Iterator[Overlay]:
    found = overlay(root, key, Building(install))
    try:
        yield found
    finally:
        found.close()


def start(root: Path, gate: Path, log: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(root), KEY, str(gate), str(log)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: object) -> None:
    end = time.monotonic() + 30
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def end(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=30)
    return out


def test_it_is_below_the_cache_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert overlays_root() == tmp_path / "daskjob" / "overlays"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert overlays_root() == tmp_path / "home" / ".cache" / "daskjob" / "overlays"


def test_its_folder_is_the_users_alone(root: Path) -> None:
    with held(root, KEY, Installer()) as found:
        assert root.stat().st_mode & 0o777 == 0o700
        assert found.folder.stat().st_mode & 0o777 == 0o700


def test_what_is_there_is_not_installed_again(root: Path) -> None:
    install = Installer()
    for _ in range(3):
        with held(root, KEY, install) as found:
            assert (found.folder / "package" / "__init__.py").read_text() == "answer = 42"
    with held(root, OTHER, install):
        assert install.count == 2


def test_two_processes_at_once_install_it_once(root: Path, tmp_path: Path) -> None:
    gate, log = tmp_path / "gate", tmp_path / "log"
    two = [start(root, gate, log) for _ in range(2)]
    wait_for(log.exists)
    waits = threading.Event()
    third: list[Overlay] = []
    thread = threading.Thread(
        target=lambda: third.append(overlay(root, KEY, Building(Installer(), on_wait=waits.set)))
    )
    thread.start()
    assert waits.wait(30)
    gate.touch()
    thread.join(30)
    assert [end(process) for process in two] == ["answer = 42\n"] * 2
    assert log.read_text() == "installed\n"
    assert (third[0].folder / "package.py").exists()
    third[0].close()


def test_a_killed_installation_is_made_anew_and_leaves_nothing(root: Path, tmp_path: Path) -> None:
    gate, log = tmp_path / "gate", tmp_path / "log"
    first = start(root, gate, log)
    wait_for(lambda: list(root.glob(f"{KEY}.*/half.py")))
    first.send_signal(signal.SIGKILL)
    end(first)
    assert not (root / KEY).exists()
    with held(root, KEY, Installer()) as found:
        assert is_complete(found.folder)
        assert [path.name for path in root.iterdir() if path.is_dir()] == [KEY]


def test_a_failed_installation_leaves_nothing(root: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half.py").touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        overlay(root, KEY, Building(fail))
    assert not [path for path in root.iterdir() if path.is_dir()]
    with held(root, KEY, Installer()):
        assert is_complete(root / KEY)


@pytest.mark.parametrize("damage", ["removed", "emptied", "added", "marker"])
def test_a_damaged_one_is_installed_again(root: Path, damage: str) -> None:
    install = Installer()
    with held(root, KEY, install) as found:
        module = found.folder / "package" / "__init__.py"
    match damage:
        case "removed":
            module.unlink()
        case "emptied":
            module.write_text("")
        case "added":
            (found.folder / "package" / "half").touch()
        case "marker":
            (found.folder / overlays.MARKER).write_text("{")
    with held(root, KEY, install) as found:
        assert install.count == 2
        assert (found.folder / "package" / "__init__.py").read_text() == "answer = 42"


def test_what_python_compiles_is_no_damage(root: Path) -> None:
    install = Installer()
    with held(root, KEY, install) as found:
        subprocess.run(
            [sys.executable, "-c", "import package"],
            env={"PYTHONPATH": str(found.folder)},
            check=True,
        )
        assert (found.folder / "package" / "__pycache__").is_dir()
    with held(root, KEY, install):
        assert install.count == 1


def test_a_wait_for_another_process_ends_when_the_run_is_cancelled(
    root: Path, tmp_path: Path
) -> None:
    gate, log = tmp_path / "gate", tmp_path / "log"
    first = start(root, gate, log)
    wait_for(log.exists)
    cancelled = threading.Event()
    with pytest.raises(Cancelled):
        overlay(root, KEY, Building(Installer(), on_wait=cancelled.set, cancelled=cancelled))
    gate.touch()
    assert end(first) == "answer = 42\n"


def test_a_cache_of_others_is_not_used(root: Path) -> None:
    root.mkdir(parents=True)
    root.chmod(0o777)
    with held(root, KEY, Installer()) as found:
        assert found.folder.parent != root
        assert "installed for this run only" in found.note
        assert "XDG_CACHE_HOME" in found.note
        assert (found.folder / "package").is_dir()
    assert not found.folder.exists()
    assert not list(root.iterdir())


def test_a_cache_that_no_path_can_name_is_not_used(tmp_path: Path) -> None:
    root = tmp_path / "a:b" / "overlays"
    with held(root, KEY, Installer()) as found:
        assert ":" not in str(found.folder)
        assert (found.folder / "package/__init__.py").exists()
        assert "':' would separate folders of PYTHONPATH" in found.note
        assert "installed for this run only" in found.note
    assert not root.exists()


def test_a_planted_overlay_is_not_used(root: Path, tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    with held(root, KEY, Installer("planted")) as found:
        found.folder.rename(planted)
    (root / KEY).symlink_to(planted)
    with held(root, KEY, Installer()) as found:
        assert (found.folder / "package" / "__init__.py").read_text() == "answer = 42"
        assert not found.folder.is_symlink()


def test_a_cache_that_cannot_be_written_is_used_if_it_has_the_overlay(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(root, KEY, Installer()):
        pass

    def read_only(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(overlays, "own_file", read_only)
    install = Installer()
    with held(root, KEY, install) as found:
        assert (install.count, found.note, found.folder) == (0, "", root / KEY)
    with held(root, OTHER, install) as found:
        assert "(Read-only file system)" in found.note


def test_old_ones_are_pruned_and_those_above_the_number(root: Path) -> None:
    keys = [overlay_key([str(number)]) for number in range(5)]
    for age, key in enumerate(keys):
        with held(root, key, Installer()):
            pass
        os.utime(root / f"{key}.use", (time.time() - age * 100,) * 2)
    prune(root, kept=4, seconds=250)
    assert sorted(path.name for path in root.iterdir() if path.is_dir()) == sorted(keys[:3])
    assert not list(root.glob(f"{keys[4]}*"))
    prune(root, kept=1, seconds=250)
    assert [path.name for path in root.iterdir() if path.is_dir()] == keys[:1]


def test_one_in_use_is_never_pruned(root: Path) -> None:
    with ExitStack() as used:
        used.enter_context(held(root, KEY, Installer()))
        with held(root, OTHER, Installer()):
            pass
        os.utime(root / f"{KEY}.use", (0, 0))
        prune(root, kept=0, seconds=0)
        assert [path.name for path in root.iterdir() if path.is_dir()] == [KEY]
    prune(root, kept=0)
    assert not list(root.iterdir())


def test_an_overlay_that_was_pruned_is_installed_again(root: Path) -> None:
    install = Installer()
    with held(root, KEY, install):
        pass
    prune(root, kept=0)
    with held(root, KEY, install):
        assert install.count == 2
