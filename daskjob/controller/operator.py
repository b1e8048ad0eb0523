"""The operator from its start to its end: what runs, in which order, and what ends it.

It answers probes from the first moment, reaches the world as soon as the world lets it, makes
passes while it leads, and ends when it is told to: passes under way are finished first, within a
bound, so that whoever follows finds as little as possible half done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

from daskjob import __version__
from daskjob.controller.clock import Clock, machine_clock
from daskjob.controller.kopf_runner import KopfRunner
from daskjob.controller.leader_only import LeaderOnly
from daskjob.controller.lease import (
    CLUSTER_LEASE_NAMESPACE,
    AllLeases,
    Alone,
    Leadership,
    LeaseApi,
    LeaseHolder,
)
from daskjob.controller.memory import kept_small
from daskjob.controller.metrics import CONTENT_TYPE
from daskjob.controller.options import Options
from daskjob.controller.passes import Passes
from daskjob.controller.probes import HEALTHZ, METRICS, READYZ, Answer, health, serving
from daskjob.controller.telemetry import Telemetry
from daskjob.controller.world import World
from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import Key
from daskjob.core.observed import Platform
from daskjob.kube.request_metrics import RequestMetrics

logger = logging.getLogger(__name__)

#: Seconds that passes under way, and kopf's clean-up beside them, have when the operator ends.
FINISH_SECONDS = 3.0
#: Seconds for letting go of the Lease, and then of all connections.
LEAVE_SECONDS = 1.0
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0
#: A world that was silent for so long had an outage: what failed in it is tried again at once.
OUTAGE_SECONDS = 90.0
OUTAGE_LOOK_SECONDS = 5.0
#: While the first lists do not come, this is said after so long, and ever more rarely.
PATIENCE_SECONDS = 10.0

#: How the world is reached; ``world.connect``.
Connect = Callable[[tuple[str, ...], Platform, RequestMetrics], Awaitable[World]]


class Operator:
    """One operator process."""

    def __init__(
        self,
        options: Options,
        connect: Connect,
        kopf_runner: KopfRunner,
        clock: Clock = machine_clock,
    ) -> None:
        self.telemetry = Telemetry()
        self._options = options
        self._connect = connect
        self._kopf_runner = kopf_runner
        self._clock = clock
        self._started_at = clock()
        self._told_to_end = asyncio.Event()
        self._synced = False
        #: The passes of this term; ``None``: this operator does not lead.
        self._passes: Passes | None = None

    def end(self) -> None:
        """Have the operator end: passes under way are finished, then everything is let go."""
        self._told_to_end.set()

    async def run(self) -> None:
        """Run until told to end.

        Raises
        ------
        OSError
            An address at which probes were to be answered cannot be used.
        """
        routes = {HEALTHZ: self.healthz, READYZ: self.readyz, METRICS: self.numbers}
        async with serving(self._options.addresses, routes) as addresses:
            for address in addresses:
                logger.info("answers probes at %s%s", address, address.path)
            async with (
                _beside(self._told_to_end.wait()) as told,
                _beside(self._work()) as work,
                _beside(kept_small()),
            ):
                await asyncio.wait([work, told], return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    await work

    async def _work(self) -> None:
        """Reach the world and work on it, until cancelled."""
        world = self.telemetry.world = await self._connected()
        world.subscribe(self._wake)
        try:
            async with _beside(kept_running("the watches", world.run)):
                await self._until_synced(world)
                async with _beside(self._hurry_after_outages(world)):
                    await self._lead_or_stand_by(world)
        finally:
            await _bounded(world.close(), LEAVE_SECONDS)

    async def _connected(self) -> World:
        """Return the world as soon as there is a way to it."""
        options, wait = self._options, FIRST_WAIT_SECONDS
        while True:
            try:
                return await self._connect(
                    options.namespaces.names, options.platform, self.telemetry.requests
                )
            except DaskJobError as error:
                logger.error("no way to a Kubernetes: %s; trying again in %.0f s", error, wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)

    async def _until_synced(self, world: World) -> None:
        wait = PATIENCE_SECONDS
        async with _beside(world.synced()) as synced:
            while not (await asyncio.wait([synced], timeout=wait))[0]:
                logger.warning("still waiting for the first lists of the API server")
                wait = min(wait * 2, 6 * PATIENCE_SECONDS)
            await synced
        self._synced = True
        logger.info(
            "daskjob %s is ready after %.1f s: looks at %s, %d objects",
            __version__,
            self._clock() - self._started_at,
            self._options.namespaces,
            len(world.subjects()),
        )

    async def _lead_or_stand_by(self, world: World) -> None:
        """Make passes whenever this operator leads, for ever."""
        lead = leadership(world.leases, self._options, self._clock)
        try:
            while True:
                await lead.acquire()
                await self._lead(world, lead)
        finally:
            await _bounded(lead.release(), LEAVE_SECONDS)

    async def _lead(self, world: World, lead: Leadership) -> None:
        """Make passes, and run the plugins, until the lead is lost."""
        telemetry = self.telemetry
        leader_only = LeaderOnly(world, lead.held, telemetry.jobs)
        # It stays after this term, and says no until the next one: what waits must not be sent.
        world.before_writes(leader_only.check)
        passes = self._passes = Passes(
            world,
            backend=leader_only,
            clock=self._clock,
            told=telemetry.passed,
            covers=self._options.namespaces.cover,
        )
        telemetry.queue = passes.queue
        logger.info("leads: makes passes")
        try:
            async with (
                _beside(kept_running("plugins", self._kopf_runner.run)) as plugins,
                _beside(kept_running("passes", passes.run)) as running,
            ):
                try:
                    await lead.keep()
                except asyncio.CancelledError:
                    plugins.cancel()
                    passes.stop()
                    await asyncio.wait([running], timeout=FINISH_SECONDS)
                    raise
        finally:
            self._passes = telemetry.queue = None
            telemetry.jobs.clear()

    async def _hurry_after_outages(self, world: World) -> None:
        """Have what failed tried again when a world is heard of again that was silent for long."""
        silent = False
        while True:
            await asyncio.sleep(OUTAGE_LOOK_SECONDS)
            was_silent, silent = silent, world.silent_seconds() >= OUTAGE_SECONDS
            if was_silent and not silent and self._passes is not None:
                logger.info("the API server answers again: what failed is tried again")
                self._passes.hurry()

    def _wake(self, key: Key, within: float = 0.0) -> None:
        if self._passes is not None:
            self._passes.wake(key, within)

    # What is answered to those who ask.

    def healthz(self) -> Answer:
        """Say whether this process works, or should be started again."""
        world, queue = self.telemetry.world, self.telemetry.queue
        silent = world.silent_seconds() if world else self._clock() - self._started_at
        return health(silent, queue.stuck_seconds if queue else 0.0)

    def readyz(self) -> Answer:
        """Say whether the first lists are complete, and whether this operator leads."""
        if not self._synced:
            return Answer(503, "the first lists are not complete\n")
        return Answer(200, "leader\n" if self._passes else "standby\n")

    def numbers(self) -> Answer:
        """Return all numbers for Prometheus."""
        return Answer(200, self.telemetry.text(), CONTENT_TYPE)


def leadership(leases: LeaseApi, options: Options, clock: Clock = machine_clock) -> Leadership:
    """Return what says whether this operator leads: a Lease in each namespace, or in kube-system.

    So two releases that look at the same namespace meet, whatever they are called; one that looks
    at all namespaces and one that looks at some do not.
    """
    if not options.lease:
        return Alone()
    where = options.namespaces.names or (CLUSTER_LEASE_NAMESPACE,)
    return AllLeases(
        [LeaseHolder(leases, namespace, options.identity, clock=clock) for namespace in where]
    )


async def kept_running(what: str, run: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run something that should never end by an error, and run it again if it does.

    The errors of objects are caught where passes are made. This is for what nobody thought of.
    """
    wait = FIRST_WAIT_SECONDS
    while True:
        started = time.monotonic()
        try:
            await run()
        except Exception as error:
            if time.monotonic() - started >= LONGEST_WAIT_SECONDS:
                wait = FIRST_WAIT_SECONDS
            words = f"{type(error).__name__}: {error}"
            logger.error(
                "%s broke: %s; starting again in %.0f s", what, words, wait, exc_info=error
            )
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)
        else:
            return


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[None, None, object]) -> AsyncIterator[asyncio.Task[object]]:
    """Do some work beside a block, and end it with the block."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _bounded(work: Coroutine[None, None, None], seconds: float) -> None:
    """Do something at the end that must not keep anybody from leaving."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except (DaskJobError, OSError) as error:
        logger.info("left behind: %s", str(error) or "what did not end in time")
