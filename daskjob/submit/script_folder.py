"""The folder in which Python looks first for the modules of a script."""

from __future__ import annotations

import os
from pathlib import Path


def first_folder(script: Path) -> Path:
    """Return the folder that Python puts on its path for a script: of what a link leads to."""
    path = Path(os.path.abspath(script))
    if not path.is_symlink():
        return path.parent
    # Through no link of a folder, where that is the same: paths below the project remain so.
    led = Path(os.path.abspath(path.parent / os.readlink(path)))
    is_same = not led.is_symlink() and led.exists() and led.samefile(path)
    return led.parent if is_same else Path(os.path.realpath(path)).parent
