"""Carries out a submission: one request, more only after a fault."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from daskjob.core.errors import DaskJobError, NotFound
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.core.names import Kind
from daskjob.kube.api import Api
from daskjob.kube.decoding import read_object
from daskjob.kube.objects import get_object
from daskjob.submit.client.creation import after_create
from daskjob.submit.comparison.submitted import differences_from
from daskjob.submit.submission import Step, Submission, after_look, still_deleting

#: All requests of a submission together, before it fails.
BUDGET_SECONDS = 60.0
SHORTEST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Submitted:
    """The job of a submission."""

    manifest: Manifest
    #: Whether it was there before.
    existed: bool = False
    #: What of the spec sent is otherwise there.
    differences: tuple[str, ...] = ()


async def submitted(
    api: Api,
    wanted: Submission,
    *,
    step: Step = Step.REPEAT,
    budget_seconds: float = BUDGET_SECONDS,
) -> Submitted:
    """Create the job of a submission, or find it.

    ``step`` is the first one: to look, if the name is known to be taken.

    Raises
    ------
    Conflict
        The name belongs to another job.
    Invalid, Forbidden, NotFound, NotInstalled, CreateRejected
        The API server rejects the job; the namespace does not exist; the CRDs are not installed.
    ApiError
        The outcome is unknown: submit again with the same token.
    """
    give_up = time.monotonic() + budget_seconds
    last: DaskJobError = still_deleting(wanted)
    # A request before this call may have created it, too.
    may_be_ours = False
    for number in range(10_000):
        if number:
            await _pause(number)
        if number or step is Step.REPEAT:
            try:
                return Submitted(read_object(await api.create(wanted.manifest)))
            except DaskJobError as error:
                last, step = error, after_create(error)
                may_be_ours = may_be_ours or step is Step.REPEAT
        if step is Step.LOOK:
            found = await _found(api, wanted)
            if after_look(found, wanted) is Step.ADOPT and found is not None:
                return Submitted(found, not may_be_ours, differences_from(found, wanted.manifest))
            last = still_deleting(wanted)
        if time.monotonic() >= give_up:
            break
    raise last


async def checked(api: Api, wanted: Submission) -> Manifest:
    """Return the job as the API server would store it: all its checks, and nothing is stored.

    Raises
    ------
    DaskJobError
        As ``submitted`` does, without a further request.
    """
    try:
        return read_object(await api.create(wanted.manifest, dry_run=True))
    except DaskJobError as error:
        # Of a step that would follow, only the reason is of interest.
        after_create(error)
        raise


async def _found(api: Api, wanted: Submission) -> Manifest | None:
    try:
        return await get_object(api, ObjectRef(Kind.JOB, wanted.namespace, wanted.name))
    except NotFound:
        return None


async def _pause(number: int) -> None:
    wait = min(SHORTEST_WAIT_SECONDS * 2.0 ** (number - 1), LONGEST_WAIT_SECONDS)
    await asyncio.sleep(wait * random.uniform(0.5, 1.0))
