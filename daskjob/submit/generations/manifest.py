"""The manifest of one generation of a task. No I/O."""

from __future__ import annotations

import math

from daskjob.core.manifests import Manifest, mapping, metadata
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
    meta, spec = metadata(job), mapping(job.get("spec"))
    kept = {key: value for key, value in meta.items() if key != "generateName"}
    labels = {**mapping(meta.get("labels")), **labels_of(identity)}
    annotations = {**mapping(meta.get("annotations")), **annotations_of(identity)}
    return {
        **{key: value for key, value in job.items() if key != "status"},
        "metadata": {
            **kept,
            "name": generation_name(identity, job, number),
            "labels": labels,
            **({"annotations": annotations} if annotations else {}),
        },
        "spec": {
            **_deadline(spec, timeout_seconds),
            **spec,
            "submissionID": identity.token(number),
        },
    }


def _deadline(spec: Manifest, timeout_seconds: float | None) -> Manifest:
    if timeout_seconds is None or spec.get("activeDeadlineSeconds") is not None:
        return {}
    return {"activeDeadlineSeconds": max(1, math.ceil(timeout_seconds))}
