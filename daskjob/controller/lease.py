"""Leader election: only the operator that holds a Lease makes passes.

A ``coordination.k8s.io`` Lease names its holder, and the holder renews it every 10 s. A leader that
cannot renew stops in time by itself. A standby takes over if it has not seen the Lease change for
its whole duration, by its own clock: the timestamps in the Lease are for people, since clocks of
machines differ. Every write has a resourceVersion, so only one of two concurrent attempts succeeds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from daskjob.controller.clock import Clock, machine_clock, utc_now
from daskjob.core.errors import Conflict, DaskJobError, NotFound
from daskjob.core.manifests import Manifest, metadata

logger = logging.getLogger(__name__)

#: The same for every operator of these kinds, whatever the name of its Helm release.
LEASE_NAME = "daskjob-operator"
#: The namespace of the Lease if the operator watches all namespaces: the same for every release.
CLUSTER_LEASE_NAMESPACE = "kube-system"


@dataclass(frozen=True, slots=True)
class Term:
    """The timing of a Lease, in seconds."""

    #: A standby takes over a Lease that has not changed for this time.
    duration: float = 15.0
    #: Interval of the holder's renewals.
    renew: float = 10.0
    #: Delay before retrying a failed renewal.
    retry: float = 1.0
    #: The holder leads for this time after the start of its last successful renewal.
    held: float = 13.0
    #: Interval of a standby's reads: it takes over 4 s after a release, 19 s after a crash.
    look: float = 4.0
    #: Timeout of one request.
    request: float = 5.0


TERM = Term()


class LeaseApi(Protocol):
    """The Leases of a cluster. Callers set the timeout of each request."""

    async def get(self, namespace: str, name: str) -> Manifest | None:
        """Return a Lease from the API server, not from a cache; ``None``: there is none."""
        ...

    async def create(self, manifest: Manifest) -> Manifest:
        """Create a Lease and return it.

        Raises
        ------
        Conflict
            A Lease of this name exists.
        """
        ...

    async def update(self, manifest: Manifest) -> Manifest:
        """Replace a Lease at its resourceVersion, and return it.

        Raises
        ------
        Conflict
            It has changed since.
        NotFound
            It is gone.
        """
        ...


# The content of a Lease.


def holder(lease: Manifest) -> str:
    """Return the identity of a Lease's holder; empty: none."""
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def taken(
    lease: Manifest | None, namespace: str, identity: str, term: Term, now: datetime
) -> Manifest:
    """Return the Lease as its new or renewing holder writes it."""
    spec = (lease or {}).get("spec") or {}
    moment = _micro_time(now)
    changes = int(spec.get("leaseTransitions") or 0)
    stays = holder(lease or {}) == identity
    base = lease or {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE_NAME, "namespace": namespace},
    }
    return {
        **base,
        "spec": {
            **spec,
            "holderIdentity": identity,
            "leaseDurationSeconds": round(term.duration),
            "acquireTime": spec.get("acquireTime", moment) if stays else moment,
            "renewTime": moment,
            "leaseTransitions": changes if stays or lease is None else changes + 1,
        },
    }


def released(lease: Manifest, now: datetime) -> Manifest:
    """Return the Lease as its holder releases it: any operator may take it at once."""
    spec = {**(lease.get("spec") or {}), "holderIdentity": "", "leaseDurationSeconds": 1}
    return {**lease, "spec": {**spec, "renewTime": _micro_time(now)}}


def _micro_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, slots=True)
class Sighting:
    """A Lease held by another operator: its version, and since when that has not changed."""

    holder: str
    version: str
    duration: float
    since: float


def sighted(lease: Manifest, before: Sighting | None, at: float) -> Sighting:
    """Return the sighting after another read of a Lease: the same one if it has not changed."""
    version = str(metadata(lease).get("resourceVersion", ""))
    if before is not None and before.version == version:
        return before
    duration = (lease.get("spec") or {}).get("leaseDurationSeconds")
    seconds = float(duration) if isinstance(duration, int) and duration > 0 else TERM.duration
    return Sighting(holder(lease), version, seconds, at)


def may_take(lease: Manifest | None, identity: str, sighting: Sighting | None, at: float) -> bool:
    """Return whether a Lease is free: unheld, our own, or not renewed for its whole duration."""
    if lease is None or holder(lease) in ("", identity):
        return True
    return sighting is not None and at - sighting.since >= sighting.duration


def seconds_until_look(sighting: Sighting, at: float, term: Term) -> float:
    """Return the seconds until the next read of another's Lease: regularly, and at its expiry."""
    return max(min(term.look, sighting.since + sighting.duration - at), 0.1)


class Leadership(Protocol):
    """Whether this operator makes the passes."""

    def held(self) -> bool:
        """Return whether it leads at this moment."""
        ...

    async def acquire(self) -> None:
        """Wait until it leads."""
        ...

    async def keep(self) -> None:
        """Keep the lead; return when it is lost."""
        ...

    async def release(self) -> None:
        """Release the lead, so that a standby takes over at once."""
        ...


class Alone:
    """The leadership of a single operator (``--no-lease``)."""

    def held(self) -> bool:
        """Return ``True``."""
        return True

    async def acquire(self) -> None:
        """Return at once."""

    async def keep(self) -> None:
        """Never return."""
        await asyncio.Event().wait()

    async def release(self) -> None:
        """Do nothing."""


class LeaseHolder:
    """The leadership of one Lease."""

    def __init__(
        self,
        leases: LeaseApi,
        namespace: str,
        identity: str,
        *,
        term: Term = TERM,
        clock: Clock = machine_clock,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.namespace = namespace
        self._leases = leases
        self._identity = identity
        self._term = term
        self._clock = clock
        self._now = now
        #: The Lease as we last wrote it, and when that write began; ``None``: it is not ours.
        self._lease: Manifest | None = None
        self._renewed_at = 0.0
        self._logged = ""

    def __str__(self) -> str:
        return f"Lease {self.namespace}/{LEASE_NAME}"

    def held(self) -> bool:
        """Return whether the Lease is ours, with a margin before others may take it."""
        return self._lease is not None and self._clock() < self._renewed_at + self._term.held

    async def acquire(self) -> None:
        """Wait until the Lease is ours."""
        sighting: Sighting | None = None
        while True:
            try:
                async with asyncio.timeout(self._term.request):
                    sighting = await self._try_to_take(sighting)
            except (DaskJobError, TimeoutError) as error:
                self._log(f"{self} cannot be read or written: {_reason(error)}; trying again")
                await asyncio.sleep(self._term.look)
                continue
            if sighting is None:
                self._logged = ""
                return
            self._log(f"standby: {self} is held by {sighting.holder}")
            await asyncio.sleep(seconds_until_look(sighting, self._clock(), self._term))

    async def _try_to_take(self, before: Sighting | None) -> Sighting | None:
        """Take the Lease if it is free; otherwise return who holds it."""
        started = self._clock()
        lease = await self._leases.get(self.namespace, LEASE_NAME)
        sighting = sighted(lease, before, started) if lease else None
        if may_take(lease, self._identity, sighting, started):
            try:
                await self._write(lease)
            except (Conflict, NotFound):
                # Another operator was faster: the next read shows which.
                return Sighting("another operator", "", self._term.duration, started)
            return None
        return sighting

    async def keep(self) -> None:
        """Renew the Lease; return when another holds it or it could not be renewed in time."""
        while True:
            await asyncio.sleep(max(self._renewed_at + self._term.renew - self._clock(), 0.0))
            while not await self._renewed():
                if self._lease is None:
                    return
                if not self.held():
                    logger.warning("%s could not be renewed in time; now a standby", self)
                    self._lease = None
                    return
                await asyncio.sleep(self._term.retry)

    async def _renewed(self) -> bool:
        """Renew the Lease; return whether that succeeded. Give it up if another holds it."""
        remaining = self._renewed_at + self._term.held - self._clock()
        try:
            async with asyncio.timeout(max(min(self._term.request, remaining), 0.0)):
                await self._write(self._lease)
        except (Conflict, NotFound):
            return await self._renewed_after_conflict()
        except (DaskJobError, TimeoutError) as error:
            logger.warning("%s could not be renewed: %s; trying again", self, _reason(error))
            return False
        return True

    async def _renewed_after_conflict(self) -> bool:
        """Read a Lease that has changed since our last write; renew it if it is ours or unheld."""
        try:
            async with asyncio.timeout(self._term.request):
                lease = await self._leases.get(self.namespace, LEASE_NAME)
                if lease is not None and holder(lease) not in ("", self._identity):
                    logger.warning("%s was taken by %s; now a standby", self, holder(lease))
                    self._lease = None
                    return False
                await self._write(lease)
        except (DaskJobError, TimeoutError):
            return False
        return True

    async def _write(self, lease: Manifest | None) -> None:
        started = self._clock()
        wanted = taken(lease, self.namespace, self._identity, self._term, self._now())
        if lease is None:
            self._lease = await self._leases.create(wanted)
        else:
            self._lease = await self._leases.update(wanted)
        self._renewed_at = started

    async def release(self) -> None:
        """Release the Lease, if it is ours."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        try:
            async with asyncio.timeout(self._term.retry):
                await self._leases.update(released(lease, self._now()))
        except (DaskJobError, TimeoutError) as error:
            logger.info("%s could not be released: %s; it will expire", self, _reason(error))

    def _log(self, text: str) -> None:
        if text != self._logged:
            logger.info("%s", text)
            self._logged = text


class AllLeases:
    """The leadership of several Leases, one in each namespace: all of them or none."""

    def __init__(self, holders: Sequence[LeaseHolder]) -> None:
        self._holders = holders

    def held(self) -> bool:
        """Return whether all Leases are ours."""
        return all(one.held() for one in self._holders)

    async def acquire(self) -> None:
        """Take one after the other, always in the same order: that rules out a deadlock."""
        while not self.held():
            async with _Tasks() as keeping:
                for one in self._holders:
                    await one.acquire()
                    keeping.start(one.keep())

    async def keep(self) -> None:
        """Renew all; when one is lost, release the others and return."""
        async with _Tasks() as keeping:
            for one in self._holders:
                keeping.start(one.keep())
            await asyncio.wait(keeping.tasks, return_when=asyncio.FIRST_COMPLETED)
        await self.release()

    async def release(self) -> None:
        """Release all."""
        await asyncio.gather(*(one.release() for one in self._holders))


class _Tasks:
    """Tasks that are cancelled at the end of their ``async with`` block."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, work: Coroutine[None, None, None]) -> None:
        self.tasks.append(asyncio.create_task(work))

    async def __aenter__(self) -> _Tasks:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def _reason(error: BaseException) -> str:
    return str(error) or "timed out"
