"""Whether a script may have settings or want packages, known by its text: most do not."""

from __future__ import annotations

from pathlib import Path


def may_want_packages(text: str, folder: Path) -> bool:
    """Return whether a script has a block of metadata, or its project settings or a lock."""
    return may_have_settings(text, folder) or has_lock(folder)


def may_have_settings(text: str, folder: Path) -> bool:
    """Return whether a script has a block of metadata, or its project settings."""
    if "# /// script" in text:
        return True
    project = _project(folder)
    if project is None:
        return False
    try:
        return "tool.daskjob" in project.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return True  # reading it reports what is wrong


def has_lock(folder: Path) -> bool:
    """Return whether the nearest project has a lock of uv."""
    project = _project(folder)
    return project is not None and project.with_name("uv.lock").is_file()


def _project(folder: Path) -> Path | None:
    absolute = folder.absolute()
    paths = (place / "pyproject.toml" for place in (absolute, *absolute.parents))
    return next((path for path in paths if path.is_file()), None)
