"""daskjob as another environment sees it: its code, and the entry points of its pyproject.toml."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def metadata_folder(folder: Path) -> Path:
    """Write what an installation of daskjob would have beside its code; return the folder."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    info = folder / "daskjob-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: daskjob\nVersion: 0.1.0\n")
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def environment_with_daskjob(folder: Path, **variables: str) -> dict[str, str]:
    """Return variables with which any Python finds daskjob, with a home of its own."""
    plain = {
        key: value for key, value in os.environ.items() if not key.startswith(("KUBE", "DASK"))
    }
    path = os.pathsep.join([str(ROOT), str(metadata_folder(folder / "installed"))])
    home = folder / "home"
    home.mkdir()
    return {**plain, "PYTHONPATH": path, "HOME": str(home), "DASK_CONFIG": str(home), **variables}
