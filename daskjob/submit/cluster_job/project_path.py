"""The folders of a project that a script imports from, though Python does not search them here.

On a cluster a script has the modules of its project, also those below ``src/`` that no package
installs (design §5.7); the same script runs here with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from daskjob.submit.cluster_job.imports import imported_files
from daskjob.submit.cluster_job.program import Sources


def project_path(
    text: str, sources: Sources, first: Path, modules: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the folders of a project to append to PYTHONPATH, for a program and its modules.

    ``first`` is the folder that Python itself searches first. What an installed package has under
    the same name comes before them, as on a cluster.
    """
    if sources.project is None:
        return ()
    known = {first, *sources.python_path}
    folders = [folder for folder in (sources.project / "src", sources.project) if folder.is_dir()]
    wanted = [folder for folder in folders if folder not in known]
    if not wanted:
        return ()
    found = imported_files([(text, "")], sources.folders(first), modules)
    # A file's path below its folder names the folder.
    used = {path for place, path in found.items() for path in [_folder_of(path, place)]}
    return tuple(str(folder) for folder in wanted if folder in used)


def _folder_of(path: Path, place: str) -> Path:
    return path.parents[place.count("/")]
