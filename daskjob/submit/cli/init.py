"""``daskjob init``: writes what a script needs into its own block."""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from daskjob.submit.cli.settings_options import SettingsCommand, given_flags, settings_options
from daskjob.submit.settings.declaration import Setting
from daskjob.submit.settings.kinds import Items, Pairs, Whole
from daskjob.submit.settings.sources import nearest_project
from daskjob.submit.settings.table import SETTINGS
from daskjob.submit.source_text import parsed, readable_text

#: About one submission or one user; and what one line of a block does not hold.
_LEFT_OUT = ("name", "token", "namespace", "context", "groups", "set")


@click.command("init", cls=SettingsCommand)
@click.option("--print", "only_print", is_flag=True, help="Print the script, and change no file.")
@settings_options(leave_out=_LEFT_OUT)
@click.argument("script", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def init_command(script: Path, *, only_print: bool, **given: Any) -> None:
    """Write the block `# /// script` of SCRIPT: its packages, and settings of its jobs.

    A new block gets the packages that the script and its project's modules import: as the project's
    `dependencies` name them, else with the versions that are installed here as the oldest ones.
    Options become settings of the block; in a block that exists, nothing else
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
    if script.suffix == ".ipynb":
        raise click.UsageError(
            f"{script} is a notebook, which is not changed. A code cell of its own names its "
            'packages, by comments: # /// script, # dependencies = ["PACKAGE"], # ///, each on '
            "a line; or name them as you submit it: --with PACKAGE"
        )
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

    try:
        parsed(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise click.UsageError(f"{script} cannot be parsed: {error}") from error
    texts, own = _modules(text, script)
    project = nearest_project(script.absolute().parent)
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX") or ""
    packages = sorted(Path(active).glob("lib/python3.*/site-packages")) if active else []
    required = _required(project) if project else []
    found = imported_packages(texts, own, packages, required)
    if unknown := _needed(found.unknown, texts):
        click.echo(
            f"daskjob: {', '.join(unknown)}: not installed here, so its package is not known; add "
            "it to dependencies",
            err=True,
        )
    if project and (lock := project.with_name("uv.lock")).is_file():
        click.echo(
            f"daskjob: {lock} does not count for {script} any more: a script with a block stands "
            "alone",
            err=True,
        )
    return f">={environment_versions(os.environ).minor}", found.dependencies


def _modules(text: str, script: Path) -> tuple[list[str], Callable[[str], bool]]:
    """Return the texts of a script and of the modules that are sent with it, and what tells them.

    That is a function: whether a top-level module is one of them, or beside them.
    """
    from daskjob.submit.cli.programs import sources_of
    from daskjob.submit.cli.ways_in import way_in
    from daskjob.submit.cluster_job.imports import imported

    folder = script.absolute().parent
    folders = sources_of(way_in(str(script), ()), ()).folders(folder)
    found = imported([(text, "")], folders)
    tops = {Path(place).parts[0].partition(".")[0] for place in (*found.files, *found.compiled)}
    texts = [text, *(readable_text(path.read_bytes()) for path in found.files.values())]

    def is_own(name: str) -> bool:
        places = [place.path for place in folders if not place.is_hidden(name)]
        return name in tops or any((place / name).is_dir() for place in places)

    return texts, is_own


def _needed(names: Iterable[str], texts: Iterable[str]) -> list[str]:
    """Return those of some modules that programs cannot do without."""
    import ast

    from daskjob.submit.cluster_job.doubts import needed_modules

    needed: set[str] = set()
    for text in texts:
        try:
            needed.update(needed_modules(list(ast.walk(parsed(text)))))
        except (SyntaxError, ValueError, RecursionError):
            continue  # Python reports it, when it runs
    return [name for name in names if name in needed]


def _required(project: Path) -> list[str]:
    """Return the dependencies of a project that pods can install, too."""
    from daskjob.submit.environment.requirement_lines import requirement
    from daskjob.submit.environment.wanted import UnfitEnvironment

    try:
        table = tomllib.loads(project.read_text(encoding="utf-8")).get("project")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"{project} cannot be read: {error}") from error
    listed = table.get("dependencies") if isinstance(table, dict) else None
    found = []
    for text in listed if isinstance(listed, list) else ():
        with suppress(UnfitEnvironment):
            found.append(requirement(str(text), str(project)).text)
    return found


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
