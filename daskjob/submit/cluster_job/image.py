"""The image of a job: by default the one with the versions of the user's environment.

Dask publishes an image for each release and each Python that it supports, with the tag
``<release of dask>-py<Python>``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daskjob.core.errors import DaskJobError

REPOSITORY = "ghcr.io/dask/dask"
#: Where Dask's images are, or were.
_OFFICIAL = re.compile(
    r"(?:(?:.*/)?dask/dask|(?:docker\.io/)?daskdev/dask)(?:-notebook)?"
    r":(?P<release>\d{4}\.\d+\.\d+)(?:-py(?P<python>\d+\.\d+))?(?:@.*)?"
)
_RELEASE = re.compile(r"\d{4}\.\d+\.\d+")
_DIST_INFO = re.compile(r"(?P<name>dask|distributed)-(?P<version>[^-]+)\.dist-info", re.IGNORECASE)


class NoImage(DaskJobError):
    """No image has the versions of the user's environment; one must be named."""


@dataclass(frozen=True, slots=True)
class Versions:
    """Versions of an environment; empty where they are not known."""

    python: str
    dask: str = ""
    distributed: str = ""
    #: What messages call the environment.
    place: str = "this environment"

    @property
    def minor(self) -> str:
        """The version of Python as the tags of images have it."""
        return ".".join(self.python.split(".")[:2])


def environment_versions(environ: Mapping[str, str]) -> Versions:
    """Return the versions of the active environment, without running its Python; else daskjob's.

    A tool that is installed in an environment of its own may have another dask than the script.
    """
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        folder = environ.get(variable)
        found = _versions_in(Path(folder)) if folder else None
        if found and Path(folder or "").resolve() != Path(sys.prefix).resolve():
            return found
    from importlib.metadata import PackageNotFoundError, version

    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return ""

    python = ".".join(map(str, sys.version_info[:3]))
    return Versions(python, installed("dask"), installed("distributed"))


def _versions_in(folder: Path) -> Versions | None:
    """Return the versions of an environment with dask, from the names of its folders."""
    for packages in sorted(folder.glob("lib/python3.*/site-packages"), reverse=True):
        python = packages.parent.name.removeprefix("python")
        matches = (_DIST_INFO.fullmatch(path.name) for path in packages.glob("d*.dist-info"))
        found = {match["name"].lower(): match["version"] for match in matches if match}
        if "dask" in found:
            distributed = found.get("distributed", "")
            return Versions(python, found["dask"], distributed, str(folder))
    return None


def default_image(versions: Versions) -> str:
    """Return the image with these versions.

    Raises
    ------
    NoImage
        There is none: it is no release.
    """
    if not _RELEASE.fullmatch(versions.dask):
        found = f"dask {versions.dask}, which is no release" if versions.dask else "no dask"
        raise NoImage(
            f"{versions.place} has {found}: no image of Dask matches it; name one: --image IMAGE"
        )
    return f"{REPOSITORY}:{versions.dask}-py{versions.minor}"


def image_versions(image: str) -> Versions | None:
    """Return the versions of one of Dask's own images, from its tag; ``None`` if unknown."""
    found = _OFFICIAL.fullmatch(image)
    if found is None:
        return None
    # A release of dask requires the same release of distributed.
    return Versions(found["python"] or "", found["release"], found["release"], image)


def differences(image: str, versions: Versions) -> list[str]:
    """Return what differs between an image and the user's environment, with both versions."""
    found = image_versions(image)
    if found is None:
        return []
    pairs = [
        ("Python", found.python and found.minor, versions.minor),
        ("dask", found.dask, versions.dask),
        ("distributed", found.distributed, versions.distributed),
    ]
    unequal = [
        (name, there, here) for name, there, here in pairs if there and here and there != here
    ]
    return [
        f"the image has {name} {there}, {versions.place} has {here}"
        for name, there, here in unequal
    ]
