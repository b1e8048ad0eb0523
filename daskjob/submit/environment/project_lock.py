"""A project's ``pyproject.toml`` with ``uv.lock`` beside it: its lock is the environment."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from daskjob.submit.environment.block import uv_indexes
from daskjob.submit.environment.uv import INSTALL, find_uv, run_uv
from daskjob.submit.environment.wanted import NotResolved, UnfitEnvironment, Wanted
from daskjob.submit.settings.sources import nearest_project

_EXPORT = (
    *("export", "--frozen", "--no-dev", "--no-emit-project", "--no-header", "--quiet"),
    *("--format", "requirements-txt"),
)


def locked_project(folder: Path, subject: str, environ: Mapping[str, str]) -> Wanted | None:
    """Return what the lock of a script's project has; ``None`` for a project without a lock.

    Raises
    ------
    UnfitEnvironment
        The lock, or the project, is damaged.
    NotResolved
        There is no uv.
    """
    project = nearest_project(folder)
    if project is None or not (lock := project.with_name("uv.lock")).is_file():
        return None
    whole = _toml(project)
    project_table = _mapping(whole.get("project"))
    tool_uv = _mapping(_mapping(whole.get("tool")).get("uv"))
    packages = _toml(lock).get("package") or []
    uv = find_uv(environ)
    if not uv:
        raise NotResolved(
            f"{lock} has the packages of {subject}, and there is no uv to read it: {INSTALL}; or "
            "name them: --requirements FILE"
        )
    text = run_uv(uv, [*_EXPORT, "--project", str(project.parent)], lock.parent, environ, subject)
    left_out = sorted(_local(packages, project_table))
    notes = [f"{', '.join(left_out)} of {lock} are folders of this machine: pods get no package"]
    return Wanted(
        subject,
        locked=tuple(text.splitlines()),
        packages=tuple(map(_mapping, packages)),
        requires_python=str(project_table.get("requires-python") or ""),
        indexes=uv_indexes(tool_uv, f"[tool.uv] of {project}"),
        sources=(str(lock),),
        notes=tuple(notes) if left_out else (),
    )


def _toml(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnfitEnvironment(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UnfitEnvironment(f"{path} is not TOML: {error}") from error


def _local(packages: list[Any], project: Mapping[str, Any]) -> Iterator[str]:
    """Yield the packages of a lock that are folders, beside the project itself."""
    for package in packages:
        source = _mapping(_mapping(package).get("source"))
        name = str(package.get("name"))
        is_folder = {"editable", "directory", "path", "virtual"} & set(source)
        if is_folder and name != str(project.get("name") or "").lower().replace("_", "-"):
            yield name


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
