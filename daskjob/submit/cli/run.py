"""``daskjob run``: a script or a manifest on this machine, in the foreground."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

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
from daskjob.submit.cli.run_options import RunOptions, Wanted, check_no_packages, with_fields

if TYPE_CHECKING:
    from daskjob.submit.local_run import ForegroundJob


#: ``\b`` keeps the line breaks of a paragraph.
_HELP = """Run SCRIPT with ARGS, or the DaskJob in a YAML or JSON file, on this machine.

SCRIPT is what follows `python`: a file, `-m package.module`, `-c CODE`, a folder with
`__main__.py`, `-` for standard input; or a notebook (.ipynb), whose code cells run in their order.
The active environment (VIRTUAL_ENV, CONDA_PREFIX) runs it, else the Python of daskjob.

In the script, `distributed.Client()` connects to the workers, as on a cluster. The script's output
goes to standard output, messages of daskjob go to standard error.

The settings of SCRIPT, its block [tool.daskjob], and those of its project and of the user hold here
too, as far as this machine has what they ask for; options come before them.

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
@click.option(
    "--profile", metavar="NAME", help="Use the profile of this name, of the script's settings."
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
        check_no_packages(options, "--like installs the packages of the other job")
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


def _wanted(
    script: str, args: tuple[str, ...], options: RunOptions, *, module: bool, code: bool
) -> Wanted:
    """Return what the command line asks for."""
    if not script:
        raise click.UsageError("Missing argument 'SCRIPT'; or name a job to run again: --like JOB")
    path = Path(script)
    if not (module or code) and path.suffix in MANIFEST_SUFFIXES and path.is_file():
        from daskjob.submit.cli.run_manifest import manifest_run

        return manifest_run(path, args, options)
    from daskjob.submit.cli.run_script import script_run

    return script_run(script, args, options, module=module, code=code)


def check_like(words: Sequence[str], *, module: bool, code: bool) -> None:
    """Reject a script beside ``--like``, which runs that of the other job."""
    if words or module or code:
        shown = " ".join(words) or ("-m" if module else "-c")
        raise click.UsageError(
            f"--like runs the script of the other job: leave out {shown}; --set "
            "'spec.job.spec.containers[0].command=[…]' changes its command line"
        )


def _check_result_file(path: Path | None) -> None:
    """Reject a result file that cannot be written, before anything is started."""
    if path is None:
        return
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise click.UsageError(f"--result-file {path}: {folder} is not a writable folder")


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
