"""The manifest of one generation of a task. No I/O."""

from __future__ import annotations

import math
from typing import Any

from daskjob.core.manifests import Manifest, mapping, metadata
from daskjob.core.names import files_name
from daskjob.submit.generations.identity import (
    Identity,
    annotations_of,
    generation_name,
    labels_of,
)


def generation_manifest(
    job: Manifest, identity: Identity, number: int, *, timeout_seconds: float | None = None
) -> Manifest:
    """Return a DaskJob with the name, the labels and the annotations of a generation.

    ``timeout_seconds`` becomes its deadline, unless it has one: it ends the job also when the
    orchestrator is gone.
    """
    name = generation_name(identity, job, number)
    job = _with_files_of(job, name)
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


def _with_files_of(job: Manifest, name: str) -> Manifest:
    """Return a job whose pods mount the files of the job that has another name then.

    A folder of code is a volume of the ConfigMap that is named after the job.
    """
    known = str(metadata(job).get("name") or "")
    if not known or not mapping(mapping(job.get("spec")).get("job")).get("files"):
        return job
    renamed: Manifest = _renamed(job, files_name(known), files_name(name))
    return renamed


def _renamed(value: Any, old: str, new: str) -> Any:
    if isinstance(value, list):
        return [_renamed(item, old, new) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: {**item, "name": new}
        if key == "configMap" and isinstance(item, dict) and item.get("name") == old
        else _renamed(item, old, new)
        for key, item in value.items()
    }


def _deadline(spec: Manifest, timeout_seconds: float | None) -> Manifest:
    if timeout_seconds is None or spec.get("activeDeadlineSeconds") is not None:
        return {}
    return {"activeDeadlineSeconds": max(1, math.ceil(timeout_seconds))}
