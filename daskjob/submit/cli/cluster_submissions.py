"""The cluster that a command line asks for: its name, its flags, and files of settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click

from daskjob.core.errors import FieldError, Invalid
from daskjob.core.manifests import Manifest, metadata
from daskjob.core.names import Kind
from daskjob.submit.cli.documents import (
    UnreadableFile,
    check_kind,
    read_documents,
    unknown_fields,
)
from daskjob.submit.cluster_job.cluster import (
    ClusterSubmission,
    cluster_of_manifest,
    cluster_of_settings,
)
from daskjob.submit.cluster_job.image import NoImage, Versions, environment_versions
from daskjob.submit.settings.merge import Merged, merged
from daskjob.submit.settings.sources import WrongSettings, default_layer, flags_layer
from daskjob.submit.settings_places import folder_places


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line gives."""

    name: str
    manifest: Path | None
    #: By key of the setting.
    flags: Mapping[str, object]
    profile: str = ""
    idle_seconds: int | None = None


def wanted_cluster(wanted: Wanted) -> ClusterSubmission:
    """Return the cluster, which the API server accepts.

    Raises
    ------
    click.UsageError
        A setting is wrong, or does not fit.
    UnreadableFile, Invalid
        The file contains no DaskCluster, or several, or a wrong one.
    """
    original = only_cluster(wanted.manifest) if wanted.manifest else None
    unknown: list[FieldError] = list(unknown_fields(original)) if original else []
    try:
        found = _submission(wanted, original)
        unknown += unknown_fields(found.manifest)
    except (WrongSettings, NoImage, Invalid) as error:
        raise click.UsageError(str(error)) from error
    notes = dict.fromkeys(str(mistake) for mistake in unknown)
    return replace(found, notes=(*notes, *found.notes))


def _submission(wanted: Wanted, original: Manifest | None) -> ClusterSubmission:
    places = folder_places(Path.cwd(), os.environ)
    if original is not None:
        name = wanted.name or str(metadata(original).get("name") or "")
        if not name:
            raise WrongSettings("the manifest has no metadata.name: name the cluster")
        layers = places.profile_layers(wanted.profile) if wanted.profile else []
        settings = merged([*layers, flags_layer(wanted.flags)])
        return cluster_of_manifest(original, name, settings, idle_seconds=wanted.idle_seconds)
    return cluster_of_settings(
        wanted.name,
        merged_settings(wanted.flags, wanted.profile),
        versions=versions_here(),
        idle_seconds=wanted.idle_seconds,
    )


def merged_settings(flags: Mapping[str, object], profile: str = "") -> Merged:
    """Return the settings of all places, without a manifest.

    Raises
    ------
    WrongSettings
        One is wrong.
    """
    layers = [default_layer(), *folder_places(Path.cwd(), os.environ).layers(profile)]
    return merged([*layers, flags_layer(flags)])


def versions_here() -> Versions:
    """Return the versions of the user's environment."""
    return environment_versions(os.environ)


def only_cluster(path: Path) -> Manifest:
    """Return the only object of a file, a DaskCluster, unchecked.

    Raises
    ------
    UnreadableFile, Invalid
        The file contains something else.
    """
    documents = read_documents(path)
    for document in documents:
        check_kind(document, str(path))
    kinds = [str(document["kind"]) for document in documents]
    if kinds != [Kind.CLUSTER]:
        hint = ""
        if Kind.JOB in kinds:
            hint = f"; for a DaskJob: daskjob submit -f {path}"
        elif len(kinds) > 1:
            hint = "; kubectl apply -f creates all"
        found = ", ".join(kinds) or "nothing"
        raise UnreadableFile(f"{path} must contain one DaskCluster, and has {found}{hint}")
    return documents[0]
