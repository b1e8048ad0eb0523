"""``daskjob report --html``: the report as a file."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from daskjob import __version__
from daskjob.core.errors import Forbidden
from daskjob.core.manifests import Manifest
from daskjob.submit.jobs import Job, Jobs

#: The value of ``--html`` without a file.
DEFAULT = "."
_SUFFIXES = (".html", ".htm")
#: How much of a file shows that it is an earlier report.
_HEAD_BYTES = 4096


def name_and_file(name: str, wanted: str) -> tuple[str, str]:
    """Return the job's name and the file: in ``--html NAME``, click takes the name for a file.

    Raises
    ------
    UsageError
        The file has no suffix that a browser knows.
    """
    if wanted in (DEFAULT, "-") or wanted.lower().endswith(_SUFFIXES):
        return name, wanted
    if not name and "/" not in wanted:
        return wanted.removeprefix("daskjob/"), DEFAULT
    raise click.BadParameter(
        f"{wanted!r} does not end in .html; write a FILE that does, or - for standard output",
        param_hint="--html",
    )


def write_html(jobs: Jobs, job: Job, report: Manifest | None, wanted: str) -> None:
    """Write the report of a job to a file, and print its name; ``-`` is standard output."""
    from daskjob.submit.html_report.markup import encoded
    from daskjob.submit.html_report.page import ReportFacts, html_report
    from daskjob.submit.records.secret_values import without_secret_values

    facts = ReportFacts(
        # Reports are passed on.
        job=replace(job, manifest=without_secret_values(job.manifest)),
        report=report or {},
        events=jobs.events(job.ref),
        explanation=jobs.why(job.ref),
        images=_images(jobs, job),
        version=__version__,
        now=datetime.now(UTC),
    )
    data = encoded(html_report(facts))
    if wanted == "-":
        sys.stdout.buffer.write(data)
        return
    path = Path(f"{job.name}.html" if wanted == DEFAULT else wanted)
    if wanted == DEFAULT and not _may_replace(path):
        raise click.BadParameter(
            f"{path} exists and is no report; name another file: --html FILE.html",
            param_hint="--html",
        )
    _replace(path, data)
    click.echo(str(path))


def _images(jobs: Jobs, job: Job) -> Mapping[str, str]:
    """Return the images of a job's pods by role; nothing without the permission to list pods."""
    found: dict[str, set[str]] = {}
    with suppress(Forbidden):
        for image in jobs.images(job.ref):
            found.setdefault(image.role, set()).add(image.image_id)
    return {role: ", ".join(sorted(images)) for role, images in sorted(found.items())}


def _may_replace(path: Path) -> bool:
    """Return whether a file does not exist, or is an earlier report."""
    from daskjob.submit.html_report.page import GENERATOR

    try:
        with path.open("rb") as file:
            return f'content="{GENERATOR}"'.encode() in file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return True


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole: a browser that reloads it sees the old one or the new one."""
    if path.exists() and not path.is_file():
        # A device, or a pipe.
        path.write_bytes(data)
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        error.filename = str(path)
        raise
