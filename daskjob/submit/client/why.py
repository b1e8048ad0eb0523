"""Observes what an explanation of a job needs: only what its state asks for, few requests.

Everything but the job itself may be forbidden, or gone: then the answer does without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime

from daskjob.core.errors import DaskJobError
from daskjob.core.explain import Explanation
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.core.reasons import Reason
from daskjob.core.why.about import About
from daskjob.core.why.cluster import explain_on_cluster
from daskjob.core.why.connection import may_be_unreachable
from daskjob.core.why.crashes import crashed_pod
from daskjob.kube.api import Api
from daskjob.kube.objects import list_objects
from daskjob.kube.resources import EVENTS, NETWORK_POLICIES, PODS, Selection
from daskjob.submit.outcome import caused_by_script

#: The time for everything beside the job, and how much of a log is read.
SECONDS = 10.0
TAIL_LINES = 60
HEAD_BYTES = 16384

Text = Callable[[], Awaitable[str]]


async def explained(api: Api, job: Manifest, *, context: str, log_tail: Text) -> Explanation:
    """Return why a job is in its state; ``log_tail`` returns the end of its runner's log."""
    about = About(job, now=datetime.now(UTC), context=context)
    wanted = _wanted(about)
    texts = {"warnings": (), "policies": (), "log_head": "", "log_tail": "", "crash_log": ""}
    found: dict[str, object] = dict(texts)

    async def keep(name: str, asked: Awaitable[object]) -> None:
        with suppress(DaskJobError, TimeoutError):
            async with asyncio.timeout(SECONDS):
                found[name] = await asked

    questions: dict[str, Callable[[], Awaitable[object]]] = {
        "warnings": lambda: _warnings(api, about),
        "policies": lambda: _policies(api, about),
        "log_tail": log_tail,
        "log_head": lambda: _log(api, about, about.runner_pod, limitBytes=str(HEAD_BYTES)),
        "crash_log": lambda: _log(api, about, crashed_pod(about), tailLines=str(TAIL_LINES)),
    }
    async with asyncio.TaskGroup() as group:
        for name in wanted:
            group.create_task(keep(name, questions[name]()))
    return explain_on_cluster(About(job, now=about.now, context=context, **found))  # type: ignore[arg-type]


def _wanted(about: About) -> Iterable[str]:
    """Return what to ask for."""
    status = about.status
    if status.finished and caused_by_script(status):
        yield "log_tail"
        if about.reason == Reason.EXIT_CODE and about.runner_pod:
            yield "log_head"
    if not status.finished and not about.runs and not status.reason:
        yield "warnings"
    if may_be_unreachable(about):
        yield "policies"
    if not status.finished and crashed_pod(about):
        yield "crash_log"


async def _warnings(api: Api, about: About) -> tuple[tuple[str, str], ...]:
    fields = f"involvedObject.name={about.name},type=Warning"
    found = await list_objects(api, Selection(EVENTS, about.namespace, fields=fields))
    events = sorted(found.items, key=lambda event: str(event.get("lastTimestamp") or ""))
    return tuple((str(e.get("reason", "")), str(e.get("message", ""))) for e in events)


async def _policies(api: Api, about: About) -> tuple[Manifest, ...]:
    found = await list_objects(api, Selection(NETWORK_POLICIES, about.namespace))
    return found.items


async def _log(api: Api, about: About, pod: str, **query: str) -> str:
    """Return a part of the log of a pod."""
    ref, data = ObjectRef(PODS.kind, about.namespace, pod), b""
    async with api.log(ref, query, idle_seconds=SECONDS) as chunks:
        async for chunk in chunks:
            data += chunk
    return data.decode(errors="replace")
