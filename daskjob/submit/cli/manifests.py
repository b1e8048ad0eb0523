"""Commands about manifests: their mistakes, and the objects that they create."""

from __future__ import annotations

from pathlib import Path

import click

from daskjob.core import names
from daskjob.core.errors import Invalid
from daskjob.core.exit_codes import ExitCode
from daskjob.core.manifests import Manifest, metadata
from daskjob.core.spec import DaskJob, parse
from daskjob.core.spec.doubts import doubts
from daskjob.submit.cli.parameters import MANIFEST_SUFFIXES


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
    "render", context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False}
)
@click.option("-m", "--module", is_flag=True, help="FILE is a module, as for python -m.")
@click.argument("file", type=click.Path())
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def render_command(file: str, args: tuple[str, ...], *, module: bool) -> None:
    """Print the objects that a manifest creates on Kubernetes, or the DaskJob of a script.

    The scheduler's token and the workers' names are random on Kubernetes; here they are
    placeholders. FILE may also be a module (-m), a notebook, or a folder with __main__.py.
    """
    from daskjob.submit.cli.output import as_yaml

    if not module and Path(file).suffix in MANIFEST_SUFFIXES:
        if args:
            raise click.UsageError(f"a manifest takes no arguments: {' '.join(args)}")
        objects = [made for document in _checked(Path(file)) for made in _created_by(document)]
    else:
        objects = [_job_of(file, args, module=module)]
        # From now on it is a manifest: messages use a manifest's words.
        del objects[0]["metadata"]["annotations"]
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


def _job_of(script: str, args: tuple[str, ...], *, module: bool) -> Manifest:
    """Return the DaskJob of a script, without this machine's paths."""
    from daskjob.submit.cli.run import cpu_count
    from daskjob.submit.cli.ways_in import way_in
    from daskjob.submit.local import local_script_job
    from daskjob.submit.script import ScriptOptions, default_shape

    way = way_in(script, args, module=module)
    if way.from_stdin:
        raise click.UsageError("a manifest cannot contain a script from standard input")
    workers, threads = default_shape(cpu_count())
    options = ScriptOptions(workers, threads)
    return local_script_job(list(way.command), options, way.label)


def _created_by(document: Manifest) -> list[Manifest]:
    """Return the objects that a job creates; an object of another kind is returned as it is."""
    if document.get("kind") != names.Kind.JOB:
        return [document]
    from daskjob.core.desired.job_objects import desired_objects

    return desired_objects(parse(DaskJob, document))
