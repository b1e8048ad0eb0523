"""The manifest of one generation of a task. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable

from daskjob.core.manifests import Manifest, mapping, metadata
from daskjob.core.names import files_name
from daskjob.submit.generations.identity import (
    Identity,
    annotations_of,
    generation_name,
    labels_of,
)
from daskjob.submit.generations.owned import with_references


def generation_manifest(
    job: Manifest,
    identity: Identity,
    number: int,
    *,
    timeout_seconds: float | None = None,
    owned: Iterable[str] = (),
) -> Manifest:
    """Return a DaskJob with the name, the labels and the annotations of a generation.

    ``timeout_seconds`` becomes its deadline, unless it has one: it ends the job also when the
    orchestrator is gone. ``owned`` are the names of objects that are named after the job.
    """
    name = generation_name(identity, job, number)
    job = _with_objects_of(job, name, owned)
    meta, spec = metadata(job), mapping(job.get("spec"))
    kept = {key: value for key, value in meta.items() if key != "generateName"}
    labels = {**mapping(meta.get("labels")), **labels_of(identity)}
    annotations = {**mapping(meta.get("annotations")), **annotations_of(identity)}
    return {
        **{key: value for key, value in job.items() if key != "status"},
        "metadata": {
            **kept,
            "name": name,
            "labels": labels,
            **({"annotations": annotations} if annotations else {}),
        },
        "spec": {
            **_deadline(spec, timeout_seconds),
            **spec,
            "submissionID": identity.token(number),
        },
    }


def _with_objects_of(job: Manifest, name: str, owned: Iterable[str]) -> Manifest:
    """Return a job whose pods refer to the objects of the job that has another name then.

    A folder of code is a volume of the ConfigMap that is named after the job.
    """
    known = str(metadata(job).get("name") or "")
    objects = list(owned)
    if mapping(mapping(job.get("spec")).get("job")).get("files"):
        objects.append(files_name(known))
    if not known or not objects:
        return job
    return {**job, "spec": with_references(job.get("spec"), known, name, objects)}


def _deadline(spec: Manifest, timeout_seconds: float | None) -> Manifest:
    if timeout_seconds is None or spec.get("activeDeadlineSeconds") is not None:
        return {}
    return {"activeDeadlineSeconds": max(1, math.ceil(timeout_seconds))}
