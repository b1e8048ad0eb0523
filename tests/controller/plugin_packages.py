"""Packages with a plugin, as pip would install them into a folder."""

from __future__ import annotations

import textwrap
from pathlib import Path


def install(platform: Path, name: str, text: str) -> None:
    """Put a package with a module ``plugin`` into a folder, with an entry point for the module."""
    package = platform / name
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "plugin.py").write_text(textwrap.dedent(text))
    info = platform / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[dask_operator_plugin]\n{name} = {name}.plugin\n")
