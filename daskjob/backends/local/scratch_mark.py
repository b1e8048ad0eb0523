"""How a run's folder for temporary files is recognized, before it is deleted."""

from __future__ import annotations

import tempfile
from pathlib import Path

#: Prefix of the names of folders in the system's temporary folder.
SCRATCH_PREFIX = "daskjob-"
#: A file that marks such a folder elsewhere: it may be deleted.
SCRATCH_MARK = ".daskjob-scratch"


def is_scratch(path: Path) -> bool:
    """Return whether a path is a folder that a run made for its temporary files.

    In a folder that Dask's configuration names, it has a mark.
    """
    marked = path.is_absolute() and (path / SCRATCH_MARK).is_file()
    known = marked or path.parent == Path(tempfile.gettempdir())
    return known and path.name.startswith(SCRATCH_PREFIX) and not path.is_symlink()
