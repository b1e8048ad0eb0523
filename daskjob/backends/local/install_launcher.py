"""Runs the installer of pods with the caches and the configuration of this machine's user.

Run by path, with the Python that gets the packages, which may lack daskjob: ``python
install_launcher.py in_pod.py settings.json``. It imports the standard library only. It ends, with
all that it has started, as soon as its parent is gone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the import
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

#: From <linux/prctl.h>.
PR_SET_PDEATHSIG = 1
#: Variables that would have packages installed elsewhere.
ELSEWHERE = ("PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV")


def end_with_parent(parent: int) -> None:
    """Have this process, which leads a group, end its group when its parent has ended."""

    def end(*_: Any) -> None:
        os.killpg(0, signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before
        end()


def own_environment(_: Path) -> dict[str, str]:
    """Return the variables of an installer: this user's own."""
    found = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    return {**found, "UV_PYTHON_DOWNLOADS": "never", "PYTHONUNBUFFERED": "1"}


def imported(path: str) -> Any:
    """Return a module by the path of its file."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("_daskjob_in_pod", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    # The folder of this file; the installer finds the packages of its Python only.
    sys.path[:1] = []
    installer = imported(sys.argv[2])
    installer.clean_environment = own_environment
    sys.exit(installer.main([sys.argv[3]]))
