"""Records what a command has submitted; it never fails the command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from daskjob.core.manifests import Manifest
    from daskjob.submit.cli.cluster_place import ClusterPlace
    from daskjob.submit.jobs import JobRef


def remember(sent: Manifest, ref: JobRef, place: ClusterPlace, env_file: str = "") -> None:
    """Record a job that was sent; report where that is not possible."""
    from daskjob.submit.records.recording import recorded

    trouble = recorded(
        sent, ref, context=place.context, kubeconfig=place.kubeconfig, env_file=env_file
    )
    if trouble:
        click.echo(
            f"daskjob: the job was submitted, but there is no record of it here ({trouble}); "
            f"commands find it with {place.options_for(ref.namespace)}",
            err=True,
        )
