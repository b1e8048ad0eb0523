"""``daskjob init``: writes what a script needs into its own block."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from daskjob.submit.cli.settings_options import SettingsCommand, given_flags, settings_options
from daskjob.submit.settings.declaration import Setting
from daskjob.submit.settings.kinds import Items, Pairs, Whole
from daskjob.submit.settings.table import SETTINGS

#: About one submission or one user; and what one line of a block does not hold.
_LEFT_OUT = ("name", "token", "namespace", "context", "groups", "set")


@click.command("init", cls=SettingsCommand)
@click.option("--print", "only_print", is_flag=True, help="Print the script, and change no file.")
@settings_options(leave_out=_LEFT_OUT)
@click.argument("script", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def init_command(script: Path, *, only_print: bool, **given: Any) -> None:
    """Write the block `# /// script` of SCRIPT: its packages, and settings of its jobs.

    A new block gets the packages that the script imports, with the versions that are installed here
    as the oldest ones. Options become settings of the block; in a block that exists, nothing else
    changes. `daskjob run`, `submit` and `render` read it, and so does `uv run`.
    """
    from daskjob.submit.settings.block_text import with_block
    from daskjob.submit.settings.sources import WrongSettings

    profile = given["profile"]
    values = {key: _value(SETTINGS[key], value) for key, value in given_flags(given).items()}
    values |= {"profile": profile} if profile else {}
    text = _text(script)
    is_new = "# /// script" not in text
    python, dependencies = _needs(text, script) if is_new else ("", ())
    try:
        changed = with_block(text, values, dependencies=dependencies, requires_python=python)
    except WrongSettings as error:
        raise click.UsageError(f"{script}: {error}") from error
    if only_print:
        click.echo(changed, nl=False)
    elif changed == text:
        click.echo(f"daskjob: {script} has a block already; options change its settings", err=True)
    else:
        _write(script, changed)
        click.echo(
            f"daskjob: wrote the block of {script}; to try it: daskjob run {script}", err=True
        )


def _text(script: Path) -> str:
    if script.suffix not in (".py", ".pyw"):
        raise click.UsageError(f"{script}: name a Python script; its block is a comment of Python")
    try:
        # Line ends stay as they are.
        return script.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{script} is not UTF-8 text") from error


def _needs(text: str, script: Path) -> tuple[str, tuple[str, ...]]:
    """Return the Python and the packages of a script, from its text and the active environment."""
    from daskjob.submit.cluster_job.image import environment_versions
    from daskjob.submit.environment.imported import imported_packages
    from daskjob.submit.settings.sources import nearest_project

    folder = script.absolute().parent
    project = nearest_project(folder)
    own = [folder, *([project.parent, project.parent / "src"] if project else [])]
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX") or ""
    packages = sorted(Path(active).glob("lib/python3.*/site-packages")) if active else []
    try:
        found = imported_packages(text, own, packages)
    except (SyntaxError, ValueError) as error:
        raise click.UsageError(f"{script} cannot be parsed: {error}") from error
    if found.unknown:
        names = ", ".join(found.unknown)
        click.echo(
            f"daskjob: {names}: not installed here, so its package is not known; add it to "
            "dependencies",
            err=True,
        )
    return f">={environment_versions(os.environ).minor}", found.dependencies


def _value(setting: Setting, given: object) -> object:
    """Return the value of a flag as a table has it."""
    match setting.kind:
        case Whole():
            return int(str(given))
        case Pairs() as pairs:
            read: Mapping[str, object] = pairs.read(given)
            return dict(read)
        case Items():
            return list(given) if isinstance(given, list | tuple) else [given]
    return given


def _write(script: Path, text: str) -> None:
    """Replace a file as a whole, with its mode; a link stays a link."""
    target = script.resolve()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
        os.chmod(name, target.stat().st_mode & 0o7777)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
