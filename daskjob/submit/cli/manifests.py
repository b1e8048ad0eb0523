"""Commands about manifests: their mistakes, and the objects that they create."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from daskjob.core import names
from daskjob.core.errors import Invalid
from daskjob.core.exit_codes import ExitCode
from daskjob.core.manifests import Manifest, metadata
from daskjob.core.spec import DaskJob, parse
from daskjob.core.spec.doubts import doubts
from daskjob.submit.cli.parameters import MANIFEST_SUFFIXES
from daskjob.submit.cli.settings_options import SettingsCommand, given_flags, settings_options


@click.command("validate")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def validate_command(files: tuple[Path, ...]) -> int:
    """Check manifests and report every mistake in every file at once.

    The kinds of daskjob and the core kinds of Kubernetes are checked as strictly as by the API
    server; other kinds are skipped. The exit code is 125 if there is any mistake.
    """
    from daskjob.submit.cli.documents import UnreadableFile, all_documents

    good = True
    for path in files:
        try:
            _reject_script(path)
            documents, mistakes = all_documents(path)
        except UnreadableFile as error:
            click.echo(str(error), err=True)
            good = False
            continue
        if mistakes:
            click.echo(str(Invalid(str(path), mistakes)), err=True)
            good = False
        elif not documents:
            click.echo(f"{path} is empty", err=True)
            good = False
        for document in documents:
            good = _check(path, document) and good
    return ExitCode.SUCCESS if good else ExitCode.DASKJOB


def _reject_script(path: Path) -> None:
    """Raise ``UnreadableFile`` for a script or a notebook: reading it as YAML would mislead."""
    from daskjob.submit.cli.documents import UnreadableFile

    what = {".py": "script", ".pyw": "script", ".ipynb": "notebook", ".sh": "script"}
    if path.suffix in what:
        raise UnreadableFile(
            f"{path} is a {what[path.suffix]}, not a manifest. To run it: daskjob run {path}; "
            f"to make a manifest of it: daskjob render {path} > job.yaml"
        )


def _check(path: Path, document: Manifest) -> bool:
    from daskjob.submit.cli.documents import check_document, check_kind

    kind, name = document.get("kind"), metadata(document).get("name", "(unnamed)")
    try:
        check_kind(document, str(name))
        checked = check_document(document)
    except Invalid as error:
        click.echo(f"{path}: {error}", err=True)
        return False
    for doubt in doubts(document):
        click.echo(f"{path}: {kind} {name}: note: {doubt}", err=True)
    what = "is valid" if checked else "is skipped: not a kind of daskjob"
    click.echo(f"{path}: {kind} {name} {what}")
    return True


@click.command(
    "render",
    cls=SettingsCommand,
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@click.option("-m", "--module", is_flag=True, help="FILE is a module, as for python -m.")
@click.option("--origins", is_flag=True, help="Print, as comments, where each setting came from.")
@settings_options(leave_out=("context",))
@click.argument("file", type=click.Path())
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def render_command(
    file: str, args: tuple[str, ...], *, module: bool, origins: bool, **given: Any
) -> None:
    """Print the DaskJob of a script for a cluster, or the objects that a manifest creates.

    FILE is a script, a module (-m), a notebook, a folder with __main__.py, `-` for standard input,
    or a manifest. `kubectl apply` runs what is printed for a script: its code, with the modules
    beside it that it imports, is part of it. Nothing is run to find them.

    Settings are flags; `[tool.daskjob]` in the script's block `# /// script`; the profile that
    --profile names; `[tool.daskjob]` in pyproject.toml; `daskjob` in Dask's configuration. Earlier
    places are more important. A manifest is changed by flags and --profile only.

    The scheduler's token and the workers' names are random on Kubernetes; here they are
    placeholders.
    """
    from daskjob.submit.cli.yaml_text import as_yaml
    from daskjob.submit.cluster_job.submission import apply_notes
    from daskjob.submit.settings.origins import origin_comments

    flags, profile = given_flags(given), given["profile"] or ""
    is_manifest = not module and Path(file).suffix in MANIFEST_SUFFIXES
    if is_manifest and args:
        raise click.UsageError(f"a manifest takes no arguments: {' '.join(args)}")
    if is_manifest and not flags and not profile:
        documents = _checked(Path(file))
        click.echo(as_yaml([made for document in documents for made in _created_by(document)]))
        return
    from daskjob.submit.cli.submissions import Given, manifest_file, script_words

    if is_manifest:
        found, others = manifest_file(Path(file), Given(flags, profile))
        objects = [made for item in (found.manifest, *others) for made in _created_by(item)]
    else:
        found = script_words(file, args, Given(flags, profile), module=module)
        # First what the job's pods would wait for.
        objects = [*found.code, found.manifest]
    for note in (*found.notes, *apply_notes(found)):
        click.echo(f"daskjob: {note}", err=True)
    if origins:
        click.echo(origin_comments(found.merged, found.packages_from))
    click.echo(as_yaml(objects))


def _checked(path: Path) -> list[Manifest]:
    """Return the documents of a file, which are right; report the fields that pods lack."""
    from daskjob.submit.cli.documents import (
        UnreadableFile,
        check_kind,
        read_documents,
        unknown_fields,
    )

    documents = read_documents(path)
    if not documents:
        raise UnreadableFile(f"{path} is empty")
    for document in documents:
        check_kind(document, str(path))
        for field in unknown_fields(document):
            click.echo(f"daskjob: unknown in {path}: {field}", err=True)
    return documents


def _created_by(document: Manifest) -> list[Manifest]:
    """Return the objects that a job creates; an object of another kind is returned as it is."""
    if document.get("kind") != names.Kind.JOB:
        return [document]
    from daskjob.core.desired.job_objects import desired_objects

    return desired_objects(parse(DaskJob, document))
