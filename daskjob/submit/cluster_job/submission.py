"""A submission: the job of a script or a manifest, its settings with origins, and notes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from daskjob.core.manifests import Manifest
from daskjob.submit.cluster_job.archive import ASK_BYTES, MOST_BYTES, in_kib
from daskjob.submit.cluster_job.code import APPLY_LIMIT
from daskjob.submit.cluster_job.image import (
    Versions,
    default_image,
    differences,
)
from daskjob.submit.cluster_job.job import manifest_job, script_job
from daskjob.submit.cluster_job.program import Program
from daskjob.submit.settings.merge import Merged

#: An object with its status in etcd, whose requests have 1.5 MiB.
STORED_LIMIT = 1400 * 1024
_SECRET = re.compile(r"PASSW|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|CREDENTIAL", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Submission:
    """What is submitted, and what to report before."""

    manifest: Manifest
    merged: Merged
    #: The Secret of the job with the variables of ``--env-file``.
    env_secret: Manifest | None = None
    notes: tuple[str, ...] = ()
    #: The ConfigMaps of the job with its code, if the manifest does not have it.
    code: tuple[Manifest, ...] = ()
    #: What to ask before the code is sent; empty: nothing.
    question: str = ""
    #: Its packages, and where they were asked for, as lines of the origins of settings.
    packages_from: tuple[tuple[str, str, str], ...] = ()

    @property
    def owned(self) -> list[Manifest]:
        """The objects that are created after the job, and belong to it."""
        return [*([self.env_secret] if self.env_secret else []), *self.code]


def script_submission(
    program: Program,
    merged: Merged,
    *,
    versions: Versions,
    env_file: Mapping[str, str] | None = None,
) -> Submission:
    """Return the submission of a script.

    Raises
    ------
    NoImage, UnfitCode, WrongSettings
        No image has these versions, the job is too large, or the settings do not fit together.
    """
    merged = with_image(merged, versions)
    image = merged.settings.image or ""
    job = script_job(program, merged.settings, env_file)
    if _is_too_large(job.manifest):
        # Each pod lists the files of a tree.
        program = replace(program, code=program.code.as_archive())
        job = script_job(program, merged.settings, env_file)
    notes = [*program.notes, *version_notes(image, versions)]
    notes += open_secrets(merged)
    notes += _code_notes(program)
    return Submission(
        job.manifest, merged, job.env_secret, tuple(notes), job.code, _question(program)
    )


def manifest_submission(
    manifest: Manifest,
    merged: Merged,
    *,
    versions: Versions,
    env_file: Mapping[str, str] | None = None,
) -> Submission:
    """Return the submission of a valid manifest, with the changes of settings.

    Raises
    ------
    WrongSettings
        A setting does not fit this manifest.
    """
    job = manifest_job(manifest, merged.settings, env_file)
    notes = version_notes(merged.settings.image or "", versions)
    return Submission(job.manifest, merged, job.env_secret, tuple(notes))


def _is_too_large(manifest: Manifest) -> bool:
    """Return whether no API server stores it."""
    return len(json.dumps(manifest, ensure_ascii=False).encode()) > STORED_LIMIT


def _code_notes(program: Program) -> list[str]:
    archive = program.code.archive
    if archive is None:
        return []
    count = len(archive.parts)
    where = "a ConfigMap" if count == 1 else f"{count} ConfigMaps"
    return [f"the code is sent in {where} of the job: {archive.shown}"]


def _question(program: Program) -> str:
    archive = program.code.archive
    if archive is None or len(archive.data) <= ASK_BYTES:
        return ""
    return (
        f"the code has {archive.shown}: more than {in_kib(ASK_BYTES)}, which every pod of the job "
        f"reads, and up to {in_kib(MOST_BYTES)} are possible; the largest: {archive.largest}"
    )


def with_image(merged: Merged, versions: Versions) -> Merged:
    """Return settings with an image; by default that with the user's versions."""
    if merged.settings.image:
        return merged
    settings = replace(merged.settings, image=default_image(versions))
    origin = f"dask {versions.dask} and Python {versions.minor} of {versions.place}"
    return Merged(settings, {**merged.origins, "image": (origin,)})


def version_notes(image: str, versions: Versions) -> list[str]:
    """Return a note on an image whose versions differ from the user's."""
    found = differences(image, versions)
    if not found:
        return []
    return [f"{'; '.join(found)}: the image's versions run, in {image}"]


def open_secrets(merged: Merged) -> list[str]:
    """Return a note on variables that look like secrets: anyone who may read the job sees them."""
    found = [name for name in merged.settings.env if _SECRET.search(name)]
    if not found:
        return []
    names = ", ".join(found)
    return [
        f"{names}: the job's manifest shows the value; --secret and --env-file keep it in a Secret"
    ]


def apply_notes(submission: Submission) -> list[str]:
    """Return what to know before ``kubectl apply`` gets the manifest."""
    notes = []
    size = len(json.dumps(submission.manifest))
    if size > APPLY_LIMIT:
        notes.append(
            f"the manifest has {size // 1024} KiB: kubectl apply takes more than "
            f"{APPLY_LIMIT // 1024} KiB only with --server-side"
        )
    if submission.code:
        largest = max(len(json.dumps(item)) for item in submission.code)
        server_side = " --server-side" if largest > APPLY_LIMIT else ""
        found = "its ConfigMap" if len(submission.code) == 1 else "its ConfigMaps"
        notes.append(
            f"kubectl apply{server_side} creates the job and {found} with the code, which remains "
            "when the job is deleted; daskjob submit lets the job own it"
        )
    if submission.env_secret:
        name, path = submission.env_secret["metadata"]["name"], submission.merged.settings.env_file
        notes.append(
            f"the manifest needs the Secret {name}, which it does not contain: kubectl create "
            f"secret generic {name} --from-env-file={path}"
        )
    return notes
