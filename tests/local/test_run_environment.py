"""The packages and the code of runs: real installers, tiny wheels, a folder or an index of them."""

from __future__ import annotations

import errno
import io
import os
import select
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daskjob.backends.local import run_environment
from daskjob.backends.local.config import Config
from daskjob.backends.local.installer import LATER, NEVER, NotInstalled
from daskjob.backends.local.overlays import Cancelled
from daskjob.backends.local.python_facts import NoFacts, PythonFacts, python_facts
from daskjob.backends.local.run_environment import (
    Packages,
    RunCode,
    Wanted,
    count_of,
    packages_key,
)
from daskjob.backends.local.translate import python_path
from daskjob.core.spec import DaskJob, parse
from tests.in_pod.wheels import index, sha256, wheel

#: A process that installs, and that is killed meanwhile.
INSTALLING = """\
import os, sys
from pathlib import Path
from daskjob.backends.local.run_environment import Packages, Wanted

root, url = sys.argv[1:]
wanted = Wanted(("shapes==1.0",), index_urls=(url,))
Packages(wanted, python=sys.executable, environment=dict(os.environ), root=Path(root)).install()
"""


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    wheel(folder, "shapes", "1.0", ["colours>=1"])
    wheel(folder, "colours", "2.0")
    wheel(folder, "old-dask-tool", "1.0", ["dask<2000"])
    return folder


class User:
    """A user with a cache of overlays."""

    def __init__(self, folder: Path, wheels: Path, environment: Mapping[str, str]) -> None:
        self.root = folder / "overlays"
        self.wheels = wheels
        self.environment = environment
        self.made: list[Packages] = []

    def packages(self, *requirements: str, python: str = sys.executable, **wanted: Any) -> Packages:
        links = {"find_links": str(self.wheels), **wanted}
        found = Packages(
            Wanted(requirements, **links),
            python=python,
            environment=self.environment,
            root=self.root,
        )
        self.made.append(found)
        return found

    def installed(self, *requirements: str, **wanted: Any) -> set[str]:
        found = self.packages(*requirements, **wanted)
        found.install()
        assert found.folder
        return {path.name for path in found.folder.glob("*.py")}

    def failure(self, *requirements: str, **wanted: Any) -> NotInstalled:
        with pytest.raises(NotInstalled) as caught:
            self.packages(*requirements, **wanted).install()
        assert not [path for path in self.root.glob("*") if path.is_dir()]
        return caught.value


@pytest.fixture(params=["uv", "pip"])
def user(request: pytest.FixtureRequest, tmp_path: Path, wheels: Path) -> Iterator[User]:
    """A user with uv, and one without."""
    uv = f"{Path(sys.executable).parent}:" if request.param == "uv" else ""
    environment = {
        "PATH": f"{uv}/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "NO_PROXY": "127.0.0.1",
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "PIP_CONFIG_FILE": os.devnull,
    }
    if request.param == "pip":
        # The environment of the tests has the package uv.
        hidden = tmp_path / "hidden"
        hidden.mkdir()
        (hidden / "sitecustomize.py").write_text(
            "import importlib.util as util\n"
            "find = util.find_spec\n"
            "util.find_spec = lambda name, *rest: None if name == 'uv' else find(name, *rest)\n"
        )
        environment["PYTHONPATH"] = str(hidden)
    user = User(tmp_path, wheels, environment)
    yield user
    for packages in user.made:
        packages.close()


def test_locked_packages_are_installed_as_they_are(user: User) -> None:
    packages = user.packages("shapes==1.0", "colours==2.0", "dask")
    seen = []
    packages.on_activity = lambda: seen.append(packages.activity)
    packages.install()
    assert packages.folder
    assert {path.name for path in packages.folder.glob("*.py")} == {"shapes.py", "colours.py"}
    assert seen == ["installing 3 packages", ""]
    assert packages.note == ""


def test_open_requirements_bring_what_they_need(user: User) -> None:
    assert user.installed("shapes") == {"shapes.py", "colours.py"}


def test_the_second_run_installs_nothing(user: User, wheels: Path) -> None:
    user.installed("shapes==1.0")
    for path in wheels.iterdir():
        path.unlink()
    packages = user.packages("shapes==1.0")
    packages.on_activity = lambda: pytest.fail(packages.activity) if packages.activity else None
    packages.install()


def test_a_missing_package_is_named(user: User) -> None:
    failure = user.failure("nosuchpackage==1.0")
    assert failure.code == NEVER
    assert "nosuchpackage cannot be installed" in failure.message


def test_a_wrong_hash_is_reported(user: User) -> None:
    failure = user.failure(f"shapes==1.0 --hash=sha256:{'0' * 64}")
    assert failure.code == NEVER
    assert "other content than its hash" in failure.message


def test_the_right_hash_is_accepted(user: User, wheels: Path) -> None:
    (path,) = wheels.glob("colours-2.0*")
    assert user.installed(f"colours==2.0 --hash=sha256:{sha256(path)}") == {"colours.py"}


def test_a_clash_with_dask_is_one_sentence_without_images(user: User) -> None:
    failure = user.failure("old-dask-tool==1.0")
    assert failure.code == NEVER
    assert "clashes with dask" in failure.message
    assert "image" not in failure.message


def test_a_server_that_does_not_answer_may_answer_later(user: User, wheels: Path) -> None:
    with index(wheels, status=503) as url:
        user.environment = {**user.environment, "UV_HTTP_RETRIES": "0"}
        failure = user.failure("shapes==1.0", index_urls=(url,), find_links="")
    assert failure.code == LATER
    assert failure.message.endswith(
        'Check the network, or name a mirror in [tool.daskjob]: index-url = "URL"; or use a folder '
        'of wheels: find-links = "FOLDER".'
    )


def test_another_python_is_required(user: User) -> None:
    for requirements in ((), ("colours==2.0",)):
        failure = user.failure(*requirements, requires_python=">=3.99")
        assert failure.code == NEVER
        assert "the job requires >=3.99. Choose another Python (--python)" in failure.message


def test_the_login_of_a_secret_is_used(user: User, wheels: Path) -> None:
    login = {"username": b"ann", "password": b"secret"}
    with index(wheels, login="ann:secret") as url:
        wanted: dict[str, Any] = {"index_urls": (url,), "find_links": ""}
        assert user.installed("colours==2.0", **wanted, login=login) == {"colours.py"}


def test_full_disk_is_said_with_the_way_out(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_environment, "overlay", full)
    failure = user.failure("colours==2.0")
    assert "no space is left in" in failure.message
    assert "XDG_CACHE_HOME=FOLDER" in failure.message


def test_a_cache_that_cannot_be_written_is_done_without(user: User) -> None:
    cache = user.wheels / "file"
    cache.touch()
    user.environment = {**user.environment, "UV_CACHE_DIR": str(cache)}
    assert user.installed("shapes==1.0") == {"shapes.py"}


def test_a_python_that_is_none_is_named(user: User) -> None:
    failure = user.failure("colours==2.0", python="/bin/false")
    assert "/bin/false is no working Python" in failure.message
    with pytest.raises(NoFacts):
        python_facts("/nosuchpython", {})


class SlowIndex:
    """An index that accepts connections and answers nothing."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self.url = f"http://127.0.0.1:{server.getsockname()[1]}/simple/"

    def wait_until_asked(self) -> None:
        assert select.select([self._server], [], [], 30)[0]


@contextmanager
def slow_index() -> Iterator[SlowIndex]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield SlowIndex(server)


def test_cancelling_ends_the_installer(user: User) -> None:
    with slow_index() as index_:
        packages = user.packages("shapes==1.0", index_urls=(index_.url,), find_links="")

        def cancel() -> None:
            index_.wait_until_asked()
            packages.cancelled.set()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        with pytest.raises(Cancelled):
            packages.install()
        canceller.join()
        wait_until_gone(index_.url)


def test_the_installer_ends_with_a_killed_run_and_the_next_one_heals(
    user: User, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with slow_index() as index_:
        run = subprocess.Popen(
            [sys.executable, "-c", INSTALLING, str(user.root), index_.url],
            env={**os.environ, "TMPDIR": str(temporary)},
        )
        index_.wait_until_asked()
        # The settings, and logins if there are some.
        assert list(temporary.glob("daskjob-install-*/settings.json"))
        run.send_signal(signal.SIGKILL)
        run.wait()
        wait_until_gone(str(user.root))
    assert not list(temporary.glob("daskjob-install-*"))
    assert user.installed("shapes==1.0") == {"shapes.py"}


def wait_until_gone(text: str) -> None:
    """Wait until no process has this text in its command line: a killed one may still be dying."""
    end = time.monotonic() + 10
    while found := processes_with(text):
        assert time.monotonic() < end, found
        time.sleep(0.02)


def processes_with(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text in words:
            found.append(words)
    return found


# Names of overlays

FACTS = PythonFacts("3.12.1", ("3.12.1", "/venv", "linux"), {"dask": "2026.1", "numpy": "2.0"})


def other(**changes: Any) -> PythonFacts:
    return PythonFacts(
        FACTS.version,
        changes.get("identity", FACTS.identity),
        {**FACTS.installed, **changes.get("installed", {})},
    )


LOCKED = Wanted(("pandas==3.0 --hash=sha256:00", "numpy[x]==2.1 ; python_version > '3'"))
OPEN = Wanted(("pandas>=3",))


@pytest.mark.parametrize(
    ("wanted", "facts", "differs"),
    [
        (LOCKED, other(installed={"numpy": "2.1"}), True),
        (LOCKED, other(installed={"dask": "2026.2"}), True),
        (LOCKED, other(installed={"click": "8"}), False),
        (LOCKED, other(identity=("3.12.1", "/other", "linux")), True),
        (OPEN, other(installed={"click": "8"}), True),
        (OPEN, other(), False),
    ],
)
def test_the_name_has_what_decides_what_is_installed(
    wanted: Wanted, facts: PythonFacts, differs: bool
) -> None:
    assert (packages_key(wanted, FACTS) != packages_key(wanted, facts)) is differs


def test_the_name_has_the_lines_and_the_indexes() -> None:
    keys = {
        packages_key(wanted, FACTS)
        for wanted in (
            LOCKED,
            OPEN,
            Wanted(OPEN.requirements, index_urls=("https://example.org",)),
            Wanted(OPEN.requirements, find_links="/wheels"),
            Wanted(OPEN.requirements, login={"username": b"ann"}),
        )
    }
    assert len(keys) == 4


def test_packages_that_are_there_do_not_count() -> None:
    assert count_of(Wanted(("numpy==2.0", "pandas==3.0", "loose")), FACTS) == 2


# PYTHONPATH


@pytest.mark.parametrize(
    ("before", "inherited", "expected"),
    [
        ("", "", "/code/src:/code:/packages"),
        ("/script:/mine", "/mine", "/script:/code/src:/code:/packages:/mine"),
        ("/mine", "/mine", "/code/src:/code:/packages:/mine"),
        ("/script:/code/src:/code:/packages:/mine", "/mine", None),
    ],
)
def test_packages_come_after_the_code_and_before_what_was_there(
    before: str, inherited: str, expected: str | None
) -> None:
    found = python_path(Path("/code"), ("src", "."), Path("/packages"), before, inherited)
    assert found == (before if expected is None else expected)


# Code


def job(**code: Any) -> DaskJob:
    pod = {"spec": {"containers": [{"name": "main", "image": "any", "args": ["true"]}]}}
    cluster = {"spec": {"scheduler": pod, "worker": pod}}
    spec = {"job": pod, "cluster": cluster, "code": code}
    return parse(
        DaskJob,
        {
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskJob",
            "metadata": {"name": "sums", "namespace": "default", "uid": "1"},
            "spec": spec,
        },
    )


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def run_code(of: DaskJob, config: Config, scratch: Path) -> RunCode:
    return RunCode(of, config, environment=os.environ, scratch=scratch)


def test_an_archive_in_parts_is_unpacked(tmp_path: Path) -> None:
    data = archive(**{"src__sums.py": "answer = 42"})
    parts = {("ConfigMap", "a"): {"part": data[:50]}, ("ConfigMap", "b"): {"part": data[50:]}}
    code = run_code(job(configMaps=["a", "b"]), Config(parts), tmp_path)
    code.fetch()
    assert code.folder
    assert (code.folder / "src" / "sums.py").read_text() == "answer = 42"


def test_a_damaged_archive_is_reported(tmp_path: Path) -> None:
    config = Config({("ConfigMap", "a"): {"part": b"nothing"}})
    with pytest.raises(NotInstalled, match="archive cannot be read") as caught:
        run_code(job(configMaps=["a"]), config, tmp_path).fetch()
    assert caught.value.code == NEVER


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "sums.py").write_text("answer = 42")
    git = ["git", "-c", "user.name=ann", "-c", "user.email=ann@example.org", "-C", str(folder)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], check=True)
    return folder


def test_a_commit_is_fetched_once(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    head = ["git", "-C", str(repository), "rev-parse", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.file://{repository}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://example.org/repository")
    wanted = job(git={"url": "https://example.org/repository", "commit": commit})
    for _ in range(2):
        code = run_code(wanted, Config(), tmp_path)
        code.fetch()
        assert code.folder
        assert (code.folder / "sums.py").read_text() == "answer = 42"
        code.close()
        if (repository / ".git").exists():
            (repository / ".git").rename(repository / "gone")


def test_a_commit_that_does_not_exist_is_named(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.file://{repository}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://example.org/repository")
    wanted = job(git={"url": "https://example.org/repository", "commit": "0" * 40})
    with pytest.raises(NotInstalled) as caught:
        run_code(wanted, Config(), tmp_path).fetch()
    assert f"https://example.org/repository has no commit {'0' * 40}." in caught.value.message
