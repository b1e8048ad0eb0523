"""The ConfigMap with a job's files for the runner, the scheduler and the workers."""

from __future__ import annotations

from daskjob.core import names
from daskjob.core.desired.metadata import object_metadata
from daskjob.core.manifests import Manifest
from daskjob.core.spec import DaskJob


def files_config_map(job: DaskJob) -> Manifest:
    """Return the ConfigMap with ``spec.job.files``."""
    labels = {names.LABEL_CLUSTER_NAME: names.label_value(job.cluster_name)}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": object_metadata(names.files_name(job.meta.name), job.meta, labels, {}),
        "immutable": True,
        "data": dict(job.files),
    }
