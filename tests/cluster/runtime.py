"""containerd, built from its Go module and kept in the cache, as Kubernetes' own programs are.

Not Debian 12's: 1.6.20 has no image volumes, which came with 2.1, and it loses output. When a
container ends, it closes its end of the pipe before it has read what is left there: on a busy
machine, the last 60 KB of a container that writes fast. This version reads to the end.
``containerd/go.mod`` and ``go.sum`` pin the version; it is a module of its own, since its
dependencies have other versions than Kubernetes'.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.cluster.binaries import compile_programs, go_program
from tests.cluster.cache import input_hash, kept, say

MODULE = Path(__file__).parent / "containerd"
PROGRAMS = {
    name: f"github.com/containerd/containerd/v2/cmd/{name}"
    for name in ("containerd", "containerd-shim-runc-v2", "ctr")
}
#: Without storage drivers that need C libraries: nodes use overlayfs.
FLAGS = (
    "-trimpath",
    "-mod=readonly",
    "-buildvcs=false",
    "-ldflags=-s -w",
    "-tags=no_btrfs,no_devmapper,no_zfs",
)


def runtime_program(name: str) -> str:
    """Return the path of a program, built first if it is missing.

    Raises
    ------
    Missing
        Go is missing or too old, or the build failed.
    """
    return str(build_runtime() / name)


def build_runtime() -> Path:
    """Return the folder with the programs, built first if it is missing."""
    return kept("containerd", input_hash(MODULE, str(FLAGS), str(PROGRAMS)), _build)


def _build(folder: Path) -> None:
    go = go_program()
    say(f"Building {', '.join(PROGRAMS)} (once, a minute on 2 cores) ...")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": ""}
    command = [go, "build", "-v", *FLAGS, "-o", f"{folder}/", *PROGRAMS.values()]
    compile_programs(command, environment, MODULE)
