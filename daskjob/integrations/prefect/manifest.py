"""The DaskJob that a block describes. No I/O, and nothing of Prefect."""

from __future__ import annotations

import copy
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from daskjob.core.errors import FieldError, Invalid
from daskjob.core.manifests import Manifest, mapping
from daskjob.core.spec import DaskJob, parse
from daskjob.submit.cluster_job.job import manifest_job
from daskjob.submit.script import ScriptOptions, script_job
from daskjob.submit.settings.kinds import Bounds
from daskjob.submit.settings.sources import WrongSettings
from daskjob.submit.settings.table import Settings

#: Workers of a job that is described by its command.
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Description:
    """What a block has of a job."""

    manifest: Mapping[str, Any] | None = None
    image: str | None = None
    command: str | Sequence[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    workers: int | None = None
    adapt: tuple[int, int] | None = None
    timeout_seconds: float | None = None
    on_this_machine: bool = False


def job_manifest(described: Description) -> Manifest:
    """Return the DaskJob.

    Raises
    ------
    Invalid
        With every mistake.
    """
    if mistakes := _mistakes(described):
        raise Invalid("the block DaskJob", mistakes)
    written = copy.deepcopy(dict(described.manifest or {})) or _of_command(described)
    # The settings below go into containers; without these, there is nothing to put them into.
    parse(DaskJob, _with_namespace(written))
    changed = _with_settings(written, described)
    if described.timeout_seconds:
        # The server keeps to it, also when nothing waits for the job any more.
        changed["spec"].setdefault("activeDeadlineSeconds", math.ceil(described.timeout_seconds))
    return changed


def _mistakes(described: Description) -> list[FieldError]:
    if described.manifest and described.command:
        return [FieldError("command", described.command, "give a manifest or a command, not both")]
    if not (described.manifest or described.command):
        return [FieldError("manifest", None, "give a manifest, or a command (and an image)")]
    if isinstance(described.command, str):
        try:
            shlex.split(described.command)
        except ValueError as error:
            what = f"it cannot be split into words: {error}; or write a list of words"
            return [FieldError("command", described.command, what)]
    if described.command and not (described.image or described.on_this_machine):
        return [FieldError("image", None, "a command on a cluster needs an image with Dask")]
    return []


def _of_command(described: Description) -> Manifest:
    command = described.command or ()
    words = shlex.split(command) if isinstance(command, str) else list(command)
    workers = WORKERS if described.workers is None else described.workers
    # A worker has one thread, as one of `daskjob submit` without settings.
    options = ScriptOptions(workers=workers, threads=1, image=described.image or "")
    return script_job(words, options, _label(words))


def _label(words: Sequence[str]) -> str:
    """Return what a job is named after: the script, not the program that runs it."""
    script = next((word for word in words if word.endswith(".py")), "")
    return PurePath(script or "job").name


def _with_settings(manifest: Manifest, described: Description) -> Manifest:
    settings = Settings(
        image=described.image,
        workers=described.workers,
        adapt=Bounds(*described.adapt) if described.adapt else None,
        env=dict(described.env),
    )
    try:
        return manifest_job(manifest, settings).manifest
    except WrongSettings as error:
        raise Invalid(
            "the block DaskJob", [FieldError("n_workers, adapt", None, str(error))]
        ) from error


def _with_namespace(manifest: Manifest) -> Manifest:
    """Return the manifest as the reader of objects wants it: with a name and a namespace."""
    meta = {"namespace": "default", "name": "job", **mapping(manifest.get("metadata"))}
    return {**manifest, "metadata": meta}
