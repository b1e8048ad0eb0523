"""All checks of a cluster, in the order in which a failure explains the later ones."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import Manifest
from daskjob.submit.cluster_job.image import NoImage, default_image, environment_versions
from daskjob.submit.doctor.cluster.connection import connection
from daskjob.submit.doctor.cluster.crds import crds
from daskjob.submit.doctor.cluster.ground import Ground
from daskjob.submit.doctor.cluster.kubernetes_version import kubernetes_version
from daskjob.submit.doctor.cluster.namespace_policy import namespace_policy
from daskjob.submit.doctor.cluster.operator import operator
from daskjob.submit.doctor.cluster.permissions import permissions
from daskjob.submit.doctor.cluster.quota import admission, limit_range, quota
from daskjob.submit.doctor.cluster.short_pod import DNS, short_pod
from daskjob.submit.doctor.cluster.small_job import small_job
from daskjob.submit.doctor.cluster.whole_job import whole_job
from daskjob.submit.doctor.finding import Finding, State, failed, skipped

IMAGE = "image, DNS, job"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to check in addition."""

    #: Empty: that of this environment's versions.
    image: str = ""
    #: Start a pod and a job.
    job: bool = False


async def cluster_checks(ground: Ground, wanted: Wanted) -> AsyncIterator[Finding]:
    """Check a namespace of a cluster; without a connection, nothing else."""
    is_connected = True
    async for finding in connection(ground):
        is_connected = is_connected and finding.state is not State.FAILED
        yield finding
    if not is_connected:
        return
    yield await kubernetes_version(ground)
    yield await _safely("CRDs", crds(ground))
    has_failed = False
    async for finding in operator(ground):
        has_failed = has_failed or finding.state is State.FAILED
        yield finding
    namespace = await namespace_policy(ground)
    yield namespace
    if namespace.state is State.FAILED:
        return
    async for finding in permissions(ground):
        yield finding
    job = _job(wanted)
    if isinstance(job, Finding):
        yield job
        return
    for check in (quota, limit_range, admission):
        yield await _safely(check.__name__, check(ground, job))
    if not wanted.job:
        image = job["spec"]["job"]["spec"]["containers"][0]["image"]
        text = f"--job starts a pod and a job of {image} in {ground.namespace}, and deletes them"
        yield skipped(IMAGE, text)
        return
    starts = True
    async for finding in short_pod(ground, job, environment_versions(os.environ)):
        starts = starts and (finding.check == DNS or finding.state is not State.FAILED)
        yield finding
    if not starts:
        yield skipped("job", "its pods would not start either")
        return
    if has_failed:
        yield skipped("job", "there is no operator that would run it")
        return
    async for finding in whole_job(ground, job):
        yield finding


def _job(wanted: Wanted) -> Manifest | Finding:
    try:
        return small_job(wanted.image or default_image(environment_versions(os.environ)))
    except NoImage as error:
        return failed("image", str(error), "name an image with dask: --image IMAGE")


async def _safely(check: str, made: object) -> Finding:
    """Return the finding of a check; one that cannot be made does not end the others."""
    try:
        found = await made  # type: ignore[misc]
    except DaskJobError as error:
        return skipped(check, str(error))
    assert isinstance(found, Finding)
    return found
