"""A job from end to end: operator, scheduler, worker and runner."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from daskjob.core.errors import DaskJobError, Failed, Timeout
from daskjob.core.manifests import Manifest
from daskjob.submit.client.async_client import AsyncJobClient
from daskjob.submit.doctor.cluster.ground import Ground
from daskjob.submit.doctor.finding import Finding, failed, ok
from daskjob.submit.jobs import JobRef

CHECK = "job"
SECONDS = 180.0
#: A reason to wait that lasts this long will not end by itself.
STUCK_SECONDS = 15.0
_PAUSE_SECONDS = 1.0


async def whole_job(ground: Ground, job: Manifest) -> AsyncIterator[Finding]:
    """Run a job that adds four numbers on a worker, and delete it."""
    messages: list[str] = []
    started = time.monotonic()
    async with AsyncJobClient(
        ground.namespace, credentials=lambda: ground.credentials, notify=messages.append
    ) as client:
        ref: JobRef | None = None
        try:
            ref = await client.submit(job)
            stuck = await _ended_or_stuck(client, ref)
            took = time.monotonic() - started
            found = stuck or ok(CHECK, f"ran from submission to its end in {took:.1f} s")
        except Timeout:
            assert ref is not None
            reason = (await client.why(ref)).headline
            last = messages[-1] if messages else reason
            found = failed(CHECK, f"not ended after {SECONDS:g} s: {last}", "see the lines above")
        except Failed as error:
            found = failed(CHECK, str(error), "see the lines above")
        except DaskJobError as error:
            found = failed(CHECK, str(error), "see the lines above")
        finally:
            if ref is not None:
                await _deleted(client, ref)
    yield found


async def _ended_or_stuck(client: AsyncJobClient, ref: JobRef) -> Finding | None:
    """Wait for the end of the job, or until it waits for what does not come; return why."""
    end = asyncio.ensure_future(client.wait(ref, timeout_seconds=SECONDS))
    stuck = asyncio.ensure_future(_stuck(client, ref))
    try:
        await asyncio.wait([end, stuck], return_when=asyncio.FIRST_COMPLETED)
        if not end.done():
            return stuck.result()
        await end
        return None
    finally:
        for task in (end, stuck):
            task.cancel()
        await asyncio.gather(end, stuck, return_exceptions=True)


async def _stuck(client: AsyncJobClient, ref: JobRef) -> Finding:
    """Return why the job does not start, once it has waited for the same reason for long."""
    reason, since = "", time.monotonic()
    while not reason or time.monotonic() - since < STUCK_SECONDS:
        await asyncio.sleep(_PAUSE_SECONDS)
        status = (await client.get(ref)).status
        if status.reason != reason:
            reason, since = status.reason, time.monotonic()
    why = await client.why(ref)
    fix = " ".join(filter(None, (why.next_step, why.command)))
    return failed(CHECK, why.headline, fix or "see the lines above")


async def _deleted(client: AsyncJobClient, ref: JobRef) -> None:
    """Delete the job, also if the doctor is interrupted."""
    request = asyncio.ensure_future(client.delete(ref, force=True))
    try:
        await asyncio.shield(request)
    except asyncio.CancelledError:
        await asyncio.wait([request], timeout=5)
        raise
    except DaskJobError:
        # Its deadline and its TTL remove it.
        pass
