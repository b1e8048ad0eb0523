"""The pass: observe, decide, carry out, and report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from functools import partial

from daskjob.core.backend import Backend
from daskjob.core.concurrency import PassConcurrency
from daskjob.core.decide import decide
from daskjob.core.decision import Decision, Event
from daskjob.core.errors import ChangeDenied, CreateRejected, Forbidden, StatusRejected
from daskjob.core.manifests import Key, Manifest, ObjectRef, metadata
from daskjob.core.names import LABEL_CLUSTER_NAME


async def reconcile(
    backend: Backend, key: Key, now: datetime, concurrency: PassConcurrency | None = None
) -> datetime | None:
    """Make one pass over an object; return when the next one is due without any change.

    Passes that may run in parallel share their ``concurrency``.

    Raises
    ------
    ApiError
        A write failed. The status was written nevertheless; the next pass, after a back-off,
        observes the actual state.
    """
    observed = await backend.observe(key)
    if observed is None:
        return None
    decision = decide(observed, now)
    if await carry_out(backend, key, decision, observed.ref, concurrency or PassConcurrency()):
        return decision.wake_at
    # The next pass decides about the rejection and when to retry; no other change may trigger it.
    return now


async def carry_out(
    backend: Backend, key: Key, decision: Decision, ref: ObjectRef, concurrency: PassConcurrency
) -> bool:
    """Carry out a decision: the status and its Events in parallel with creates, then removals.

    Return whether nothing was rejected. Nothing is removed because of a status that is not written
    yet: a decision to remove follows from an observed status (design §4.3).
    """
    if decision.withdrawn:
        backend.withdraw(ref, decision.withdrawn)
    rejected: list[CreateRejected] = []
    steps: list[Coroutine[object, object, None]]
    steps = [_create(backend, key, manifest, rejected) for manifest in decision.create]
    if decision.status is not None:
        steps.append(_report(backend, ref, decision.status, decision.events, rejected))
    elif decision.events:
        steps.append(backend.emit(ref, decision.events))
    cluster = _cluster(key, decision)
    with concurrency.creating(len(decision.create), cluster):
        failures = await _all(steps, partial(concurrency.at_once, len(steps), cluster))
    if decision.report_from is not None:
        await backend.collect_report(ref, decision.report_from)
    # The status counts what failed: without that count a worker that crashes would be replaced at
    # each try of a status that is rejected.
    is_counted = not any(isinstance(rejection, StatusRejected) for rejection in rejected)
    if decision.retire is not None and is_counted:
        await backend.retire(ref, decision.retire)
    steps = [
        *(backend.patch(patch) for patch in decision.patch),
        *(backend.stop(pod) for pod in decision.stop),
        *(backend.delete(doomed) for doomed in (decision.delete if is_counted else ())),
    ]
    failures += await _all(steps, partial(concurrency.at_once, len(steps), cluster))
    if failures:
        denials = [failure for failure in failures if isinstance(failure, ChangeDenied)]
        if denials:
            # The status does not mention single changes; an Event on the object shows the denial.
            await backend.emit(
                ref, [Event("ChangeDenied", str(rejection), warning=True) for rejection in denials]
            )
        lacking = [failure for failure in failures if isinstance(failure, Forbidden)]
        if lacking:
            # Otherwise only the operator's log shows why the object is left alone.
            await backend.emit(ref, [Event("Forbidden", str(lacking[0]), warning=True)])
        raise failures[0]
    return not rejected


def _cluster(key: Key, decision: Decision) -> str:
    """Return the cluster of the objects to create; empty if there are none."""
    labels = (metadata(manifest).get("labels") or {} for manifest in decision.create)
    named = (label[LABEL_CLUSTER_NAME] for label in labels if LABEL_CLUSTER_NAME in label)
    return f"{key.namespace}/{next(named, key.name)}" if decision.create else ""


async def _report(
    backend: Backend,
    ref: ObjectRef,
    status: Manifest,
    events: Iterable[Event],
    rejected: list[CreateRejected],
) -> None:
    """Write the status, then emit its Events, regardless of the pass' other writes."""
    try:
        await backend.write_status(ref, status)
    except StatusRejected as rejection:
        # As for objects: the next passes observe it, and delay the next try.
        rejected.append(rejection)
        return
    if events:
        await backend.emit(ref, events)


async def _create(
    backend: Backend, owner: Key, manifest: Manifest, rejected: list[CreateRejected]
) -> None:
    try:
        await backend.create(owner, manifest)
    except CreateRejected as rejection:
        # Not an error of the pass: the next passes observe the rejection and decide about it.
        rejected.append(rejection)


async def _all(
    steps: Sequence[Coroutine[object, object, None]], at_once: Callable[[], int]
) -> list[Exception]:
    """Run all steps, a limited number at once; return the errors: one does not stop the others.

    Not a thousand at once: a pass over another object would queue behind all of them.
    """
    failures: list[Exception] = []
    waiting = iter(steps)
    takers = 0

    async def take(others: asyncio.TaskGroup) -> None:
        """Run one step after another, while this number of steps may run at once."""
        nonlocal takers
        while takers <= at_once():
            step = next(waiting, None)
            if step is None:
                break
            call_another(others)
            try:
                await step
            except Exception as error:
                failures.append(error)
        takers -= 1

    def call_another(others: asyncio.TaskGroup) -> None:
        nonlocal takers
        if takers < min(at_once(), len(steps)):
            takers += 1
            others.create_task(take(others))

    try:
        async with asyncio.TaskGroup() as group:
            call_another(group)
    finally:
        # The pass was cancelled: the remaining coroutines will never run.
        for step in waiting:
            step.close()
    return failures
