"""The options of ``daskjob run``, and what it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daskjob.core.manifests import Manifest
from daskjob.submit.python_environment import Pythons

if TYPE_CHECKING:
    from daskjob.backends.local.run_environment import Packages
    from daskjob.submit.local_records import Origin


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
    python: str | None
    result_file: Path | None
    output: str | None
    quiet: bool
    worker_output: bool
    with_: tuple[str, ...] = ()
    requirements: str | None = None
    install: bool = True
    set: Mapping[str, object] = field(default_factory=dict)
    profile: str | None = None
    #: Variables of ``env`` whose values are those of settings, which the manifest shows.
    shown: Mapping[str, str] = field(default_factory=dict)

    @property
    def packages_flag(self) -> str:
        """The flag that names packages; empty if there is none."""
        return "--with" if self.with_ else "--requirements" if self.requirements else ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to run, with what, and what to report before."""

    manifest: Manifest
    pythons: Pythons
    environment: Mapping[str, str]
    config: tuple[Manifest, ...] = ()
    notes: tuple[str, ...] = ()
    #: The values of variables that the manifest only names.
    variables: Mapping[str, str] = field(default_factory=dict)
    #: The files that a later run like this one needs.
    origin: Origin | None = None
    #: The packages of the manifest's environment, which are installed already.
    packages: Packages | None = None


def with_fields(manifest: Manifest, options: RunOptions) -> Manifest:
    """Return a manifest with the fields that ``--set`` sets.

    Raises
    ------
    click.UsageError
        There is no such field, or its value is wrong.
    """
    if not options.set:
        return manifest
    import copy

    from daskjob.submit.cluster_job.fields import set_fields
    from daskjob.submit.settings.sources import WrongSettings

    changed: Manifest = copy.deepcopy(manifest)
    try:
        set_fields(changed, options.set)
    except WrongSettings as error:
        raise click.UsageError(str(error)) from error
    return changed


def check_no_packages(options: RunOptions, why: str) -> None:
    """Reject packages of flags, and a profile, where they would have no effect."""
    if flag := options.packages_flag:
        raise click.UsageError(f"{flag} is for scripts: {why}")
    if options.profile:
        raise click.UsageError("--profile is for scripts: only they have settings")
