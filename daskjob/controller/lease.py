"""Leader election: of several operators one makes the passes, the one that holds a Lease.

A ``coordination.k8s.io`` Lease names its holder, and the holder renews it every 10 s. Who leads
must stop by itself in time when it cannot renew; who stands by takes over when it has not seen the
Lease change for its whole duration, by its own clock: the times written in it are for people, since
two machines' clocks differ. Every write is for one resourceVersion, so of two that try at the same
moment one loses.
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

#: One name for every operator that makes passes over these kinds, whatever its release is called.
LEASE_NAME = "daskjob-operator"
#: Where the Lease of an operator is that watches all namespaces: the same for every release.
CLUSTER_LEASE_NAMESPACE = "kube-system"


@dataclass(frozen=True, slots=True)
class Term:
    """How long a Lease lasts, and how often it is written and read. In seconds."""

    #: Nobody takes a Lease over that changed within this time.
    duration: float = 15.0
    #: Its holder writes it this often,
    renew: float = 10.0
    #: tries that again this soon when it fails,
    retry: float = 1.0
    #: and leads no longer than this after it began the last renewal that succeeded.
    held: float = 13.0
    #: Who stands by reads it this often: takes over 4 s after it was let go, 19 s after a crash.
    look: float = 4.0
    #: One request.
    request: float = 5.0


TERM = Term()


class LeaseApi(Protocol):
    """The Leases of a cluster. Each request is bounded in time by whoever asks."""

    async def get(self, namespace: str, name: str) -> Manifest | None:
        """Return a Lease, from the API server and no cache; ``None``: there is none."""
        ...

    async def create(self, manifest: Manifest) -> Manifest:
        """Create a Lease and return it.

        Raises
        ------
        Conflict
            There is one of this name.
        """
        ...

    async def update(self, manifest: Manifest) -> Manifest:
        """Replace a Lease of this very resourceVersion, and return it.

        Raises
        ------
        Conflict
            It has changed since.
        NotFound
            It is gone.
        """
        ...


# What stands in a Lease.


def holder(lease: Manifest) -> str:
    """Return who holds a Lease; empty: nobody."""
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def taken(
    lease: Manifest | None, namespace: str, identity: str, term: Term, now: datetime
) -> Manifest:
    """Return the Lease as its new, or old, holder writes it."""
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
    """Return the Lease as its holder leaves it: anybody may take it at once."""
    spec = {**(lease.get("spec") or {}), "holderIdentity": "", "leaseDurationSeconds": 1}
    return {**lease, "spec": {**spec, "renewTime": _micro_time(now)}}


def _micro_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, slots=True)
class Sighting:
    """A Lease that somebody else holds: at which version, and since when it is the same."""

    holder: str
    version: str
    duration: float
    since: float


def sighted(lease: Manifest, before: Sighting | None, at: float) -> Sighting:
    """Return what one look at another's Lease says, after what an earlier one said."""
    version = str(metadata(lease).get("resourceVersion", ""))
    if before is not None and before.version == version:
        return before
    duration = (lease.get("spec") or {}).get("leaseDurationSeconds")
    seconds = float(duration) if isinstance(duration, int) and duration > 0 else TERM.duration
    return Sighting(holder(lease), version, seconds, at)


def may_take(lease: Manifest | None, identity: str, sighting: Sighting | None, at: float) -> bool:
    """Say whether a Lease is free: nobody's, our own, or not renewed for its whole duration."""
    if lease is None or holder(lease) in ("", identity):
        return True
    return sighting is not None and at - sighting.since >= sighting.duration


def seconds_until_look(sighting: Sighting, at: float, term: Term) -> float:
    """Return when to look at another's Lease again: regularly, and when it has run out."""
    return max(min(term.look, sighting.since + sighting.duration - at), 0.1)


class Leadership(Protocol):
    """Whether this operator makes the passes."""

    def held(self) -> bool:
        """Say whether it leads at this very moment."""
        ...

    async def acquire(self) -> None:
        """Return as soon as it leads."""
        ...

    async def keep(self) -> None:
        """See to it that it leads on; return when it does no longer."""
        ...

    async def release(self) -> None:
        """Let others lead at once."""
        ...


class Alone:
    """The leadership of an operator that was told that there is no other."""

    def held(self) -> bool:
        """Say that it leads."""
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
        #: The Lease as we wrote it last, and when we began to; ``None``: it is not ours.
        self._lease: Manifest | None = None
        self._renewed_at = 0.0
        self._told = ""

    def __str__(self) -> str:
        return f"Lease {self.namespace}/{LEASE_NAME}"

    def held(self) -> bool:
        """Say whether the Lease is ours, with a margin to the moment when others may take it."""
        return self._lease is not None and self._clock() < self._renewed_at + self._term.held

    async def acquire(self) -> None:
        """Return as soon as the Lease is ours."""
        sighting: Sighting | None = None
        while True:
            try:
                async with asyncio.timeout(self._term.request):
                    sighting = await self._try_to_take(sighting)
            except (DaskJobError, TimeoutError) as error:
                self._tell(f"{self} cannot be read or written: {_words(error)}; trying on")
                await asyncio.sleep(self._term.look)
                continue
            if sighting is None:
                self._told = ""
                return
            self._tell(f"stands by: {self} is held by {sighting.holder}")
            await asyncio.sleep(seconds_until_look(sighting, self._clock(), self._term))

    async def _try_to_take(self, before: Sighting | None) -> Sighting | None:
        """Take the Lease where it is free; return by whom it is held where it is not."""
        started = self._clock()
        lease = await self._leases.get(self.namespace, LEASE_NAME)
        sighting = sighted(lease, before, started) if lease else None
        if may_take(lease, self._identity, sighting, started):
            try:
                await self._write(lease)
            except (Conflict, NotFound):
                # Somebody else was faster: the next look shows who.
                return Sighting("another one", "", self._term.duration, started)
            return None
        return sighting

    async def keep(self) -> None:
        """Renew the Lease; return when it is another's, or could not be renewed in time."""
        while True:
            await asyncio.sleep(max(self._renewed_at + self._term.renew - self._clock(), 0.0))
            while not await self._renewed():
                if self._lease is None:
                    return
                if not self.held():
                    logger.warning("%s could not be renewed in time; standing by", self)
                    self._lease = None
                    return
                await asyncio.sleep(self._term.retry)

    async def _renewed(self) -> bool:
        """Renew the Lease; return whether that succeeded. Where it is another's, it is let go."""
        remaining = self._renewed_at + self._term.held - self._clock()
        try:
            async with asyncio.timeout(max(min(self._term.request, remaining), 0.0)):
                await self._write(self._lease)
        except (Conflict, NotFound):
            return await self._look_whose()
        except (DaskJobError, TimeoutError) as error:
            logger.warning("%s could not be renewed: %s; trying again", self, _words(error))
            return False
        return True

    async def _look_whose(self) -> bool:
        """See whose a Lease is that has changed under us; if ours or nobody's, renew it."""
        try:
            async with asyncio.timeout(self._term.request):
                lease = await self._leases.get(self.namespace, LEASE_NAME)
                if lease is not None and holder(lease) not in ("", self._identity):
                    logger.warning("%s was taken by %s; standing by", self, holder(lease))
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
        """Let the Lease go, if it is ours."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        try:
            async with asyncio.timeout(self._term.retry):
                await self._leases.update(released(lease, self._now()))
        except (DaskJobError, TimeoutError) as error:
            logger.info("%s could not be let go: %s; it runs out by itself", self, _words(error))

    def _tell(self, text: str) -> None:
        if text != self._told:
            logger.info("%s", text)
            self._told = text


class AllLeases:
    """The leadership of several Leases, one in each namespace: all of them or none."""

    def __init__(self, holders: Sequence[LeaseHolder]) -> None:
        self._holders = holders

    def held(self) -> bool:
        """Say whether all Leases are ours."""
        return all(one.held() for one in self._holders)

    async def acquire(self) -> None:
        """Take one after the other, always in the same order, so that nobody waits in a ring."""
        while not self.held():
            async with _Tasks() as keeping:
                for one in self._holders:
                    await one.acquire()
                    keeping.start(one.keep())

    async def keep(self) -> None:
        """Renew all; return as soon as one is lost, and let the others go."""
        async with _Tasks() as keeping:
            for one in self._holders:
                keeping.start(one.keep())
            await asyncio.wait(keeping.tasks, return_when=asyncio.FIRST_COMPLETED)
        await self.release()

    async def release(self) -> None:
        """Let all go."""
        await asyncio.gather(*(one.release() for one in self._holders))


class _Tasks:
    """Tasks that end with the block in which they were started."""

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


def _words(error: BaseException) -> str:
    return str(error) or "no answer came in time"
