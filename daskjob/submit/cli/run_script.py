"""``daskjob run script.py``: what it runs of a script, with what, and what it installs before."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daskjob.core.manifests import Manifest
from daskjob.core.names import ENV_ATTEMPT, ENV_SCHEDULER_ADDRESS
from daskjob.submit.cli.programs import module_folders, project_folders, script_text
from daskjob.submit.cli.run_options import RunOptions, Wanted
from daskjob.submit.cli.ways_in import Way, way_in
from daskjob.submit.cluster_job.missing_imports import missing_imports
from daskjob.submit.inline_metadata import ScriptText, declared
from daskjob.submit.local import local_script_job
from daskjob.submit.local_records import Origin
from daskjob.submit.package_hints import may_have_settings, may_want_packages
from daskjob.submit.python_environment import (
    Needs,
    Python,
    chosen_python,
    chosen_pythons,
    environment_of,
)
from daskjob.submit.script import ScriptOptions, default_shape
from daskjob.submit.settings.dask_config import dask_config

if TYPE_CHECKING:
    from daskjob.backends.local.run_environment import Packages
    from daskjob.submit.environment.wanted import Given
    from daskjob.submit.local_settings import SettingsHere
    from daskjob.submit.settings.table import Settings


def script_run(
    script: str, args: tuple[str, ...], options: RunOptions, *, module: bool, code: bool
) -> Wanted:
    """Return the run of a script, a module, a notebook or code."""
    way = way_in(script, args, module=module, code=code)
    if way.from_stdin:
        way = replace(way, text=_standard_input())
    source = script_text(way)
    found = _settings(source, options)
    crowded: list[str] = []
    if found:
        crowded = [] if options.workers is not None else _workers_notes(found.settings)
        options = _with_settings(options, found.settings)
    if way.from_stdin and options.retries:
        raise click.UsageError("--retries needs a script in a file: '-' can be read only once")
    named = options.python or way.python
    python, more = chosen_python(named, os.environ, "--python" if options.python else "as named")
    environment = environment_of(python, os.environ)
    project = project_folders(way)
    variables = {**environment, "PYTHONPATH": _behind(project), **dict(options.env)}
    if way.module:
        _check_module(way, python.path, variables)
    needs = _needs(way, source, options)
    pythons, workers, notes = chosen_pythons(python, needs, environ=os.environ)
    if not workers:
        options = replace(options, workers=0)
    manifest = _script_manifest(way, options, project)
    if found:
        _add_settings(manifest, found.settings)
        notes += [*found.notes, *crowded]
    packages = None
    if not options.install:
        _check_nothing_to_install(options)
    else:
        given = found.given if found else None
        packages, lacking = _with_packages(manifest, source, given, python, options, environment)
        # With --no-install, what is declared and missing is reported already.
        notes += [*lacking, *_missing(way, source, python, variables, packages)]
    hidden = {name: value for name, value in options.env if name not in options.shown}
    return Wanted(
        manifest,
        pythons,
        environment,
        notes=(*more, *notes, *way.notes, *_overridden(options)),
        variables=hidden,
        packages=packages,
        origin=Origin(script=str(way.script.absolute()) if way.script else ""),
    )


def _settings(source: ScriptText, options: RunOptions) -> SettingsHere | None:
    """Return the settings of a run, in which flags are the most important; ``None`` without any."""
    asked = options.packages_flag or options.profile or "daskjob" in dask_config(os.environ)
    if not asked and not may_have_settings(source.text, source.folder):
        return None
    # Most scripts have none.
    from daskjob.submit.local_settings import settings_here
    from daskjob.submit.settings.sources import WrongSettings

    given = {
        **{"workers": options.workers, "threads": options.threads, "retries": options.retries},
        **{"packages": options.with_, "requirements": options.requirements},
    }
    flags = {key: value for key, value in given.items() if value not in (None, ())}
    try:
        return settings_here(source, flags, environ=os.environ, profile=options.profile or "")
    except WrongSettings as error:
        raise click.UsageError(str(error)) from error


def _with_settings(options: RunOptions, settings: Settings) -> RunOptions:
    """Return options that settings complete, where no flag says something."""
    from daskjob.submit.cluster_job.variables import read_env_file
    from daskjob.submit.settings.sources import WrongSettings

    flags = dict(options.env)
    try:
        file = read_env_file(settings.env_file, os.environ) if settings.env_file else {}
    except WrongSettings as error:
        raise click.UsageError(str(error)) from error
    workers = settings.workers
    if workers is None and settings.adapt:
        # The cluster starts with as many, and scales them then.
        workers = max(settings.adapt.minimum, 1)
    timeout = settings.deadline if options.timeout is None else options.timeout
    return replace(
        options,
        workers=workers,
        threads=settings.threads,
        memory=options.memory or settings.memory,
        retries=settings.retries,
        timeout=timeout,
        env=tuple({**file, **settings.env, **flags}.items()),
        shown={name: value for name, value in settings.env.items() if name not in flags},
    )


def _workers_notes(settings: Settings) -> list[str]:
    from daskjob.submit.local_settings import workers_notes

    return workers_notes(settings, cpu_count())


def _add_settings(manifest: Manifest, settings: Settings) -> None:
    from daskjob.submit.cluster_job.fields import set_fields
    from daskjob.submit.local_settings import add_settings
    from daskjob.submit.settings.sources import WrongSettings

    add_settings(manifest, settings, cpu_count())
    try:
        set_fields(manifest, settings.set)
    except WrongSettings as error:
        raise click.UsageError(str(error)) from error


def _with_packages(
    manifest: Manifest,
    script: ScriptText,
    given: Given | None,
    python: Python,
    options: RunOptions,
    environment: Mapping[str, str],
) -> tuple[Packages | None, list[str]]:
    """Add what a script needs and its Python lacks to its job, and install it; return notes too."""
    is_asked = given is not None and not given.is_empty
    if not is_asked and not may_want_packages(script.text, script.folder):
        return None, []
    # Most scripts want nothing that their Python lacks.
    from daskjob.submit import local_packages
    from daskjob.submit.environment import wanted

    variables = {**environment, **dict(options.env)}

    def say(activity: str) -> None:
        if activity and not options.quiet:
            click.echo(f"daskjob: {activity}", err=True)

    try:
        found = local_packages.packages_of(script, given or wanted.Given(), python, variables)
        if not found.environment:
            return None, list(found.notes)
        manifest["spec"]["environment"] = found.environment
        packages = local_packages.installed(found.environment, python, variables, say)
    except KeyboardInterrupt:
        from daskjob.core.exit_codes import ExitCode

        click.echo(f"daskjob: cancelled before {script.subject} was started", err=True)
        raise click.exceptions.Exit(int(ExitCode.CANCELLED)) from None
    return packages, list(found.notes)


def _missing(
    way: Way,
    source: ScriptText,
    python: Python,
    environ: Mapping[str, str],
    packages: Packages | None,
) -> list[str]:
    """Return a note on what the script imports and nothing here has: it will fail there."""
    if not Path(way.command[0]).name.startswith("python"):
        return []  # another program may find modules where it likes
    folders, modules = module_folders(way)
    overlay = [packages.folder] if packages and packages.folder else []
    text = "" if way.module else source.text
    names = missing_imports(
        text, folders, modules, python=python.path, environ=environ, packages=overlay
    )
    if not names:
        return []
    return [
        f"imported, and found neither beside the script nor installed here: {', '.join(names)}. "
        "Name their packages (--with PACKAGE, or the script's block), or install them: "
        f"{python.install} PACKAGE"
    ]


def _standard_input() -> str:
    """Return the script of standard input, from where its Python will read it again."""
    import sys
    import tempfile

    content = sys.stdin.buffer.read()
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        os.dup2(file.fileno(), 0)
    return content.decode("utf-8-sig", "replace")


def _check_nothing_to_install(options: RunOptions) -> None:
    """Reject packages of flags that ``--no-install`` would leave out."""
    if flag := options.packages_flag:
        raise click.UsageError(f"{flag} installs packages, --no-install does not: leave out one")


def _overridden(options: RunOptions) -> list[str]:
    """Return a note on the address of a scheduler that the run replaces by that of its own."""
    address = os.environ.get(ENV_SCHEDULER_ADDRESS)
    # --env holds against the run's own; a script of a run may start another run.
    if not address or ENV_SCHEDULER_ADDRESS in dict(options.env) or ENV_ATTEMPT in os.environ:
        return []
    return [f"{ENV_SCHEDULER_ADDRESS}={address} has no effect: Client() connects to this run's own"]


def _check_module(way: Way, python: str, environ: Mapping[str, str]) -> None:
    """Reject a module that Python would not find, before anything is started."""
    from daskjob.submit.modules import missing_module

    options = way.command[1 : way.command.index("-m")]
    if message := missing_module(python, way.module, options=options, environ=environ):
        raise click.UsageError(message)


def _needs(way: Way, source: ScriptText, options: RunOptions) -> Needs:
    """Return what a script needs of its Python, as far as its text shows."""
    text = source.text
    found = declared(text) if "# /// script" in text else None
    return Needs(
        subject=source.subject,
        workers=bool(options.workers),
        # Without its text, it is taken to use what it was asked to run with.
        uses_dask=way.script is None or "dask" in text or "distributed" in text,
        # What is installed is not missing.
        declared=None if options.install else found,
        may_lack_dask=options.workers == 0,
    )


def _behind(project: Sequence[str]) -> str:
    """Return a PYTHONPATH with a project's folders behind those of the user."""
    return ":".join(filter(None, [os.environ.get("PYTHONPATH"), *project]))


def _script_manifest(way: Way, options: RunOptions, project: Sequence[str]) -> Manifest:
    """Return the job of a script, which imports from some folders of its project."""
    workers, threads = default_shape(cpu_count())
    if options.threads is not None:
        workers = max(cpu_count() // options.threads, 1)
    given = {"workers": options.workers, "threads": options.threads, "memory": options.memory}
    path = way.path
    if not way.path_for_script and {**os.environ, **dict(options.env)}.get("PYTHONSAFEPATH"):
        path = ()  # Python itself does not add it either
    elif way.command[:1] != ("python",):
        # A shell, which most often runs a script of the current folder.
        path = (*path, os.getcwd())
    wanted = ScriptOptions(
        workers=options.workers if options.workers is not None else workers,
        threads=options.threads or threads,
        memory=options.memory,
        name=options.name or "",
        retries=options.retries or 0,
        timeout_seconds=options.timeout,
        env={**dict.fromkeys(dict(options.env)), **options.shown},
        python_path=":".join(filter(None, [*path, _behind(project)])),
        path_for_script=way.path_for_script,
        script_path=_behind(project) if project else "",
        folder=way.folder,
        open_to_script=tuple(part for part, value in given.items() if value is None),
    )
    return local_script_job(list(way.command), wanted, way.label)


def cpu_count() -> int:
    """Return the number of CPUs that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
