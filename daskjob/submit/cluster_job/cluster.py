"""A DaskCluster for interactive work: of settings, or of a manifest with changes.

It is the cluster that a job with these settings gets.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

from daskjob.core import names
from daskjob.core.manifests import Manifest
from daskjob.submit.cluster_job.fields import CLUSTER, set_fields
from daskjob.submit.cluster_job.image import Versions
from daskjob.submit.cluster_job.job import manifest_job, script_job
from daskjob.submit.cluster_job.program import Program
from daskjob.submit.cluster_job.submission import open_secrets, version_notes, with_image
from daskjob.submit.settings.merge import Merged
from daskjob.submit.settings.table import Settings


@dataclass(frozen=True, slots=True)
class ClusterSubmission:
    """A cluster to create, and what to report before."""

    manifest: Manifest
    merged: Merged
    notes: tuple[str, ...] = ()


def cluster_of_settings(
    name: str, merged: Merged, *, versions: Versions, idle_seconds: int | None = None
) -> ClusterSubmission:
    """Return a cluster with the pods of a script's job.

    Raises
    ------
    NoImage, WrongSettings
        No image has these versions; the settings do not fit together.
    """
    merged = with_image(merged, versions)
    job = script_job(Program((), name), _without_job(merged.settings, name)).manifest
    manifest = _cluster(job, {}, merged.settings, idle_seconds)
    notes = version_notes(merged.settings.image or "", versions)
    notes += [note.replace("the job's", "the cluster's") for note in open_secrets(merged)]
    return ClusterSubmission(manifest, merged, tuple(notes))


def cluster_of_manifest(
    cluster: Manifest, name: str, merged: Merged, *, idle_seconds: int | None = None
) -> ClusterSubmission:
    """Return a valid DaskCluster with a name, and with the changes of settings.

    Raises
    ------
    WrongSettings
        A setting does not fit this manifest.
    """
    spec = copy.deepcopy(cluster["spec"])
    runner = {"spec": {"containers": [{"name": "job-runner"}]}}
    meta = {**cluster["metadata"], "name": name}
    job = {**cluster, "metadata": meta, "spec": {"job": runner, "cluster": {"spec": spec}}}
    changed = manifest_job(job, _without_job(merged.settings, name)).manifest
    return ClusterSubmission(_cluster(changed, cluster, merged.settings, idle_seconds), merged)


def _without_job(settings: Settings, name: str) -> Settings:
    """Return settings without what is about a job, and what is set in the cluster itself."""
    return replace(
        settings, name=name, set={}, retries=None, env_file=None, token=None, files=(), ttl=None
    )


def _cluster(
    job: Manifest, original: Mapping[str, object], settings: Settings, idle_seconds: int | None
) -> Manifest:
    manifest = {
        **original,
        "apiVersion": names.API_VERSION,
        "kind": str(names.Kind.CLUSTER),
        "metadata": job["metadata"],
        "spec": job["spec"]["cluster"]["spec"],
    }
    if idle_seconds is not None:
        manifest["spec"]["idleTimeout"] = idle_seconds
    set_fields(manifest, settings.set, CLUSTER)
    return manifest
