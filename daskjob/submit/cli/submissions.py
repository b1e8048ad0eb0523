"""The submission that a command line asks for: its words, its flags, and files of settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from daskjob.core.errors import Invalid
from daskjob.core.manifests import Manifest
from daskjob.submit.cli.programs import (
    program_of,
    remote_program,
    script_text,
    sources_of,
    text_of,
)
from daskjob.submit.cli.ways_in import Way, way_in
from daskjob.submit.cluster_job.archive import UnfitCode
from daskjob.submit.cluster_job.code_place import code_place, folder_of
from daskjob.submit.cluster_job.doubts import active_environment, program_doubts
from daskjob.submit.cluster_job.environment import script_environment, with_packages
from daskjob.submit.cluster_job.image import NoImage, Versions, environment_versions
from daskjob.submit.cluster_job.program import Program
from daskjob.submit.cluster_job.submission import (
    Submission,
    manifest_submission,
    script_submission,
    with_image,
)
from daskjob.submit.cluster_job.variables import read_env_file
from daskjob.submit.environment.wanted import Resolved, UnfitEnvironment
from daskjob.submit.inline_metadata import ScriptText
from daskjob.submit.notebook import UnfitNotebook
from daskjob.submit.settings.items import is_elsewhere
from daskjob.submit.settings.merge import Merged, merged
from daskjob.submit.settings.sources import Layer, WrongSettings, default_layer, flags_layer
from daskjob.submit.settings.table import Settings
from daskjob.submit.settings_places import folder_places, script_places


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line gives beside the script."""

    #: By key of the setting.
    flags: Mapping[str, object]
    profile: str = ""


def script_words(
    word: str, args: Sequence[str], given: Given, *, module: bool = False
) -> Submission:
    """Return the submission of a script, a module or a notebook.

    Raises
    ------
    click.UsageError
        The words name nothing that can run, a setting is wrong, or the code cannot be sent.
    """
    try:
        return _checked(_script(word, args, given, module=module))
    except (
        *(WrongSettings, UnfitCode, UnfitEnvironment, UnfitNotebook, NoImage, Invalid),
    ) as error:
        raise click.UsageError(str(error)) from error


def manifest_file(path: Path, given: Given) -> tuple[Submission, list[Manifest]]:
    """Return the submission of the only DaskJob of a file, and the file's other objects.

    Flags change the job; no place of settings but a profile that a flag names does: a manifest is
    complete.

    Raises
    ------
    click.UsageError
        A setting is wrong, or does not fit this manifest.
    UnreadableFile, Invalid
        The file contains no DaskJob, or several, or a wrong one.
    """
    from daskjob.submit.cli.documents import only_job

    job, others = only_job(path)
    return changed_manifest(job, given), others


def changed_manifest(job: Manifest, given: Given) -> Submission:
    """Return the submission of a DaskJob with the changes of flags and of their profile.

    Raises
    ------
    click.UsageError
        A setting is wrong, or does not fit this manifest.
    Invalid
        The DaskJob is wrong.
    """
    notes = _notes_on(job)
    try:
        places = folder_places(Path.cwd(), os.environ)
        layers = places.profile_layers(given.profile) if given.profile else []
        found = merged([*layers, flags_layer(given.flags)])
        versions = _versions(None)
        job, more = with_packages(job, found.settings, os.environ)
        submission = manifest_submission(job, found, versions=versions, env_file=_env_file(found))
        _notes_on(submission.manifest)
    except (WrongSettings, UnfitEnvironment, Invalid) as error:
        raise click.UsageError(str(error)) from error
    return replace(submission, notes=(*notes, *more, *submission.notes))


def _notes_on(job: Manifest) -> list[str]:
    """Return notes on fields that Kubernetes does not know: a newer one may.

    Raises
    ------
    Invalid
        With every mistake.
    """
    from daskjob.core.spec.kubernetes_objects import Unknown
    from daskjob.submit.cli.documents import check_document

    try:
        check_document(job)
    except Invalid as error:
        if not all(isinstance(mistake, Unknown) for mistake in error.errors):
            raise
        return [str(mistake) for mistake in error.errors]
    return []


def _script(word: str, args: Sequence[str], given: Given, *, module: bool) -> Submission:
    way = _way(word, tuple(args), given, module=module)
    if way and way.from_stdin:
        way = replace(way, text=sys.stdin.read())
    script = script_text(way) if way else ScriptText("", word, Path.cwd())
    places = script_places(script, os.environ)
    layers: list[Layer] = [default_layer(), *places.layers(given.profile)]
    settings = merged([*layers, flags_layer(given.flags)])
    words = ["-m", word, *args] if module else [word, *args]
    # Files that the script's own settings name are in its code, wherever that is.
    program = _program(way, words, settings.settings, asked=bool(given.flags.get("files")))
    versions = _versions(way)
    settings = with_image(settings, versions)
    environment = script_environment(
        script.text, script.subject, script.folder, settings.settings, os.environ
    )
    notes = [*program.notes, *environment.notes]
    if way and not program.code.source:
        notes += _doubts(way, program, environment, is_whole=bool(settings.settings.code))
    program = replace(program, notes=tuple(notes), environment=environment.manifest())
    submission = script_submission(
        program, settings, versions=versions, env_file=_env_file(settings)
    )
    return replace(submission, packages_from=tuple(environment.origins()))


def _way(word: str, args: tuple[str, ...], given: Given, *, module: bool) -> Way | None:
    """Return how the words run here; ``None``: only in code of another place."""
    elsewhere = is_elsewhere(str(given.flags.get("code") or ""))
    if elsewhere and (module or not Path(word).exists()):
        return None
    return way_in(word, args, module=module)


def _program(way: Way | None, words: Sequence[str], settings: Settings, *, asked: bool) -> Program:
    code = settings.code or ""
    if is_elsewhere(code):
        if asked:
            raise WrongSettings("--file sends a file with the script, and --code names other code")
        place = code_place(code, settings.code_secret or "", os.environ)
        return remote_program(way, words, place)
    if settings.code_secret:
        raise WrongSettings("--code-secret is for --code git+URL@COMMIT")
    if way is None:
        raise WrongSettings(f"--code {code}: there is no such place")
    whole = folder_of(code) if code else None
    return program_of(way, sources_of(way, settings.files, whole))


def _doubts(way: Way, program: Program, packages: Resolved, *, is_whole: bool) -> list[str]:
    texts = dict(program.texts)
    main = text_of(way)
    if main and main not in texts.values():
        program = replace(program, texts={str(way.script): main, **texts})
    own = Path(way.python).absolute().parent.parent if "/" in way.python else None
    environment = own or active_environment(os.environ)
    return program_doubts(program, packages, environment, is_whole=is_whole)


def _versions(way: Way | None) -> Versions:
    environ = dict(os.environ)
    if way and "/" in way.python:
        environ["VIRTUAL_ENV"] = str(Path(way.python).absolute().parent.parent)
    return environment_versions(environ)


def _env_file(found: Merged) -> dict[str, str] | None:
    name = found.settings.env_file
    return None if name is None else read_env_file(name, os.environ)


def _checked(submission: Submission) -> Submission:
    """Return a submission whose manifest the API server accepts.

    Raises
    ------
    Invalid
        Settings that are valid one by one do not fit together.
    """
    from daskjob.submit.cli.documents import check_document

    check_document(submission.manifest)
    return submission
