"""The jobs to compare, with the digests of the images that they ran, as far as these are known."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from daskjob.core.errors import DaskJobError, NotFound
from daskjob.core.status import job_status_from
from daskjob.submit.comparison.compared import (
    Difference,
    Side,
    compared,
    compared_attempts,
    without_own_names,
)
from daskjob.submit.jobs import PodImage
from daskjob.submit.records.originals import Original

#: Returns the images of the pods of a job.
Images = Callable[[Original], tuple[PodImage, ...]]


def difference_of(one: Original, other: Original, images: Images) -> tuple[Difference, ...]:
    """Return what differs between two jobs, of any place."""
    return compared(_side(one, images), _side(other, images))


def difference_of_attempts(
    job: Original, first: int, second: int, images: Images
) -> tuple[Difference, ...]:
    """Return what differs between two attempts of a job.

    Raises
    ------
    NotFound
        One of them has not ended, or is not known any more.
    """
    digests = {
        image.attempt: image.image_id for image in _images(job, images) if image.attempt is not None
    }
    return compared_attempts(Side(job.manifest), first, second, digests)


def _side(job: Original, images: Images) -> Side:
    last = job_status_from(job.manifest.get("status")).attempt
    digests = {
        image.role: image.image_id
        for image in _images(job, images)
        if image.attempt in (None, last)
    }
    return Side(without_own_names(job.manifest), digests)


def _images(job: Original, images: Images) -> tuple[PodImage, ...]:
    """Return the images of the pods; none where there are no pods, or they cannot be read."""
    if job.cluster is None or job.from_record:
        return ()
    with suppress(DaskJobError, NotFound):
        return images(job)
    return ()
