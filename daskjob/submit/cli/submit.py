"""``daskjob submit``: a script or a manifest as a job on a cluster.

``submit_command_of`` takes what sends the job. The command is listed in ``daskjob --help`` once a
client of Kubernetes is passed to it.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskjob.core.manifests import Manifest, metadata
from daskjob.core.names import ANNOTATION_SCRIPT
from daskjob.submit.cli.output import Format, output_option
from daskjob.submit.cli.run import split_module
from daskjob.submit.cli.settings_options import SettingsCommand, given_flags, settings_options

if TYPE_CHECKING:
    from daskjob.submit.cluster_job.sending import Send
    from daskjob.submit.cluster_job.submission import Submission

#: ``\b`` keeps the line breaks of a paragraph.
_HELP = """Submit SCRIPT with ARGS, or the DaskJob in a YAML or JSON file, to a cluster.

SCRIPT is what follows `python`: a file, `-m package.module`, a folder with `__main__.py`, `-` for
standard input; or a notebook (.ipynb). It is sent with the modules that it imports from its own
folders; nothing is run to find them.

\b
Put the options of daskjob before SCRIPT; everything after SCRIPT is passed to it.
  daskjob submit my_script.py
  daskjob submit --workers 20 --memory 8Gi my_script.py --input data.csv
  daskjob submit -f job.yaml --image example.org/team/dask:7
  daskjob submit --dry-run=client -o yaml my_script.py

Settings are flags; `[tool.daskjob]` in the script's block `# /// script`; the profile that
--profile names; `[tool.daskjob]` in pyproject.toml; `daskjob` in Dask's configuration. Earlier
places are more important. A manifest is changed by flags and --profile only.
"""


class _SubmitCommand(SettingsCommand):
    """Accepts ``-mMODULE`` and ``--module=MODULE``, as ``daskjob run`` does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments."""
        return super().parse_args(ctx, split_module(args, self.params))


def submit_command_of(send: Send) -> click.Command:
    """Return the command, with what sends jobs."""

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
        "--dry-run", type=click.Choice(["client"]), help="Send nothing; print what would be sent."
    )
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
        dry_run: str | None,
        output: str | None,
        **given: Any,
    ) -> int:
        flags, profile = given_flags(given), given["profile"] or ""
        found = _submission(script, args, manifest, module=module, flags=flags, profile=profile)
        for note in found.notes:
            click.echo(f"daskjob: {note}", err=True)
        if not dry_run:
            send(found)
        _print(found.manifest, output, "submitted (dry run)" if dry_run else "submitted")
        return 0

    return submit


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
        meta["annotations"] = {**meta.get("annotations", {}), ANNOTATION_SCRIPT: "true"}
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
