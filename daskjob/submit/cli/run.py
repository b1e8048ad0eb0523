"""``daskjob run``: a script or a manifest on this machine, in the foreground."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daskjob.core.manifests import Manifest, metadata
from daskjob.core.names import ENV_ATTEMPT, ENV_SCHEDULER_ADDRESS
from daskjob.submit.cli.output import Format, output_option, print_objects
from daskjob.submit.cli.parameters import (
    MANIFEST_SUFFIXES,
    Assignment,
    Count,
    Duration,
    FieldValue,
    JobName,
    Memory,
    NewName,
)
from daskjob.submit.package_hints import may_want_packages
from daskjob.submit.python_environment import (
    Needs,
    Python,
    Pythons,
    chosen_python,
    chosen_pythons,
    environment_of,
)

if TYPE_CHECKING:
    from daskjob.backends.local.run_environment import Packages
    from daskjob.submit.cli.ways_in import Way
    from daskjob.submit.local_records import Origin
    from daskjob.submit.local_run import ForegroundJob


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of ``daskjob run``; ``None`` if not given."""

    workers: int | None
    threads: int | None
    memory: str | None
    name: str | None
    retries: int | None
    timeout: int | None
    env: tuple[tuple[str, str], ...]
    python: str | None
    result_file: Path | None
    output: str | None
    quiet: bool
    worker_output: bool
    with_: tuple[str, ...] = ()
    requirements: str | None = None
    install: bool = True
    set: Mapping[str, object] = field(default_factory=dict)


#: ``\b`` keeps the line breaks of a paragraph.
_HELP = """Run SCRIPT with ARGS, or the DaskJob in a YAML or JSON file, on this machine.

SCRIPT is what follows `python`: a file, `-m package.module`, `-c CODE`, a folder with
`__main__.py`, `-` for standard input; or a notebook (.ipynb), whose code cells run in their order.
The active environment (VIRTUAL_ENV, CONDA_PREFIX) runs it, else the Python of daskjob.

In the script, `distributed.Client()` connects to the workers, as on a cluster. The script's output
goes to standard output, messages of daskjob go to standard error.

\b
Put the options of daskjob before SCRIPT; everything after SCRIPT is passed to it.
  daskjob run my_script.py
  daskjob run --workers 4 --retries 2 my_script.py --input data.csv
  daskjob run -m package.module --input data.csv
  daskjob run job.yaml
  daskjob run --like JOB --workers 8

With -o, daskjob prints the DaskJob to standard output when it has ended, and the script's output
goes to standard error.

The script's standard output and error stay two streams; where they are a terminal, the script
has one, and the keys go to it.

Ctrl-C is SIGINT to the script, as with python, and cancels the job; it gets SIGTERM and SIGKILL if
it has not ended by itself within its grace (10 s), and SIGKILL at a second Ctrl-C. Exit codes: that
of the script; 121 infrastructure failure, 122 deadline exceeded, 123 cancelled, whatever the script
exits with then, 125 error of daskjob (such as an invalid manifest), 2 wrong usage.
"""


class _RunCommand(click.Command):
    """Accepts ``-mMODULE`` and ``--module=MODULE`` too: to click, ``-m`` is a flag of SCRIPT.

    As a flag it ends daskjob's options at the module, as ``python -m`` does; so does ``-c``.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments."""
        return super().parse_args(ctx, split_module(args, self.params))


def split_module(args: list[str], params: list[click.Parameter]) -> list[str]:
    """Return the arguments with an attached module, or code, as a word of its own."""
    valued = {
        name
        for param in params
        if isinstance(param, click.Option) and not param.is_flag
        for name in param.opts
    }
    index = 0
    while index < len(args) and args[index].startswith("-") and args[index] not in ("-", "--"):
        word = args[index]
        for flag, long in (("-m", "--module="), ("-c", "--code=")):
            attached = word.startswith(flag) and len(word) > 2
            if attached or word.startswith(long):
                rest = word[2:] if attached else word.removeprefix(long)
                return [*args[:index], flag, rest, *args[index + 1 :]]
        index += 2 if word in valued else 1
    return args


@click.command(
    "run",
    cls=_RunCommand,
    help=_HELP,
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@click.option("-w", "--workers", type=Count(0, 1000), metavar="N", help="Number of workers.")
@click.option("-t", "--threads", type=Count(1, 1024), metavar="N", help="Threads per worker.")
@click.option("--memory", type=Memory(), help="Memory limit per worker, such as 4GiB.")
@click.option("-m", "--module", is_flag=True, help="SCRIPT is a module, as for python -m.")
@click.option("-c", "--code", is_flag=True, help="SCRIPT is code of Python, as for python -c.")
@click.option(
    "--python",
    metavar="PYTHON",
    help="The Python of script and workers: a program, an environment's folder, or a version.",
)
@click.option(
    "--with",
    "with_",
    metavar="PACKAGE",
    multiple=True,
    help="A package to install for this run, if its Python lacks it.",
)
@click.option(
    "--requirements",
    metavar="FILE",
    help="File of packages to install for this run, as pip reads it.",
)
@click.option(
    "--install/--no-install",
    default=True,
    help="Install what the script declares and its Python lacks, into a cache (the default).",
)
@click.option(
    "--name", type=NewName(), help="Name of the job; by default generated from the script's name."
)
@click.option(
    "--retries", type=Count(0, 1000), metavar="N", help="Number of retries after failures."
)
@click.option("--timeout", type=Duration(), help="Time limit of the job, such as 90s or 2h.")
@click.option(
    "-e",
    "--env",
    type=Assignment(),
    multiple=True,
    help="Set KEY=VALUE for the script and the workers; KEY alone passes on its current value.",
)
@click.option(
    "--result-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the job's result to this file, as JSON.",
)
@output_option
@click.option(
    "--worker-output/--no-worker-output",
    default=True,
    help="Show what tasks print and log, after the name of their worker, on standard error.",
)
@click.option(
    "-q",
    "--quiet",
    is_flag=True,
    help="Print only errors and what the script prints itself, not its tasks.",
)
@click.option(
    "--like",
    metavar="JOB",
    type=JobName(),
    help="A new job like this one, which may be gone, with the changes that options make.",
)
@click.option(
    "--set",
    "assignments",
    type=FieldValue(),
    multiple=True,
    help="Set any field of the DaskJob, such as spec.stallAction=Fail.",
)
# Of ``daskjob retry``, for the process that runs the new job.
@click.option("--prepared", is_flag=True, hidden=True)
@click.argument("script", required=False, default="", type=click.Path())
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def run_command(
    script: str,
    args: tuple[str, ...],
    *,
    module: bool,
    code: bool,
    like: str | None,
    assignments: tuple[tuple[str, str], ...],
    prepared: bool,
    **given: object,
) -> int:
    """Run a script, or the DaskJob in a file, and return the exit code."""
    options = RunOptions(**given, set=dict(assignments))  # type: ignore[arg-type]
    _check_result_file(options.result_file)
    if options.quiet:
        # For messages of daskjob that come from the script's process (daskjob/in_script).
        os.environ["DASKJOB_QUIET"] = "1"
    if options.result_file:
        # A job that is like another one runs in the folder of that one.
        options = replace(options, result_file=options.result_file.absolute())
    if prepared:
        from daskjob.submit.cli.run_like import wanted_prepared

        wanted = wanted_prepared(Path(script))
    elif like is not None:
        from daskjob.submit.cli.run_like import wanted_like

        check_like([*filter(None, [script]), *args], module=module, code=code)
        _check_no_packages(options, "--like installs the packages of the other job")
        wanted = wanted_like(click.get_current_context(), like, options)
    else:
        wanted = _wanted(script, args, options, module=module, code=code)
        wanted = replace(wanted, manifest=with_fields(wanted.manifest, options))
    import asyncio

    from daskjob.submit.local_run import foreground_job

    job = foreground_job(
        wanted.manifest,
        variables={**wanted.variables, **dict(options.env)},
        config=wanted.config,
        pythons=wanted.pythons,
        environment=wanted.environment,
        origin=wanted.origin,
        packages=wanted.packages,
    )
    return asyncio.run(_run(job, list(wanted.notes), options))


def check_like(words: Sequence[str], *, module: bool, code: bool) -> None:
    """Reject a script beside ``--like``, which runs that of the other job."""
    if words or module or code:
        shown = " ".join(words) or ("-m" if module else "-c")
        raise click.UsageError(
            f"--like runs the script of the other job: leave out {shown}; --set "
            "'spec.job.spec.containers[0].command=[…]' changes its command line"
        )


def with_fields(manifest: Manifest, options: RunOptions) -> Manifest:
    """Return a manifest with the fields that ``--set`` sets.

    Raises
    ------
    click.UsageError
        There is no such field, or its value is wrong.
    """
    if not options.set:
        return manifest
    import copy

    from daskjob.submit.cluster_job.fields import set_fields
    from daskjob.submit.settings.sources import WrongSettings

    changed: Manifest = copy.deepcopy(manifest)
    try:
        set_fields(changed, options.set)
    except WrongSettings as error:
        raise click.UsageError(str(error)) from error
    return changed


def _check_no_packages(options: RunOptions, why: str) -> None:
    """Reject packages of flags where they would have no effect."""
    flag = "--with" if options.with_ else "--requirements" if options.requirements else ""
    if flag:
        raise click.UsageError(f"{flag} is for scripts: {why}")


def _check_result_file(path: Path | None) -> None:
    """Reject a result file that cannot be written, before anything is started."""
    if path is None:
        return
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise click.UsageError(f"--result-file {path}: {folder} is not a writable folder")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to run, with what, and what to report before."""

    manifest: Manifest
    pythons: Pythons
    environment: Mapping[str, str]
    config: tuple[Manifest, ...] = ()
    notes: tuple[str, ...] = ()
    #: The values of variables that the manifest only names.
    variables: Mapping[str, str] = field(default_factory=dict)
    #: The files that a later run like this one needs.
    origin: Origin | None = None
    #: The packages of the manifest's environment, which are installed already.
    packages: Packages | None = None


def _wanted(
    script: str, args: tuple[str, ...], options: RunOptions, *, module: bool, code: bool
) -> Wanted:
    """Return what the command line asks for."""
    if not script:
        raise click.UsageError("Missing argument 'SCRIPT'; or name a job to run again: --like JOB")
    path = Path(script)
    if not (module or code) and path.suffix in MANIFEST_SUFFIXES and path.is_file():
        return _wanted_manifest(path, args, options)
    from daskjob.submit.cli.programs import project_folders
    from daskjob.submit.cli.ways_in import way_in
    from daskjob.submit.local_records import Origin

    way = way_in(script, args, module=module, code=code)
    if way.from_stdin and options.retries:
        raise click.UsageError("--retries needs a script in a file: '-' can be read only once")
    named = options.python or way.python
    python, notes = chosen_python(named, os.environ, "--python" if options.python else "as named")
    environment = environment_of(python, os.environ)
    project = project_folders(way)
    if way.module:
        variables = {**environment, "PYTHONPATH": _behind(project), **dict(options.env)}
        _check_module(way, python.path, variables)
    needs = _needs(way, options)
    pythons, workers, more = chosen_pythons(python, needs, environ=os.environ)
    if not workers:
        options = replace(options, workers=0)
    manifest = _script_manifest(way, options, project)
    packages = None
    if options.install:
        packages, found = _with_packages(manifest, way, python, options, environment)
        more += found
    return Wanted(
        manifest,
        pythons,
        environment,
        notes=(*notes, *more, *way.notes, *_overridden(options)),
        packages=packages,
        origin=Origin(script=str(way.script.absolute()) if way.script else ""),
    )


def _with_packages(
    manifest: Manifest,
    way: Way,
    python: Python,
    options: RunOptions,
    environment: Mapping[str, str],
) -> tuple[Packages | None, list[str]]:
    """Add what a script needs and its Python lacks to its job, and install it; return notes too."""
    from daskjob.submit.cli.programs import text_of

    text = text_of(way)
    folder = way.script.absolute().parent if way.script else Path.cwd()
    flags = {"packages": options.with_, "requirements": options.requirements}
    flags = {key: value for key, value in flags.items() if value}
    if not flags and not may_want_packages(text, folder):
        return None, []
    # Most scripts want nothing that their Python lacks.
    from daskjob.submit import local_packages
    from daskjob.submit.settings.sources import WrongSettings

    script = local_packages.ScriptText(text, str(way.script or way.label), folder)
    variables = {**environment, **dict(options.env)}
    try:
        given = local_packages.settings_of(script, flags)
        found = local_packages.packages_of(script, given, python, variables)
    except WrongSettings as error:
        raise click.UsageError(str(error)) from error
    if not found.environment:
        return None, list(found.notes)
    manifest["spec"]["environment"] = found.environment

    def say(activity: str) -> None:
        if activity and not options.quiet:
            click.echo(f"daskjob: {activity}", err=True)

    packages = local_packages.installed(found.environment, python, variables, say)
    return packages, [*found.notes, *filter(None, [packages.note])]


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


def _wanted_manifest(path: Path, args: tuple[str, ...], options: RunOptions) -> Wanted:
    from daskjob.submit.cli.documents import read_job
    from daskjob.submit.local_records import Origin

    if args:
        raise click.UsageError(f"a manifest takes no arguments: {' '.join(args)}")
    _check_no_packages(options, "a manifest has its packages in spec.environment")
    found = read_job(path)
    manifest = with_options(found.job, options)
    python, notes = chosen_python(options.python or "", os.environ)
    needs = Needs(str(path), workers=True, uses_dask=True, may_lack_dask=options.workers == 0)
    pythons, _, more = chosen_pythons(python, needs, environ=os.environ)
    environment = environment_of(python, os.environ)
    origin = Origin(file=str(path.absolute()) if found.config else "")
    notes = [*found.notes, *notes, *more]
    return Wanted(manifest, pythons, environment, found.config, tuple(notes), origin=origin)


def _needs(way: Way, options: RunOptions) -> Needs:
    """Return what a script needs of its Python, as far as its text shows."""
    from daskjob.submit.cli.programs import text_of
    from daskjob.submit.inline_metadata import declared

    text = text_of(way)
    found = declared(text) if "# /// script" in text else None
    return Needs(
        subject=str(way.script or way.label),
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
    from daskjob.submit.local import local_script_job
    from daskjob.submit.script import ScriptOptions, default_shape

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
        env=dict.fromkeys(dict(options.env)),
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


def with_options(manifest: Manifest, options: RunOptions) -> Manifest:
    """Return a manifest with the options of the command line applied."""
    import copy

    from daskjob.submit.script import with_variables

    of_dask = {"--nthreads": options.threads, "--memory-limit": options.memory}
    ours = {"--nthreads": "--threads", "--memory-limit": "--memory"}
    for option, value in of_dask.items():
        if value is not None:
            raise click.UsageError(
                f"{ours[option]} is for scripts; a manifest has {option} in the args of its workers"
            )
    changed: Manifest = copy.deepcopy(manifest)
    if options.name:
        changed["metadata"] = {**metadata(changed), "name": options.name}
    spec = changed.get("spec")
    if not isinstance(spec, dict):
        return changed
    if options.retries is not None:
        spec["backoffLimit"] = options.retries
    if options.timeout is not None:
        spec["activeDeadlineSeconds"] = options.timeout
    if options.workers is not None:
        with contextlib.suppress(KeyError, TypeError):
            spec["cluster"]["spec"]["worker"]["replicas"] = options.workers
    for container in _containers(spec) if options.env else ():
        own = container.get("env") or []
        if isinstance(own, list) and all(isinstance(variable, dict) for variable in own):
            container["env"] = with_variables(own, [{"name": name} for name in dict(options.env)])
    return changed


def _containers(spec: Manifest) -> list[Manifest]:
    """Return the containers of the runner and the workers; skip anything malformed."""
    found: list[Manifest] = []
    for path in (("job", "spec"), ("cluster", "spec", "worker", "spec")):
        place: object = spec
        for key in (*path, "containers"):
            place = place.get(key) if isinstance(place, dict) else None
        if isinstance(place, list):
            found += [container for container in place if isinstance(container, dict)]
    return found


async def _run(run: ForegroundJob, notes: list[str], options: RunOptions) -> int:
    from daskjob.core.exit_codes import exit_code
    from daskjob.core.status import job_status_from
    from daskjob.submit.terminal.foreground import shown_to_its_end

    job = await shown_to_its_end(
        run,
        notes,
        quiet=options.quiet,
        log_to_stderr=options.output is not None,
        worker_output=options.worker_output,
    )
    status = job_status_from(job.get("status"))
    if options.result_file is not None:
        options.result_file.write_text(json.dumps(status.result, indent=2) + "\n")
    if options.output is not None:
        output = Format.NAME if options.output == Format.TABLE else Format(options.output)
        print_objects([job], output, as_list=False)
    return exit_code(status)
