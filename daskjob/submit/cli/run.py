"""``daskjob run``: a script or a manifest on this machine, in the foreground."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daskjob.core.manifests import Manifest, metadata
from daskjob.submit.cli.output import Format, output_option, print_objects
from daskjob.submit.cli.parameters import (
    MANIFEST_SUFFIXES,
    Assignment,
    Duration,
    Memory,
    NewName,
)

if TYPE_CHECKING:
    from daskjob.submit.cli.live import View
    from daskjob.submit.local_run import ForegroundJob

#: How often the script's output is copied and the screen updated, in seconds.
TICK_SECONDS = 0.2


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
    result_file: Path | None
    output: str | None
    quiet: bool


#: ``\b`` keeps the line breaks of a paragraph.
_HELP = """Run SCRIPT with ARGS, or the DaskJob in a YAML or JSON file, on this machine.

In the script, `distributed.Client()` connects to the workers, as on a cluster. The script's output
goes to standard output, messages of daskjob go to standard error.

\b
Put the options of daskjob before SCRIPT; everything after SCRIPT is passed to it.
  daskjob run my_script.py
  daskjob run --workers 4 --retries 2 my_script.py --input data.csv
  daskjob run job.yaml

With -o, daskjob prints the DaskJob to standard output when it has ended, and the script's output
goes to standard error.

Ctrl-C cancels the job; a second Ctrl-C kills it at once. Exit codes: that of the script; 121
infrastructure failure, 122 deadline exceeded, 123 cancelled, 125 error of daskjob (such as an
invalid manifest), 2 wrong usage.
"""


@click.command(
    "run",
    help=_HELP,
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@click.option(
    "-w", "--workers", type=click.IntRange(0, 1000), metavar="N", help="Number of workers."
)
@click.option(
    "-t", "--threads", type=click.IntRange(1, 1024), metavar="N", help="Threads per worker."
)
@click.option("-m", "--memory", type=Memory(), help="Memory limit per worker, such as 4GiB.")
@click.option(
    "--name", type=NewName(), help="Name of the job; by default generated from the script's name."
)
@click.option(
    "--retries", type=click.IntRange(0, 1000), metavar="N", help="Number of retries after failures."
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
@click.option("-q", "--quiet", is_flag=True, help="Print only the script's output and errors.")
@click.argument("script", type=click.Path())
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def run_command(script: str, args: tuple[str, ...], **given: object) -> int:
    """Run a script, or the DaskJob in a file, and return the exit code."""
    options = RunOptions(**given)  # type: ignore[arg-type]
    _check_result_file(options.result_file)
    manifest, notes = _manifest(script, args, options)
    import asyncio

    from daskjob.submit.local_run import foreground_job

    if options.quiet:
        # For messages of daskjob that come from the script's process (daskjob/in_script).
        os.environ["DASKJOB_QUIET"] = "1"
    job = foreground_job(manifest, variables=dict(options.env))
    return asyncio.run(_run(job, notes, options))


def _check_result_file(path: Path | None) -> None:
    """Reject a result file that cannot be written, before anything is started."""
    if path is None:
        return
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise click.UsageError(f"--result-file {path}: {folder} is not a writable folder")


def _manifest(
    script: str, args: tuple[str, ...], options: RunOptions
) -> tuple[Manifest, list[str]]:
    """Return the manifest to run, and notes on it for the user."""
    path = Path(script)
    if not path.exists():
        raise click.UsageError(f"there is no file {script!r}")
    if path.is_dir():
        raise click.UsageError(f"{script!r} is a folder, not a script or a manifest")
    if not os.access(path, os.R_OK):
        raise click.UsageError(f"{script!r} cannot be read: permission denied")
    if path.suffix in MANIFEST_SUFFIXES:
        from daskjob.submit.cli.documents import read_job

        if args:
            raise click.UsageError(f"a manifest takes no arguments: {' '.join(args)}")
        manifest, notes = read_job(path)
        return _with_options(manifest, options), notes
    command = [*_interpreter(path), _as_a_path(script), *args]
    return _script_manifest(path, command, options), _misplaced(args)


def _misplaced(args: tuple[str, ...]) -> list[str]:
    """Return a note on options after the script that may have been intended for daskjob."""
    ours = ("--workers", "--threads", "--memory", "--retries", "--timeout")
    found = [word for word in args if word.partition("=")[0] in ours]
    if not found:
        return []
    return [f"{', '.join(found)} goes to the script; put options of daskjob before the script"]


def _as_a_path(script: str) -> str:
    """Return a script's path that is neither read as an option nor searched for in PATH."""
    plain = "/" not in script and (script.startswith("-") or not _interpreter(Path(script)))
    return f"./{script}" if plain else script


def _script_manifest(script: Path, command: list[str], options: RunOptions) -> Manifest:
    from daskjob.submit.local import local_script_job
    from daskjob.submit.script import ScriptOptions, default_shape

    workers, threads = default_shape(cpu_count())
    if options.threads is not None:
        workers = max(cpu_count() // options.threads, 1)
    given = {"workers": options.workers, "threads": options.threads, "memory": options.memory}
    folder = str(script.absolute().parent)
    inherited = os.environ.get("PYTHONPATH", "")
    wanted = ScriptOptions(
        workers=options.workers if options.workers is not None else workers,
        threads=options.threads or threads,
        memory=options.memory,
        name=options.name or "",
        retries=options.retries or 0,
        timeout_seconds=options.timeout,
        env=dict.fromkeys(dict(options.env)),
        python_path=f"{folder}:{inherited}" if inherited else folder,
        open_to_script=tuple(part for part, value in given.items() if value is None),
    )
    return local_script_job(command, wanted, script.stem)


def _interpreter(script: Path) -> list[str]:
    """Return the interpreter of a script: this Python, or none for other executables."""
    if script.suffix in (".py", ".pyw") or not os.access(script, os.X_OK):
        return ["python"]
    with script.open("rb") as file:
        start = file.read(64)
    return ["python"] if b"python" in start.split(b"\n")[0] else []


def cpu_count() -> int:
    """Return the number of CPUs that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _with_options(manifest: Manifest, options: RunOptions) -> Manifest:
    """Return a manifest with the options of the command line applied."""
    import copy

    if options.threads is not None or options.memory is not None:
        raise click.UsageError(
            "--threads and --memory are for scripts only; set them in the manifest instead"
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
            kept = [v for v in own if v.get("name") not in dict(options.env)]
            added = [{"name": name} for name in dict(options.env)]
            container["env"] = [*kept, *added]
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
    import asyncio

    from daskjob.core.exit_codes import exit_code
    from daskjob.core.status import job_status_from
    from daskjob.submit.cli.live import view_of

    to_stderr = options.output is not None
    view = view_of(run, quiet=options.quiet, log_to_stderr=to_stderr)
    _on_signals(run, view.interrupted)
    view.begin([*notes, *run.notes])
    ticking = asyncio.create_task(_tick(view))
    # The script writes to a file, so it gets no SIGPIPE when the reader of our output is gone.
    ticking.add_done_callback(lambda task: None if task.cancelled() else run.cancel())
    try:
        job = await run.run()
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        view.end()
        run.close()
    status = job_status_from(job.get("status"))
    if options.result_file is not None:
        options.result_file.write_text(json.dumps(status.result, indent=2) + "\n")
    if options.output is not None:
        output = Format.NAME if options.output == Format.TABLE else Format(options.output)
        print_objects([job], output, as_list=False)
    sys.stdout.flush()
    return exit_code(status)


async def _tick(view: View) -> None:
    import asyncio

    while True:
        view.update()
        await asyncio.sleep(TICK_SECONDS)


def _on_signals(run: ForegroundJob, report: Callable[[str, int], None]) -> None:
    """Cancel the job at the first signal, kill it at the second."""
    import asyncio

    loop = asyncio.get_running_loop()
    seen = 0

    def interrupted(name: str) -> None:
        nonlocal seen
        seen += 1
        report(name, seen)
        if seen == 1:
            run.cancel()
        else:
            run.kill()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A command started by nohup ignores SIGHUP and must continue to.
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, interrupted, signal.Signals(number).name)
