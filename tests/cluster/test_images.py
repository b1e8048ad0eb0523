"""The images for tests: what is in them, and when they are built."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import images

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="root is needed to look into images"),
    pytest.mark.skipif(bool(images.missing_programs()), reason="programs to build images lack"),
]

#: Does what a container runtime does for a pod under Pod Security's "restricted" with a read-only
#: root: the command is process 1, has the image's user, no capability, and may write to /tmp only.
CONTAINER = """
root=$1; user=$2; shift 2
mount --bind "$root" "$root" && mount -o remount,bind,ro "$root" &&
mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" &&
mount -t tmpfs tmpfs "$root/tmp" && cd / &&
exec chroot --userspec="$user:$user" --groups= "$root" "$@"
"""


@dataclass(frozen=True)
class Unpacked:
    """An image on disk: its files, and what it says about itself."""

    root: Path
    config: dict[str, Any]
    layers: list[str]

    @property
    def said(self) -> dict[str, Any]:
        said: dict[str, Any] = self.config["config"]
        return said

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a container of the image, as ``args`` of a pod do it."""
        command = [*self.said["Entrypoint"], *arguments]
        isolated = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        return subprocess.Popen(
            [*isolated, "sh", "-c", CONTAINER, "sh", str(self.root), self.said["User"], *command],
            env=dict(entry.split("=", 1) for entry in self.said["Env"]),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **options,
        )

    def run(self, *arguments: str) -> str:
        container = self.start(*arguments)
        printed, _ = container.communicate(timeout=60)
        assert container.returncode == 0, printed
        return printed


def unpacked(image: images.Image, folder: Path) -> Unpacked:
    """Unpack an archive; our images remove nothing in a later layer."""
    with tarfile.open(image.archive) as archive:
        [manifest] = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        config = json.load(archive.extractfile(manifest["Config"]))  # type: ignore[arg-type]
        assert manifest["RepoTags"] == [image.reference]
        archive.extractall(folder, filter="tar")
    root = folder / "root"
    root.mkdir()
    for layer in manifest["Layers"]:
        subprocess.run(["tar", "--extract", "--file", folder / layer, "-C", root], check=True)
    return Unpacked(root, config, config["rootfs"]["diff_ids"])
