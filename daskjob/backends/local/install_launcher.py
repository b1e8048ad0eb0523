"""Runs the installer of pods with the caches and the configuration of this machine's user.

Run by path, with the Python that gets the packages, which may lack daskjob: ``python
install_launcher.py in_pod.py settings.json``. It imports the standard library only. It ends, with
all that it has started, as soon as its parent is gone.
"""

from __future__ import annotations

import ctypes
import os
import shutil
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


def end_with_parent(parent: int, folder: str) -> None:
    """Have this process, which leads a group, end its group when its parent has ended.

    The folder of its settings and logins goes with it: the parent would have removed it.
    """

    def end(*_: Any) -> None:
        if os.getppid() != parent:
            shutil.rmtree(folder, ignore_errors=True)
        os.killpg(0, signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before
        end()


def own_environment(_: Path) -> dict[str, str]:
    """Return the variables of an installer: this user's own."""
    found = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    if not has_cache(found):
        # uv fails without a cache; pip goes on.
        found["UV_NO_CACHE"] = "1"
    return {**found, "UV_PYTHON_DOWNLOADS": "never", "PYTHONUNBUFFERED": "1"}


def has_cache(environ: dict[str, str]) -> bool:
    """Return whether uv can write into its cache."""
    caches = environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = environ.get("UV_CACHE_DIR") or os.path.join(caches, "uv")
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


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
    end_with_parent(int(sys.argv[1]), os.path.dirname(sys.argv[3]))
    # The folder of this file; the installer finds the packages of its Python only.
    sys.path[:1] = []
    installer = imported(sys.argv[2])
    installer.clean_environment = own_environment
    sys.exit(installer.main([sys.argv[3]]))
