"""The programs that a native cluster needs, and their Debian packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.cluster.cache import exclusive, say

#: A program (or a file of it), and its Debian package.
PROGRAMS = {
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ethtool": "ethtool",
    "socat": "socat",
    "iptables-save": "iptables",
    "ip": "iproute2",
    "sysctl": "procps",
    "openssl": "openssl",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setsid": "util-linux",
    "mount": "mount",
    "mmdebstrap": "mmdebstrap",
    "buildah": "buildah",
    "gcc": "gcc",
    "/usr/include/stdio.h": "libc6-dev",
}
SEARCHED = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


class Missing(Exception):
    """A requirement of a cluster is missing on this machine, and cannot be installed."""


def program(name: str) -> str:
    """Return the path of a program; call `ensure_packages` first."""
    found = shutil.which(name, path=SEARCHED)
    if found is None:
        raise Missing(f"{name} is not installed. On Debian: apt-get install {PROGRAMS[name]}")
    return found


def ensure_packages(
    programs: Mapping[str, str] = PROGRAMS, *, purpose: str = "A native cluster"
) -> None:
    """Install missing programs, as root on Debian; elsewhere list them in one message.

    Raises
    ------
    Missing
        A program is missing and cannot be installed.
    """
    missing = _missing(programs)
    if not missing:
        return
    packages = sorted({programs[name] for name in missing})
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Missing(
            f"{purpose} needs {', '.join(missing)}. On Debian: apt-get install {' '.join(packages)}"
        )
    with exclusive("apt"):
        missing = _missing(programs)
        if missing:
            _install(packages)
    still = _missing(programs)
    if still:
        raise Missing(
            f"{', '.join(still)} is still missing after installing {', '.join(packages)}."
        )


def _install(packages: Iterable[str]) -> None:
    say(f"Installing {' '.join(packages)} ...")
    quiet = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = [*quiet, "install", "-y", "--no-install-recommends", *packages]
    for command in ([*quiet, "update"], install):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Missing(
                f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            )


def _missing(programs: Iterable[str]) -> list[str]:
    return [name for name in programs if not _is_there(name)]


def _is_there(name: str) -> bool:
    return Path(name).exists() if name.startswith("/") else bool(shutil.which(name, path=SEARCHED))
