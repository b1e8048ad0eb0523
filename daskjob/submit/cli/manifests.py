"""Commands about manifests: their mistakes, and the objects that they create."""

from __future__ import annotations

from pathlib import Path

import click

from daskjob.core import names
from daskjob.core.errors import FieldError, Invalid
from daskjob.core.exit_codes import ExitCode
from daskjob.core.manifests import Manifest, metadata
from daskjob.core.spec import CLASSES, DaskJob, parse
from daskjob.submit.cli.parameters import MANIFEST_SUFFIXES


@click.command("validate")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def validate_command(files: tuple[Path, ...]) -> int:
    """Check manifests and report every mistake in every file at once.

    Objects of other kinds are skipped. The exit code is 125 if there is any mistake.
    """
    from daskjob.submit.cli.documents import UnreadableFile, read_documents

    good = True
    for path in files:
        try:
            documents = read_documents(path)
        except (UnreadableFile, Invalid) as error:
            click.echo(str(error), err=True)
            good = False
            continue
        if not documents:
            click.echo(f"{path} is empty", err=True)
            good = False
        for document in documents:
            good = _check(path, document) and good
    return ExitCode.SUCCESS if good else ExitCode.DASKJOB


def _check(path: Path, document: Manifest) -> bool:
    kind, name = document.get("kind"), metadata(document).get("name", "(unnamed)")
    if kind not in list(names.Kind):
        if document.get("apiVersion") == names.API_VERSION:
            mistake = FieldError("kind", kind, "write one of " + ", ".join(names.Kind))
            click.echo(f"{path}: {Invalid(str(name), [mistake])}", err=True)
            return False
        click.echo(f"{path}: {kind} {name} is skipped: not a kind of daskjob")
        return True
    try:
        parse(CLASSES[names.Kind(kind)], document)
    except Invalid as error:
        click.echo(f"{path}: {error}", err=True)
        return False
    click.echo(f"{path}: {kind} {name} is valid")
    return True


@click.command(
    "render", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def render_command(file: Path, args: tuple[str, ...]) -> None:
    """Print the objects that a manifest creates on Kubernetes, or the DaskJob of a script.

    The scheduler's token and the workers' names are random on Kubernetes; here they are
    placeholders.
    """
    from daskjob.submit.cli.documents import read_documents
    from daskjob.submit.cli.output import as_yaml

    if file.suffix in MANIFEST_SUFFIXES:
        objects = [made for document in read_documents(file) for made in _created_by(document)]
    else:
        from daskjob.submit.cli.run import cpu_count
        from daskjob.submit.local import local_script_job
        from daskjob.submit.script import ScriptOptions, default_shape

        workers, threads = default_shape(cpu_count())
        command = ["python", str(file), *args]
        objects = [local_script_job(command, ScriptOptions(workers, threads), file.stem)]
        # From now on it is a manifest: messages use a manifest's words.
        del objects[0]["metadata"]["annotations"]
    click.echo(as_yaml(objects))


def _created_by(document: Manifest) -> list[Manifest]:
    """Return the objects that a job creates; an object of another kind is returned as it is."""
    if document.get("kind") != names.Kind.JOB:
        return [document]
    from daskjob.core.desired.job_objects import desired_objects

    return desired_objects(parse(DaskJob, document))
