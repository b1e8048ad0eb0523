"""Container images for tests, built on this machine without a registry.

An image's tag is the hash of all its inputs, so an image on a node is never outdated; nodes import
its archive. If a Docker engine answers, Docker builds, from Python's official image. Otherwise
buildah does, as root, with its own storage, from a Debian that mmdebstrap installs from the
machine's package sources.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.cluster.cache import cache_folder, exclusive, input_hash, kept, say
from tests.cluster.packages import PROGRAMS, SEARCHED, Missing, program

ROOT = Path(__file__).parents[2]
PAUSE_SOURCE = Path(__file__).with_name("pause.c")
#: Names below .test never resolve (RFC 6761): a node without an image cannot pull another one.
HOST = "daskjob.test"
#: The number of archives of an image to keep, most recently used first; the largest have 0.5 GB.
KEPT_ARCHIVES = 3
#: The number of build steps that buildah keeps; a change of the operator's code adds eight.
KEPT_STEPS = 300
#: The length of a failed build's output in the error.
LOG_LINES = 25
#: The images of a checkout.
NAMES = ("dask", "operator", "dask2025", "jupyter", "conda")
#: With these, `dask-worker` and `dask worker` both work; the pandas is of that year, too.
DASK_2025 = ("dask==2025.7.0", "distributed==2025.7.0", "pandas==2.3.1")
#: In the image `conda`.
UV = "uv==0.13.9"
#: The folders of images that are not named like theirs.
FOLDERS = {"dask2025": "dask"}


class BuildFailed(Missing):
    """An image could not be built; the message has the end of the log, and its path."""

    def __init__(self, program: str, code: int, log: Path) -> None:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
        super().__init__(f"{program} exited with {code}. Its log is {log}, which ends with:\n{end}")
        self.log = log


@dataclass(frozen=True, slots=True)
class Image:
    """An image that has been built."""

    #: Its name in pods, with ``imagePullPolicy: IfNotPresent``.
    reference: str
    #: The archive, in the format of ``docker save``.
    archive: Path

    def push(self, registry: str) -> str:
        """Push it to a registry (``HOST/PATH``); return its name there."""
        name = f"{registry}/{self.reference.removeprefix(f'{HOST}/')}"
        say(f"Pushing {name} ...")
        log = Log(cache_folder() / "push.log")
        if docker_answers():
            log.run("docker", "tag", self.reference, name)
            log.run("docker", "push", name)
        else:
            with _buildah(log) as buildah:
                buildah.take(self)
                buildah.run("push", self.reference, f"docker://{name}")
        return name


def image(name: str, root: Path = ROOT) -> Image:
    """Return an image of a checkout (`recipe`), built first if it is missing.

    Raises
    ------
    BuildFailed
        A step of it failed.
    Missing
        A required program is not on this machine.
    """
    return built(recipe(name, root))


def pause() -> Image:
    """Return the image of the process that holds a pod's namespaces."""
    return built(pause_recipe())


def missing_programs() -> list[str]:
    """Return the Debian packages that image builds need and that are not installed."""
    needed = ["gcc", "/usr/include/stdio.h"]
    if not docker_answers():
        needed += ["buildah", "mmdebstrap"]
    missing = (name for name in needed if not shutil.which(name, os.F_OK, SEARCHED))
    return sorted(PROGRAMS[name] for name in missing)


@cache
def docker_answers() -> bool:
    """Return whether a Docker engine answers; a client alone cannot build."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        done = subprocess.run([docker, "info"], capture_output=True, check=False, timeout=20)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


# Inputs of images


@dataclass(frozen=True)
class Recipe:
    """The inputs of an image; any difference gives another reference."""

    name: str
    dockerfile: str
    #: Values of the Dockerfile's arguments.
    arguments: Mapping[str, str] = field(default_factory=dict)
    #: Files and folders of the build context, by their names there.
    files: Mapping[str, Path] = field(default_factory=dict)
    #: Creates one more file of the context, which the Dockerfile adds.
    make: Callable[[Path, Log], None] | None = None
    #: The inputs of `make`.
    made_of: tuple[str | Path, ...] = ()
    #: The base image, if it is one of ours.
    base: Recipe | None = None
    #: Whether a build reuses the steps of earlier builds until the first changed one.
    in_steps: bool = False

    @cached_property
    def key(self) -> str:
        """The hash of all inputs at the first access.

        So the name matches the built image even if a file is edited during the build.
        """
        texts = [self.dockerfile, *(f"{name}={text}" for name, text in self.arguments.items())]
        files = [part for name, path in self.files.items() for part in (name, path)]
        return input_hash(*texts, *files, *self.made_of)

    @property
    def reference(self) -> str:
        """The name and tag of the image."""
        return f"{HOST}/{self.name}:{self.key}"

    def fill(self, context: Path, log: Log) -> None:
        """Fill the build context."""
        context.mkdir()
        (context / "Dockerfile").write_text(self.dockerfile)
        for name, path in self.files.items():
            if path.is_dir():
                shutil.copytree(path, context / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(path, context / name)
        if self.make is not None:
            self.make(context, log)


def recipe(name: str, root: Path = ROOT) -> Recipe:
    """Return the recipe of an image of a checkout.

    ``dask`` and ``operator``; ``dask2025``, which is ``dask`` with Dask of that year; ``jupyter``,
    which is ``dask`` with JupyterLab; ``conda``, a Python like conda's with Dask, uv and git.
    """
    dockerfile = (root / "images" / FOLDERS.get(name, name) / "Dockerfile").read_text()
    if name == "jupyter":
        dask = recipe("dask", root)
        return Recipe(name, dockerfile, {"BASE": dask.reference}, base=dask)
    base = None if docker_answers() else base_recipe()
    minor = ".".join(map(str, sys.version_info[:2]))
    arguments = {"BASE": base.reference if base else f"python:{minor}-slim"}
    if name == "dask":
        arguments["PACKAGES"] = " ".join(pinned("dask", "distributed", *_needed_by_examples(root)))
        return Recipe(name, dockerfile, arguments, base=base)
    if name == "dask2025":
        arguments["PACKAGES"] = " ".join(DASK_2025)
        return Recipe(name, dockerfile, arguments, base=base)
    if name == "conda":
        arguments |= {"PACKAGES": " ".join(pinned("dask", "distributed")), "UV": UV}
        files = {"as_conda.py": root / "images/conda/as_conda.py"}
        made_of = ("docker",) if base is None else (DEBIAN, *GIT_OPTIONS)
        return Recipe(name, dockerfile, arguments, files, _git, made_of, base)
    parts = ("pyproject.toml", "README.md", "LICENSE", "daskjob")
    files = {part: root / part for part in parts}
    return Recipe(name, dockerfile, arguments, files, base=base, in_steps=True)


def _needed_by_examples(root: Path) -> list[str]:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    needed: list[str] = project["optional-dependencies"]["examples"]
    return needed


def pinned(*requirements: str) -> list[str]:
    """Return packages and their dependencies as ``name==version``, as installed here.

    Clients and clusters need the same versions of the packages whose objects they exchange.
    """
    found: dict[str, str] = {}
    pending = [Requirement(text) for text in requirements]
    seen = set()
    while pending:
        wanted = pending.pop()
        name = canonicalize_name(wanted.name)
        if (name, *sorted(wanted.extras)) in seen:
            continue
        seen.add((name, *sorted(wanted.extras)))
        found[name] = version(name)
        needed = map(Requirement, requires(name) or ())
        pending += (one for one in needed if _applies(one, wanted.extras))
    return [f"{name}=={found[name]}" for name in sorted(found)]


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""})


DEBIAN = "bookworm"
DEBIAN_DOCKERFILE = "FROM scratch\nADD rootfs.tar /\n"
DEBIAN_OPTIONS = (
    "--variant=essential",
    # The same as in the official python:slim; compiled wheels need libstdc++.
    "--include=ca-certificates,libstdc++6,netbase,python3,python3-venv,tzdata",
    # Otherwise a package that merges /usr installs 70 MB of Perl.
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
    "--skip=output/dev",
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")),
    # Remove data about the machine and the package sources.
    '--customize-hook=cd "$1" && rm -rf etc/hostname etc/resolv.conf etc/apt/sources.list*'
    " etc/apt/apt.conf.d/99mmdebstrap var/log/* var/cache/debconf/*-old var/lib/dpkg/*-old",
)
#: Excluded with their content; the empty folders stay, since a container's runtime mounts on them.
EMPTY_FOLDERS = ("dev",)


def base_recipe() -> Recipe:
    """Return the recipe of Debian with Python 3.11."""
    made_of = (DEBIAN, *DEBIAN_OPTIONS, *EMPTY_FOLDERS)
    return Recipe("base", DEBIAN_DOCKERFILE, make=_debian, made_of=made_of)


def _debian(context: Path, log: Log) -> None:
    target = context / "rootfs.tar"
    _bootstrap(target, DEBIAN_OPTIONS, log)
    with tarfile.open(target, "a") as rootfs:
        for name in EMPTY_FOLDERS:
            folder = tarfile.TarInfo(f"./{name}")
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            rootfs.addfile(folder)


GIT_OPTIONS = (
    # The files of git and of all that it needs, without their scripts.
    "--variant=extract",
    "--include=git",
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
    "--skip=output/dev",
    # Nothing that a fetch calls is in Perl.
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man", "perl")),
    "--dpkgopt=path-exclude=/usr/lib/*/perl/*",
)


def _git(context: Path, log: Log) -> None:
    """Create ``git.tar``, which the image's base gets: its own sources of packages are unset.

    Only its /usr is used. The base of Docker's builds has sources: there that is empty.
    """
    target = context / "git.tar"
    if not docker_answers():
        _bootstrap(target, GIT_OPTIONS, log)
        return
    with tarfile.open(target, "w") as archive:
        folder = tarfile.TarInfo("usr")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)


def _bootstrap(target: Path, options: tuple[str, ...], log: Log) -> None:
    """Create an archive with files of Debian's packages."""
    settings = [f"--aptopt={setting}" for setting in _apt_settings()]
    mmdebstrap = program("mmdebstrap")
    log.run(mmdebstrap, *options, *settings, DEBIAN, str(target), *debian_sources())


def _apt_settings() -> Iterator[str]:
    """Yield the settings of apt for access to its sources on this machine, such as proxies."""
    for line in _output("apt-config", "dump", "--format", '%F "%v";%n', "Acquire").splitlines():
        if re.match(r"Acquire::(https?::|Check-|Retries)", line):
            yield line


def debian_sources() -> list[str]:
    """Return this machine's sources of Debian packages; none if it is another release."""
    form = "$(ORIGIN) $(RELEASE) $(REPO_URI) $(RELEASE) $(COMPONENT)"
    listed = _output("apt-get", "indextargets", "--format", form, "Created-By: Packages")
    suites = "|".join((DEBIAN, f"{DEBIAN}-updates", f"{DEBIAN}-security"))
    found = re.findall(rf"^Debian (?:{suites}) (\S+ \S+ main)$", listed, re.MULTILINE)
    return [f"deb {source}" for source in dict.fromkeys(found)]


PAUSE_FLAGS = ("-static", "-Os", "-s", "-Wall", "-Werror")
PAUSE_DOCKERFILE = 'FROM scratch\nCOPY pause /\nUSER 65535:65535\nENTRYPOINT ["/pause"]\n'


def pause_recipe(source: Path = PAUSE_SOURCE) -> Recipe:
    """Return the recipe of the image of the process that holds a pod's namespaces."""

    def make(context: Path, log: Log) -> None:
        log.run(program("gcc"), *PAUSE_FLAGS, "-o", str(context / "pause"), str(source))

    return Recipe("pause", PAUSE_DOCKERFILE, make=make, made_of=(source, *PAUSE_FLAGS))


def folder_recipe(name: str, folder: Path) -> Recipe:
    """Return the recipe of an image with the files of a folder, and nothing else."""
    return Recipe(name, "FROM scratch\nCOPY files /\n", files={"files": folder})


# Building


def built(recipe: Recipe) -> Image:
    """Return the image of a recipe, built first if it is missing.

    Raises
    ------
    BuildFailed
        A step of it failed.
    Missing
        A required program is not on this machine.
    """
    folder = kept(f"image-{recipe.name}", recipe.key, lambda new: _build(recipe, new))
    os.utime(folder)
    image = Image(recipe.reference, folder / "image.tar")
    if docker_answers():
        _give_to_docker(image)
    return image


def _build(recipe: Recipe, folder: Path) -> None:
    """Build an image: ``image.tar`` and ``build.log`` in this folder."""
    base = built(recipe.base) if recipe.base else None
    say(f"Building the image {recipe.name} ...")
    started = time.monotonic()
    build = _Build(recipe, base, folder)
    recipe.fill(build.context, build.log)
    settings = pip_settings() if "--mount=type=secret" in recipe.dockerfile else {}
    with _secrets(settings) as options:
        options += (f"--build-arg={name}={text}" for name, text in recipe.arguments.items())
        if docker_answers():
            build.by_docker(*_proxies(), *options)
        else:
            volumes = (f"--volume={link}:{link}:ro" for link in _folders(settings))
            build.by_buildah(*volumes, *options)
    shutil.rmtree(build.context)
    megabytes = build.archive.stat().st_size / 1e6
    say(f"  {recipe.name}: {time.monotonic() - started:.0f} s, {megabytes:.0f} MB")
    _forget_old_archives(recipe.name)


@dataclass(frozen=True, slots=True)
class _Build:
    """A build in progress, in its own folder."""

    recipe: Recipe
    base: Image | None
    folder: Path

    @property
    def context(self) -> Path:
        return self.folder / "context"

    @property
    def archive(self) -> Path:
        return self.folder / "image.tar"

    @property
    def log(self) -> Log:
        return Log(self.folder / "build.log")

    def by_docker(self, *options: str) -> None:
        reference = self.recipe.reference
        fixed = ("--progress=plain", f"--tag={reference}")
        self.log.run("docker", "build", *fixed, *options, str(self.context))
        self.log.run("docker", "save", f"--output={self.archive}", reference)

    def by_buildah(self, *options: str) -> None:
        reference, in_steps = self.recipe.reference, self.recipe.in_steps
        # As plain processes (chroot), since that also works inside a container.
        fixed = ("--isolation=chroot", "--pull=never", "--force-rm", f"--tag={reference}")
        with _buildah(self.log) as buildah:
            if self.base:
                buildah.take(self.base)
            steps = f"--layers={str(in_steps).lower()}"
            buildah.run("bud", *fixed, steps, *options, str(self.context))
            buildah.run("push", reference, f"docker-archive:{self.archive}:{reference}")
            if self.base and not in_steps:
                # No image is based on it, and its steps are not reused.
                buildah.run("rmi", reference)


def _forget_old_archives(name: str) -> None:
    """Remove the least recently used archives of an image."""
    folders = [path for path in cache_folder().glob(f"image-{name}-*") if path.suffix != ".new"]
    folders.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in folders[KEPT_ARCHIVES - 1 :]:
        shutil.rmtree(folder)


@dataclass(frozen=True, slots=True)
class Log:
    """The log file of a build, which is shown if the build fails."""

    path: Path

    def run(self, *command: str) -> None:
        """Run a command to its end.

        Raises
        ------
        BuildFailed
            It did not exit with 0.
        """
        # Docker before 23 uses BuildKit, which supports secrets, only on request.
        environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
        with self.path.open("a") as log:
            log.write(f"$ {shlex.join(command)}\n")
            log.flush()
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise BuildFailed(Path(command[0]).name, done.returncode, self.path)


@dataclass(frozen=True, slots=True)
class _Buildah:
    """buildah with a storage below the cache; its content may be lost at any time."""

    command: tuple[str, ...]
    log: Log

    def run(self, *arguments: str) -> None:
        self.log.run(*self.command, *arguments)

    def take(self, image: Image) -> None:
        """Load an image into the storage if it is missing."""
        if not self._output("images", "--quiet", "--filter", f"reference={image.reference}"):
            self.run("pull", f"docker-archive:{image.archive}")

    def forget_old_steps(self) -> None:
        if len(self._output("images", "--all", "--quiet").split()) > KEPT_STEPS:
            self.run("rmi", "--all", "--force")

    def _output(self, *arguments: str) -> str:
        return _output(*self.command, *arguments)


@contextmanager
def _buildah(log: Log) -> Iterator[_Buildah]:
    """Hold exclusive access to buildah's storage."""
    storage = cache_folder() / "buildah"
    folders = (f"--root={storage / 'storage'}", f"--runroot={storage / 'run'}")
    with exclusive("buildah"):
        buildah = _Buildah((program("buildah"), *folders), log)
        # Remains of a killed build.
        buildah.run("rm", "--all")
        yield buildah
        buildah.forget_old_steps()


def _give_to_docker(image: Image) -> None:
    """Load an image into Docker, which kind needs, if Docker has lost it since its build."""
    command = ["docker", "image", "inspect", image.reference]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        subprocess.run(["docker", "load", "--input", str(image.archive)], check=True)


# Access to package sources, which must not be stored in images

#: pip's settings for the sources of packages, and the access to them.
PIP_SETTINGS = (
    "index-url",
    "extra-index-url",
    "find-links",
    "no-index",
    "trusted-host",
    "proxy",
    "timeout",
    "default-timeout",
    "retries",
)
#: The names of the two secrets, and of the mounted files, that the Dockerfiles mount.
PIP_SECRET = "pip.conf"
BUNDLE_SECRET = "ca.pem"
BUNDLE = "/run/secrets/ca.pem"
DEBIAN_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


def pip_settings() -> dict[str, str]:
    """Return pip's settings on this machine, from files and the environment."""
    listed = re.findall(
        r"^(global|install|:env:)\.([\w-]+)=(.*)$",
        _output(sys.executable, "-m", "pip", "config", "list"),
        re.MULTILINE,
    )
    # The environment is listed first and has precedence.
    by_weight = sorted(listed, key=lambda line: ("global", "install", ":env:").index(line[0]))
    return {name: " ".join(ast.literal_eval(text).split()) for _, name, text in by_weight}


@contextmanager
def _secrets(settings: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield the options that pass pip's settings to a build without storing them in the image."""
    lines = [f"{name} = {settings[name]}" for name in PIP_SETTINGS if name in settings]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PIP_SECRET
        options = [f"--secret=id={PIP_SECRET},src={path}"]
        bundle = settings.get("cert", DEBIAN_BUNDLE)
        if Path(bundle).is_file():
            options.append(f"--secret=id={BUNDLE_SECRET},src={bundle}")
            lines.append(f"cert = {BUNDLE}")
        path.write_text("\n".join(["[global]", *lines, ""]))
        yield options


def _folders(settings: Mapping[str, str]) -> list[str]:
    """Return the folders of this machine in which pip looks for packages."""
    links = settings.get("find-links", "").split()
    return [link for link in links if Path(link).is_absolute() and Path(link).is_dir()]


def _proxies() -> list[str]:
    """Return the options for Docker's builds to use this machine's proxies, as buildah's do."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    spelled = [name for upper in names for name in (upper, upper.lower())]
    return [f"--build-arg={name}" for name in spelled if name in os.environ]


def _output(*command: str) -> str:
    """Return a command's standard output; empty if there is no such command."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout
