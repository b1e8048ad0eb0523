"""Where files of this machine lie in the containers. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from daskjob.core.spec.code import MOST_PATHS
from daskjob.submit.cluster_job.archive import UnfitCode
from daskjob.submit.cluster_job.code import HERE

_SOURCES = "src"


@dataclass(frozen=True, slots=True)
class Layout:
    """What lies below a folder lies in the same way below the code.

    Without such a folder, as outside of it, a module lies as below the folder in which it was
    found: all in one, which is enough for Python to find it.
    """

    base: Path | None

    def place(self, path: Path, flat: str) -> str:
        """Return where a file is sent to, which is ``flat`` below the folder it was found in."""
        if self.base is not None and path.is_relative_to(self.base):
            return path.relative_to(self.base).as_posix()
        return flat

    def python_paths(
        self, folders: Iterable[Path], sent: Sequence[str] | Iterable[str]
    ) -> tuple[str, ...]:
        """Return the folders of PYTHONPATH below the code, in their order.

        ``folders`` are those of PYTHONPATH here; of a project with ``src/`` this is one as well.

        Raises
        ------
        UnfitCode
            There are more than a job takes.
        """
        if self.base is None:
            return (HERE,)
        found = [
            folder.relative_to(self.base).as_posix()
            for folder in folders
            if folder.is_relative_to(self.base)
        ]
        places = list(sent)
        if any(place.startswith(f"{_SOURCES}/") for place in places):
            found.append(_SOURCES)
        used = [path for path in found if _has_files(path, places)]
        # A colon separates the folders of PYTHONPATH.
        wanted = tuple(dict.fromkeys(path for path in [*used, HERE] if ":" not in path))
        if len(wanted) > MOST_PATHS:
            raise UnfitCode(
                f"the code has {len(wanted)} folders that are on PYTHONPATH here, and a job takes "
                f"{MOST_PATHS}: leave some out of PYTHONPATH"
            )
        return wanted


def _has_files(folder: str, places: Iterable[str]) -> bool:
    return folder == HERE or any(place.startswith(f"{folder}/") for place in places)
