"""``daskjob submit`` and ``attach``: a script or a manifest as a job on a cluster."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import Manifest, metadata
from daskjob.core.names import ANNOTATION_SCRIPT, SUBMITTED_SCRIPT
from daskjob.submit.cli.cluster_place import ClusterPlace
from daskjob.submit.cli.output import Format, output_option
from daskjob.submit.cli.parameters import JobName
from daskjob.submit.cli.place import cluster_jobs, options_of, pass_jobs
from daskjob.submit.cli.remember import remember
from daskjob.submit.cli.run import split_module
from daskjob.submit.cli.settings_options import SettingsCommand, given_flags, settings_options
from daskjob.submit.cli.time_limit import ends_at
from daskjob.submit.cli.timeout_option import timeout_option
from daskjob.submit.cluster_job.archive import ALTERNATIVES

if TYPE_CHECKING:
    from daskjob.submit.cluster_job.sending import ClusterJobs
    from daskjob.submit.cluster_job.submission import Submission
    from daskjob.submit.jobs import JobRef, Jobs

#: Errors after which the job may exist, by name: the classes need packages that may be missing.
_UNCLEAR = frozenset({"NoAnswer", "Unhealthy", "OutOfTime", "OutcomeUnknown"})
#: Returns the jobs of a cluster.
Connect = Callable[[click.Context, ClusterPlace], "ClusterJobs"]
#: Records a job that was sent to a place, and its file of variables.
Remember = Callable[[Manifest, "JobRef", ClusterPlace, str], None]

#: ``\b`` keeps the line breaks of a paragraph.
_HELP = """Submit SCRIPT with ARGS, or the DaskJob in a YAML or JSON file, to a cluster.

SCRIPT is what follows `python`: a file, `-m package.module`, a folder with `__main__.py`, `-` for
standard input; or a notebook (.ipynb). It is sent with the modules that it imports from its own
folders; nothing is run to find them.

\b
Put the options of daskjob before SCRIPT; everything after SCRIPT is passed to it.
  daskjob submit my_script.py
  daskjob submit --workers 20 --memory 8Gi my_script.py --input data.csv
  daskjob submit --wait my_script.py
  daskjob submit -f job.yaml --image example.org/team/dask:7
  daskjob submit --like nightly --memory 16Gi
  daskjob submit --dry-run=client -o yaml my_script.py

The command ends when the API server has the job. With --wait it continues to the job's end: the
script's output goes to standard output, messages go to standard error. Ctrl-C then cancels the job;
a second one leaves at once. Ctrl-\\ leaves it running, and so does a lost terminal or connection:
`daskjob attach` comes back. Exit codes with --wait: that of the script; 121 infrastructure failure,
122 deadline exceeded, 123 cancelled, 124 not ended within --timeout, or left running. Always: 125
error of daskjob or of the cluster, 2 wrong usage.

Settings are flags; `[tool.daskjob]` in the script's block `# /// script`; the profile that
--profile names; `[tool.daskjob]` in pyproject.toml; `daskjob` in Dask's configuration. Earlier
places are more important. A manifest is changed by flags and --profile only.
"""


class _SubmitCommand(SettingsCommand):
    """Accepts ``-mMODULE`` and ``--module=MODULE``, as ``daskjob run`` does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments."""
        return super().parse_args(ctx, split_module(args, self.params))


def submit_command_of(connect: Connect, record: Remember | None = None) -> click.Command:
    """Return the command, with what connects to a cluster, and what records its jobs."""

    @click.command(
        "submit",
        cls=_SubmitCommand,
        help=_HELP,
        context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
    )
    @click.option("-m", "--module", is_flag=True, help="SCRIPT is a module, as for python -m.")
    @click.option(
        "-f",
        "--filename",
        "manifest",
        type=click.Path(path_type=Path),
        help="The DaskJob in this file; '-' is standard input.",
    )
    @click.option(
        "--like",
        metavar="JOB",
        type=JobName(),
        help="A new job like this one, which may be gone, with the changes that flags make.",
    )
    @click.option(
        "--wait/--detach", default=False, help="Follow the job to its end, or not (the default)."
    )
    @timeout_option("With --wait: wait at most this long, such as 90s or 2h.")
    @click.option(
        "--dry-run",
        type=click.Choice(["client", "server"]),
        help="Print what would be sent; with 'server', after all checks of the API server.",
    )
    @click.option("--yes", is_flag=True, help="Send code above 2 MiB without a question.")
    @output_option
    @settings_options()
    @click.argument("script", required=False, type=click.Path())
    @click.argument("args", nargs=-1, type=click.UNPROCESSED)
    def submit(
        script: str | None,
        args: tuple[str, ...],
        *,
        module: bool,
        manifest: Path | None,
        like: str | None,
        wait: bool,
        timeout: int | None,
        dry_run: str | None,
        yes: bool,
        output: str | None,
        **given: Any,
    ) -> int:
        _check(wait, timeout, dry_run)
        flags, profile = given_flags(given), given["profile"] or ""
        place: ClusterPlace | None = None
        if like is None:
            found = _submission(script, args, manifest, module=module, flags=flags, profile=profile)
        else:
            _check_like(manifest, [*filter(None, [script]), *args], module=module)
            found, place = _like(like, flags, profile)
        for note in found.notes:
            click.echo(f"daskjob: {note}", err=True)
        if dry_run == "client":
            _print(found.manifest, output, "submitted (dry run)")
            return 0
        if found.question and not yes and not dry_run:
            _ask(found.question)
        settings = found.merged.settings
        place = place or ClusterPlace(settings.context or "", settings.namespace or "")
        cluster = connect(click.get_current_context(), place)
        if dry_run:
            _print(cluster.dry_run(found.manifest), output, "submitted (server dry run)")
            return 0
        ref = _sent(cluster, found, place)
        if ref.existed and not ref.differences:
            click.echo(f"daskjob: {ref.name} was submitted before, with this token", err=True)
        if record:
            record(found.manifest, ref, place, settings.env_file or "")
        options = place.options_for(ref.namespace)
        if wait:
            return _followed(cluster, ref, options, timeout, output)
        _print(_as_sent(found.manifest, ref), output, "submitted")
        where = f"{options} {ref.name}"
        text = f"for its output: daskjob logs -f {where}; if it waits: daskjob why {where}"
        click.echo(f"daskjob: {text}", err=True)
        return 0

    return submit


submit_command = submit_command_of(cluster_jobs, remember)


@click.command("attach")
@click.argument("name", required=False, default="", type=JobName())
@timeout_option("Wait at most this long, such as 90s or 2h.")
@output_option
@pass_jobs
def attach_command(jobs: Jobs, name: str, timeout: int | None, output: str | None) -> int:
    r"""Follow a job to its end, as `daskjob submit --wait` does; without NAME, the newest job.

    The script's output goes to standard output, from the current attempt on. Ctrl-C cancels the
    job; a second one leaves at once. Ctrl-\ leaves it running. With `daskjob logs -f`, Ctrl-C
    leaves the job alone. The exit code is that of the job; 124 if it has not ended.
    """
    ref = jobs.find(name).ref
    options = options_of(click.get_current_context(), jobs, ref)
    return _followed(jobs, ref, options, timeout, output)


def _check(wait: bool, timeout: int | None, dry_run: str | None) -> None:
    if timeout is not None and not wait:
        raise click.UsageError(
            "--timeout is how long --wait waits; the longest time of the job is --deadline"
        )
    if wait and dry_run:
        raise click.UsageError("--dry-run starts no job that --wait could wait for")


def _ask(question: str) -> None:
    """Ask whether to send much code; without a terminal that is an error."""
    if not _has_terminal():
        raise click.UsageError(f"{question}. To send it: --yes; {ALTERNATIVES}")
    if not click.confirm(f"daskjob: {question}. Send it?", err=True):
        raise click.Abort


def _has_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _check_like(manifest: Path | None, words: Sequence[str], *, module: bool) -> None:
    if manifest is not None:
        raise click.UsageError("--like names a job and -f a manifest: leave one of them out")
    if module or words:
        shown = " ".join(words) or "-m"
        raise click.UsageError(
            f"--like runs the script of the other job: leave out {shown}; --set "
            "'spec.job.spec.containers[0].args=[…]' changes its arguments"
        )


def _like(name: str, flags: dict[str, object], profile: str) -> tuple[Submission, ClusterPlace]:
    from daskjob.submit.cli.originals import like_submission
    from daskjob.submit.cli.submissions import Given

    flags = {"token": secrets.token_hex(16), **flags}
    found = like_submission(click.get_current_context(), name, Given(flags, profile))
    return found.submission, found.place


def _sent(cluster: ClusterJobs, found: Submission, place: ClusterPlace) -> JobRef:
    try:
        return cluster.submit(found.manifest, owned=found.owned)
    except KeyboardInterrupt:
        click.echo(f"daskjob: interrupted; {_how_to_cancel(found.manifest, place)}", err=True)
        raise
    except DaskJobError as error:
        if type(error).__name__ in _UNCLEAR:
            error.add_note(_how_to_cancel(found.manifest, place))
        raise


def _how_to_cancel(manifest: Manifest, place: ClusterPlace) -> str:
    """Return how to cancel a job that may have been created."""
    name = metadata(manifest).get("name")
    options = f" --context {place.context}" if place.context else ""
    options += f" -n {place.namespace}" if place.namespace else ""
    return (
        "if the job was created, this cancels it: "
        f"daskjob cancel{options or ' --namespace NAMESPACE'} {name or 'NAME'}"
    )


def _as_sent(manifest: Manifest, ref: JobRef) -> Manifest:
    named = {**metadata(manifest), "name": ref.name, "namespace": ref.namespace}
    return {**manifest, "metadata": named}


def _followed(
    jobs: Jobs, ref: JobRef, options: str, timeout: int | None, output: str | None
) -> int:
    from daskjob.submit.terminal.following import followed

    where = f"{options} {ref.name}".strip()
    keys = " (Ctrl-C cancels it, Ctrl-\\ leaves it running)" if sys.stdin.isatty() else ""
    text = f"following {ref.name}{keys}; for its state: daskjob status {where}"
    click.echo(f"daskjob: {text}", err=True)
    try:
        found = followed(
            jobs,
            ref,
            options=options,
            timeout_seconds=timeout,
            give_up=ends_at(),
            log_to_stderr=output is not None,
        )
    except DaskJobError:
        click.echo(f"daskjob: to follow it again: daskjob attach {where}", err=True)
        raise
    if output is not None and found.job is not None:
        _print(found.job.manifest, output, "ended")
    return found.code


def _submission(
    script: str | None,
    args: tuple[str, ...],
    manifest: Path | None,
    *,
    module: bool,
    flags: dict[str, object],
    profile: str,
) -> Submission:
    from daskjob.submit.cli.parameters import MANIFEST_SUFFIXES
    from daskjob.submit.cli.submissions import Given, manifest_file, script_words

    if script and not module and not manifest and Path(script).suffix in MANIFEST_SUFFIXES:
        manifest, script = Path(script), None
    if manifest is None:
        if not script:
            raise click.UsageError("name a script, -m MODULE, or a manifest: -f job.yaml")
        # Each submission without a token is another job, also of the same script.
        flags = {"token": secrets.token_hex(16), **flags}
        found = script_words(script, args, Given(flags, profile), module=module)
        # Messages about the job use a script's words and options.
        meta = metadata(found.manifest)
        meta["annotations"] = {**meta.get("annotations", {}), ANNOTATION_SCRIPT: SUBMITTED_SCRIPT}
        return found
    extra = [*filter(None, [script]), *args]
    if extra or module:
        raise click.UsageError(f"a manifest takes no arguments: {' '.join(extra) or '-m'}")
    found, others = manifest_file(manifest, Given(flags, profile))
    if others:
        kinds = ", ".join(str(item["kind"]) for item in others)
        raise click.UsageError(
            f"{manifest} has a {kinds} beside the DaskJob, which submit does not create: kubectl "
            "apply -f creates all"
        )
    return found


def _print(manifest: Manifest, output: str | None, done: str) -> None:
    from daskjob.submit.cli.yaml_text import as_yaml

    match output:
        case Format.YAML:
            click.echo(as_yaml([manifest]))
        case Format.JSON:
            click.echo(json.dumps(manifest, indent=2))
        case Format.NAME:
            click.echo(f"daskjob/{metadata(manifest).get('name')}")
        case _:
            click.echo(f"daskjob/{metadata(manifest).get('name')} {done}")
