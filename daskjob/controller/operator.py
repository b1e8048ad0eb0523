"""The life cycle of the operator: start-up, leading, shutdown.

It answers probes from the start, connects to the world as soon as that is possible, makes passes
while it leads, and ends on request: passes in progress finish first, within a time limit, so that
its successor finds as little as possible half done.
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
from daskjob.controller.memory import keep_memory_small
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

#: Time for passes in progress and kopf's clean-up, in parallel, when the operator ends.
FINISH_SECONDS = 3.0
#: Time to release the Lease, and then again to close all connections.
LEAVE_SECONDS = 1.0
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0
#: Silence of the world that counts as an outage: failed objects are retried at once after it.
OUTAGE_SECONDS = 90.0
OUTAGE_LOOK_SECONDS = 5.0
#: Delay before logging that the first lists are missing; later log lines are rarer.
PATIENCE_SECONDS = 10.0

#: Connects to the world; ``world.connect``.
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
        self._ending = asyncio.Event()
        self._synced = False
        #: The passes of this term; ``None``: this operator does not lead.
        self._passes: Passes | None = None

    def end(self) -> None:
        """Have the operator end: passes in progress finish, then everything is released."""
        self._ending.set()

    async def run(self) -> None:
        """Run until ``end`` is called.

        Raises
        ------
        OSError
            An address for probes cannot be used.
        """
        routes = {HEALTHZ: self.healthz, READYZ: self.readyz, METRICS: self.numbers}
        async with serving(self._options.addresses, routes) as addresses:
            for address in addresses:
                logger.info("serving probes at %s%s", address, address.path)
            async with (
                _alongside(self._ending.wait()) as ending,
                _alongside(self._work()) as work,
                _alongside(keep_memory_small()),
            ):
                await asyncio.wait([work, ending], return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    await work

    async def _work(self) -> None:
        """Connect to the world and work on it, until cancelled."""
        world = self.telemetry.world = await self._connected()
        world.subscribe(self._wake)
        try:
            async with _alongside(kept_running("the watches", world.run)):
                await self._until_synced(world)
                async with _alongside(self._hurry_after_outages(world)):
                    await self._lead_or_wait(world)
        finally:
            await _bounded(world.close(), LEAVE_SECONDS)

    async def _connected(self) -> World:
        """Return the world as soon as it can be connected to."""
        options, wait = self._options, FIRST_WAIT_SECONDS
        while True:
            try:
                return await self._connect(
                    options.namespaces.names, options.platform, self.telemetry.requests
                )
            except DaskJobError as error:
                logger.error(
                    "cannot connect to Kubernetes: %s; trying again in %.0f s", error, wait
                )
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)

    async def _until_synced(self, world: World) -> None:
        wait = PATIENCE_SECONDS
        async with _alongside(world.synced()) as synced:
            while not (await asyncio.wait([synced], timeout=wait))[0]:
                logger.warning("still waiting for the first lists from the API server")
                wait = min(wait * 2, 6 * PATIENCE_SECONDS)
            await synced
        self._synced = True
        logger.info(
            "daskjob %s is ready after %.1f s: managing %s, %d objects",
            __version__,
            self._clock() - self._started_at,
            self._options.namespaces,
            len(world.subjects()),
        )

    async def _lead_or_wait(self, world: World) -> None:
        """Make passes whenever this operator leads, until cancelled."""
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
        # It stays after this term, so that writes which are still queued then are rejected.
        world.before_writes(leader_only.check)
        passes = self._passes = Passes(
            world,
            backend=leader_only,
            clock=self._clock,
            on_pass=telemetry.passed,
            covers=self._options.namespaces.cover,
        )
        telemetry.queue = passes.queue
        logger.info("became the leader; making passes")
        try:
            async with (
                _alongside(kept_running("plugins", self._kopf_runner.run)) as plugins,
                _alongside(kept_running("passes", passes.run)) as running,
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
        """Retry failed objects at once when the world responds again after an outage."""
        silent = False
        while True:
            await asyncio.sleep(OUTAGE_LOOK_SECONDS)
            was_silent, silent = silent, world.silent_seconds() >= OUTAGE_SECONDS
            if was_silent and not silent and self._passes is not None:
                logger.info("the API server responds again: retrying what failed")
                self._passes.hurry()

    def _wake(self, key: Key, within: float = 0.0) -> None:
        if self._passes is not None:
            self._passes.wake(key, within)

    # The answers to probes and scrapes.

    def healthz(self) -> Answer:
        """Return whether this process works or should be restarted."""
        world, queue = self.telemetry.world, self.telemetry.queue
        silent = world.silent_seconds() if world else self._clock() - self._started_at
        return health(silent, queue.stuck_seconds if queue else 0.0)

    def readyz(self) -> Answer:
        """Return whether the first lists are complete, and whether this operator leads."""
        if not self._synced:
            return Answer(503, "the first lists are not complete\n")
        return Answer(200, "leader\n" if self._passes else "standby\n")

    def numbers(self) -> Answer:
        """Return all metrics for Prometheus."""
        return Answer(200, self.telemetry.text(), CONTENT_TYPE)


def leadership(leases: LeaseApi, options: Options, clock: Clock = machine_clock) -> Leadership:
    """Return the leadership of this operator: a Lease in each namespace, or one in kube-system.

    So two releases that manage the same namespace compete for its Lease, whatever their names; one
    that manages all namespaces and one that manages some do not.
    """
    if not options.lease:
        return Alone()
    where = options.namespaces.names or (CLUSTER_LEASE_NAMESPACE,)
    return AllLeases(
        [LeaseHolder(leases, namespace, options.identity, clock=clock) for namespace in where]
    )


async def kept_running(what: str, run: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run something that should never fail, and restart it if it does.

    Errors of single objects are caught by ``passes``. This is for unexpected ones.
    """
    wait = FIRST_WAIT_SECONDS
    while True:
        started = time.monotonic()
        try:
            await run()
        except Exception as error:
            if time.monotonic() - started >= LONGEST_WAIT_SECONDS:
                wait = FIRST_WAIT_SECONDS
            reason = f"{type(error).__name__}: {error}"
            logger.error("%s failed: %s; restarting in %.0f s", what, reason, wait, exc_info=error)
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)
        else:
            return


@contextlib.asynccontextmanager
async def _alongside(work: Coroutine[None, None, object]) -> AsyncIterator[asyncio.Task[object]]:
    """Run some work alongside a block, and cancel it at the end of the block."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _bounded(work: Coroutine[None, None, None], seconds: float) -> None:
    """Run a step of the shutdown, with a time limit: it must not block the exit."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except (DaskJobError, OSError) as error:
        logger.info("incomplete shutdown: %s", str(error) or "timed out")
