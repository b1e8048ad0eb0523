"""Parsed manifests of our four kinds and of pods: each parsed once per state of its object.

A pass reads its object, the objects that it owns and its owner; most have not changed since the
previous pass. A manifest that was parsed here must never be modified.

Each ``parsed_…`` returns the object, with defaults for wrong values, and every mistake; each
``parsed_…_status`` returns the status in the manifest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from daskjob.core.caching import cached_by_identity
from daskjob.core.errors import FieldError
from daskjob.core.manifests import Manifest
from daskjob.core.pods import pod_facts
from daskjob.core.spec import DaskAutoscaler, DaskCluster, DaskJob, DaskWorkerGroup, read
from daskjob.core.spec.parse import Object
from daskjob.core.status import AutoscalerStatus, ClusterStatus, GroupStatus, JobStatus
from daskjob.core.status.part import StatusPart

Status = TypeVar("Status", bound=StatusPart)


def _parsed(kind: type[Object]) -> Callable[[Manifest], tuple[Object, tuple[FieldError, ...]]]:
    def parsed(manifest: Manifest) -> tuple[Object, tuple[FieldError, ...]]:
        return read(kind, manifest)

    return cached_by_identity(parsed)


def _parsed_status(kind: type[Status]) -> Callable[[Manifest], Status]:
    def parsed(manifest: Manifest) -> Status:
        return kind.from_manifest(manifest.get("status"))

    return cached_by_identity(parsed)


parsed_job = _parsed(DaskJob)
parsed_job_status = _parsed_status(JobStatus)
parsed_cluster = _parsed(DaskCluster)
parsed_cluster_status = _parsed_status(ClusterStatus)
parsed_group = _parsed(DaskWorkerGroup)
parsed_group_status = _parsed_status(GroupStatus)
parsed_autoscaler = _parsed(DaskAutoscaler)
parsed_autoscaler_status = _parsed_status(AutoscalerStatus)
parsed_pod = cached_by_identity(pod_facts)
