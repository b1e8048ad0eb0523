"""The images for tests: their content, and when they are built."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import tomllib
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.cluster import images
from tests.cluster.packages import ensure_packages
from tests.cluster.providers import wanted
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="unpacking an image needs root")

NAMES = ("dask", "operator")
#: Time limit of a program in an image, on a busy machine.
PATIENCE_SECONDS = 180

#: The environment of a pod under Pod Security's "restricted" with a read-only root: the command is
#: process 1, has the image's user, and may write to /tmp.
CONTAINER = """
root=$1; user=$2; shift 2
mount --bind "$root" "$root" && mount -o remount,bind,ro "$root" &&
mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" &&
mount -t tmpfs tmpfs "$root/tmp" && exec chroot --userspec="$user:$user" --groups= "$root" "$@"
"""


@pytest.fixture(scope="module", autouse=True)
def builders() -> None:
    """The programs that build images; on a new machine, the first test installs them."""
    if images.missing_programs() and wanted() and not images.docker_answers():
        ensure_packages()
    if missing := images.missing_programs():
        pytest.skip(f"images cannot be built without {', '.join(missing)}")


@dataclass(frozen=True)
class Unpacked:
    """An image as a folder, and its configuration."""

    root: Path
    config: dict[str, Any]

    @property
    def user(self) -> str:
        return str(self.config["config"]["User"])

    @property
    def environment(self) -> dict[str, str]:
        return dict(entry.split("=", 1) for entry in self.config["config"]["Env"])

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a container with these ``args``."""
        isolated = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        command = [*self.config["config"]["Entrypoint"], *arguments]
        return subprocess.Popen(
            [*isolated, "sh", "-c", CONTAINER, "sh", str(self.root), self.user, *command],
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *arguments: str) -> str:
        """Run a container to its end; return its output."""
        with self.start(*arguments) as container:
            printed, _ = container.communicate(timeout=PATIENCE_SECONDS)
        assert container.returncode == 0, printed
        return printed


def from_archive(image: images.Image, file: str) -> Any:
    """Read a JSON file of an archive."""
    return json.loads(subprocess.check_output(["tar", "-xOf", image.archive, file]))


def layers(image: images.Image) -> list[str]:
    [manifest] = from_archive(image, "manifest.json")
    digests: list[str] = from_archive(image, manifest["Config"])["rootfs"]["diff_ids"]
    return digests


def unpack(image: images.Image, root: Path) -> Unpacked:
    [manifest] = from_archive(image, "manifest.json")
    assert manifest["RepoTags"] == [image.reference]
    for layer in manifest["Layers"]:
        script = 'tar -xOf "$1" "$2" | tar -x -C "$3"'
        subprocess.run(["sh", "-c", script, "sh", image.archive, layer, root], check=True)
    return Unpacked(root, from_archive(image, manifest["Config"]))


@pytest.fixture(scope="module")
def unpacked() -> Iterator[Callable[[str], Unpacked]]:
    """Return an image by its name; it is unpacked once, in memory if there is enough."""
    memory = Path("/dev/shm")
    enough = memory.is_dir() and shutil.disk_usage(memory).free > 2e9
    with tempfile.TemporaryDirectory(dir=memory if enough else None) as folder:

        @cache
        def of(name: str) -> Unpacked:
            root = Path(folder) / name
            root.mkdir()
            return unpack(images.image(name), root)

        yield of


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of all inputs of the images."""
    for name in ("images", "daskjob"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(images.ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(images.ROOT / name, tmp_path)
    return tmp_path


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DASKJOB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# Content


@pytest.mark.parametrize("name", NAMES)
def test_user_is_1000_and_cannot_write_to_any_file(
    unpacked: Callable[[str], Unpacked], name: str
) -> None:
    image = unpacked(name)
    assert image.user == "1000"
    writable = {
        str(path.relative_to(image.root))
        for path in image.root.rglob("*")
        if not path.is_symlink() and (path.lstat().st_uid == 1000 or path.lstat().st_mode & 0o002)
    }
    assert writable <= {"tmp", "var/tmp", "run/lock", "home/dask"}


def test_dask_image_runs_the_commands_of_the_documented_manifests(
    unpacked: Callable[[str], Unpacked],
) -> None:
    image = unpacked("dask")
    assert image.run("dask", "scheduler", "--version").startswith("dask, version 20")
    assert image.run("dask", "worker", "--version").startswith("dask, version 20")
    code = "import getpass, os; print(os.getuid(), getpass.getuser(), os.path.expanduser('~'))"
    assert image.run("python", "-c", code) == "1000 dask /home/dask\n"


def test_dask_image_has_the_versions_that_are_installed_here(
    unpacked: Callable[[str], Unpacked],
) -> None:
    code = "from importlib.metadata import distributions\n"
    code += "print(*(d.name + '==' + d.version for d in distributions()))"
    installed = {_plain(pin) for pin in unpacked("dask").run("python", "-c", code).split()}
    wanted = set(images.recipe("dask").arguments["PACKAGES"].split())
    assert {"dask", "distributed", "pandas", "airportsdata"} <= {p.split("==")[0] for p in wanted}
    assert wanted <= installed


def _plain(pin: str) -> str:
    return pin.lower().replace("_", "-")


def test_dask_image_computes_on_a_read_only_root(unpacked: Callable[[str], Unpacked]) -> None:
    code = """
import airportsdata, pandas, dask.dataframe as dd
from distributed import Client
airports = pandas.DataFrame(airportsdata.load().values())
with Client(n_workers=1, threads_per_worker=1, dashboard_address=None):
    frame = dd.from_pandas(airports[["country", "elevation"]], npartitions=2)
    print("feet:", frame.groupby("country").elevation.max().compute()["NP"])
"""
    [feet] = re.findall(r"^feet: (.+)$", unpacked("dask").run("python", "-c", code), re.MULTILINE)
    assert float(feet) > 10_000


def test_sigterm_ends_a_script_that_does_not_handle_it(
    unpacked: Callable[[str], Unpacked],
) -> None:
    script = "import time; print('up', flush=True); time.sleep(600)"
    with unpacked("dask").start("python", "-c", script) as container:
        assert container.stdout is not None
        assert container.stdout.readline() == "up\n"
        os.kill(children(container.pid)[0], signal.SIGTERM)
        assert container.wait(timeout=PATIENCE_SECONDS) == 128 + signal.SIGTERM


def test_operator_image_has_the_project(unpacked: Callable[[str], Unpacked]) -> None:
    image = unpacked("operator")
    assert re.search(r"^daskjob +\d", image.run("--version"), re.MULTILINE)
    module = Path("lib/python3.11/site-packages/daskjob/core/names.py")
    found = next((image.root / "opt/daskjob").glob(str(module).replace("3.11", "3*")))
    assert found.read_bytes() == (images.ROOT / "daskjob/core/names.py").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_processes_find_all_code_compiled(unpacked: Callable[[str], Unpacked], name: str) -> None:
    sources = [*(unpacked(name).root / "opt").rglob("site-packages/**/*.py")]
    assert len(sources) > 500
    assert [source for source in sources if not is_compiled(source)] == []


def is_compiled(source: Path) -> bool:
    """Return whether there is compiled code that does not depend on the source's time (PEP 552)."""
    found = (source.parent / "__pycache__").glob(f"{source.stem}.cpython-*.pyc")
    return any(path.read_bytes()[4:8] == b"\1\0\0\0" for path in found)


@pytest.mark.parametrize("name", NAMES)
def test_package_sources_are_not_in_an_image(
    unpacked: Callable[[str], Unpacked], name: str
) -> None:
    image = unpacked(name)
    told = re.compile(r"PIP_|CERT|CA_|SSL|PROXY|INDEX", re.IGNORECASE)
    assert not [key for key in image.environment if told.search(key)]
    assert not [path for path in ("etc/pip.conf", "run/secrets") if (image.root / path).exists()]
    for place in places():
        assert place not in json.dumps(image.config)
        assert files_with(place, image.root) == []


def places() -> set[str]:
    """The hosts and folders of this machine's package sources."""
    settings = images.pip_settings()
    urls = [
        settings.get(key, "") for key in ("index-url", "extra-index-url", "find-links", "proxy")
    ]
    words = " ".join(urls).split()
    if not images.docker_answers():
        words += [line.split()[1] for line in images.debian_sources()]
    return {urlsplit(word).hostname or word for word in words} - {public_index()}


def public_index() -> str | None:
    """The host of pip's default index, which is also the homepage of many packages."""
    said = subprocess.check_output([sys.executable, "-m", "pip", "install", "--help"], text=True)
    return urlsplit("".join(re.findall(r"\(default\s+(https:\S+)\)", said)[:1])).hostname


def files_with(text: str, root: Path) -> list[str]:
    search = ["grep", "--recursive", "--files-with-matches", "--fixed-strings", "--", text, "."]
    done = subprocess.run(search, cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


@pytest.mark.skipif(images.docker_answers(), reason="it is made where Docker does not build")
def test_base_image_has_no_data_about_the_machine_that_built_it(
    unpacked: Callable[[str], Unpacked],
) -> None:
    root = unpacked("dask").root
    left = ["etc/resolv.conf", "etc/hostname", "etc/apt/sources.list"]
    assert not [path for path in left if (root / path).exists()]
    assert not [*(root / "etc/apt/apt.conf.d").glob("*mmdebstrap")]
    assert not [*(root / "var/lib/apt/lists").glob("*_*")]


def test_only_debians_authorities_are_trusted(unpacked: Callable[[str], Unpacked]) -> None:
    root = unpacked("dask").root
    shipped = {
        path.read_text().strip() for path in (root / "usr/share/ca-certificates").rglob("*.crt")
    }
    bundle = (root / "etc/ssl/certs/ca-certificates.crt").read_text()
    trusted = re.findall(r"-----BEGIN.*?-----END CERTIFICATE-----", bundle, re.DOTALL)
    assert trusted
    assert set(trusted) <= shipped


def test_pause_reaps_orphans_and_ends_on_term(tmp_path: Path) -> None:
    root = unpack(images.pause(), tmp_path).root
    with subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", root / "pause"]) as shell:
        [pause] = children_when(shell.pid, 1)
        inside = ["nsenter", f"--target={pause}", "--pid", "sh", "-c", "sleep 600 &"]
        subprocess.run(inside, check=True)
        [orphan] = children_when(pause, 1)
        os.kill(orphan, signal.SIGKILL)
        children_when(pause, 0)
        os.kill(pause, signal.SIGTERM)
        assert shell.wait(timeout=PATIENCE_SECONDS) == 0


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def children_when(pid: int, count: int) -> list[int]:
    """Wait until a process has this many children, zombies included; return them."""
    wait_until(lambda: len(children(pid)) == count, shows=lambda: children(pid))
    return children(pid)


# Builds


@pytest.mark.parametrize("name", NAMES)
def test_unchanged_inputs_build_nothing(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    first = images.image(name)
    before = first.archive.stat()
    capsys.readouterr()
    assert images.image(name) == first
    after = first.archive.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("dask", "images/dask/Dockerfile"),
        ("conda", "images/conda/as_conda.py"),
        ("operator", "images/operator/Dockerfile"),
        ("operator", "pyproject.toml"),
        ("operator", "daskjob/core/names.py"),
        ("operator", "daskjob/new.py"),
    ],
)
def test_changed_input_changes_the_reference(checkout: Path, name: str, file: str) -> None:
    before = images.recipe(name, checkout).reference
    assert before == images.recipe(name).reference
    with (checkout / file).open("a") as changed:
        changed.write("\n# changed\n")
    assert images.recipe(name, checkout).reference != before


def test_compiled_code_does_not_change_the_reference(checkout: Path) -> None:
    before = images.recipe("operator", checkout).reference
    (checkout / "daskjob/core/__pycache__").mkdir()
    (checkout / "daskjob/core/__pycache__/names.pyc").write_bytes(b"")
    assert images.recipe("operator", checkout).reference == before


def test_changed_code_adds_one_new_layer(checkout: Path) -> None:
    before = layers(images.image("operator", checkout))
    # Twice, since the steps of earlier builds may have been removed.
    for _ in range(2):
        (checkout / "daskjob/new.py").write_text(f"# {uuid.uuid4()}\n")
        changed = images.image("operator", checkout)
        after = layers(changed)
        shutil.rmtree(changed.archive.parent)
        if after[:-1] == before[:-1]:
            assert after[-1] != before[-1]
            return
        before = after
    pytest.fail("everything was rebuilt")


def test_two_builds_at_once_build_once(
    empty_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    together = threading.Barrier(2)

    def build() -> images.Image:
        together.wait()
        return images.pause()

    with ThreadPoolExecutor() as pool:
        first, second = pool.submit(build), pool.submit(build)
    assert first.result() == second.result()
    assert first.result().archive.is_relative_to(empty_cache)
    assert capsys.readouterr().err.count("Building") == 1


@pytest.mark.usefixtures("empty_cache")
def test_used_archives_are_kept_and_old_ones_removed(tmp_path: Path) -> None:
    def build(number: int) -> images.Image:
        source = tmp_path / f"{number}.c"
        source.write_text(f"int main(void) {{ return {number}; }}\n")
        return images.built(images.pause_recipe(source))

    built = [build(number) for number in range(images.KEPT_ARCHIVES)]
    assert build(0) == built[0]
    new = build(9)
    assert [image.archive.exists() for image in (*built, new)] == [True, False, True, True]


def test_failed_build_shows_the_end_of_its_log_and_where_it_is(empty_cache: Path) -> None:
    recipe = replace(images.pause_recipe(), dockerfile="FROM scratch\nCOPY nowhere /\n")
    with pytest.raises(images.BuildFailed, match="nowhere") as failure:
        images.built(recipe)
    assert failure.value.log.is_relative_to(empty_cache)
    assert str(failure.value.log) in str(failure.value)
    assert "nowhere" in failure.value.log.read_text()


# Inputs of the builds


def test_dockerfile_installs_what_the_examples_need() -> None:
    dockerfile = (images.ROOT / "images/dask/Dockerfile").read_text()
    [packages] = re.findall(r'^ARG PACKAGES="(.*)"$', dockerfile, re.MULTILINE)
    project = tomllib.loads((images.ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split("[<>=]", text)[0] for text in project["optional-dependencies"]["examples"]}
    assert set(packages.split()) == {"distributed", *needed}


def test_settings_of_pip_come_from_the_environment_before_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nproxy = file.example:1\nretries = 7\n"
        "[install]\nextra-index-url =\n    https://one.example/simple\n    https://two.example/\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_PROXY", "environment.example:2")
    settings = images.pip_settings()
    assert settings["proxy"] == "environment.example:2"
    assert settings["retries"] == "7"
    assert settings["extra-index-url"] == "https://one.example/simple https://two.example/"
