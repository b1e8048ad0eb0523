"""A scope of the operator: a watched namespace, or all of them, with its Lease and its passes.

Scopes do not wait for each other. What one namespace lacks (permissions, the Lease, a complete
list) stops only its own passes, is logged and shown in the metrics, and is retried.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from daskjob import __version__
from daskjob.controller.clock import Clock
from daskjob.controller.job_metrics import Jobs
from daskjob.controller.leader_only import LeaderOnly
from daskjob.controller.lease import Leadership
from daskjob.controller.passes import OnPass, Passes
from daskjob.controller.queue import WorkQueue
from daskjob.controller.tasks import alongside, kept_running
from daskjob.controller.world import World
from daskjob.core.concurrency import PassConcurrency
from daskjob.core.manifests import Key

logger = logging.getLogger(__name__)

#: Time for passes in progress when the operator ends.
FINISH_SECONDS = 3.0
#: Silence of the world that counts as an outage: failed objects are retried at once after it.
OUTAGE_SECONDS = 90.0
OUTAGE_LOOK_SECONDS = 5.0
#: Delay before logging that the first lists are missing; later log lines are rarer.
PATIENCE_SECONDS = 10.0
LONGEST_PATIENCE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Shared:
    """What all scopes of an operator use: none of it waits for a namespace."""

    world: World
    jobs: Jobs
    on_pass: OnPass
    concurrency: PassConcurrency
    clock: Clock
    now: Callable[[], datetime]
    started_at: float
    #: Called when a scope begins or ceases to lead.
    on_change: Callable[[], None]


class Scope:
    """One watched namespace, or all of them: its watches, its leadership, its passes."""

    def __init__(
        self,
        shared: Shared,
        lead: Leadership,
        *,
        namespace: str | None,
        title: str,
        covers: Callable[[str], bool],
    ) -> None:
        #: The namespace; ``None``: all of them.
        self.namespace = namespace
        self.lead = lead
        #: Whether its first lists are complete.
        self.synced = False
        self._shared = shared
        self._title = title
        self._covers = covers
        self._leader_only = LeaderOnly(shared.world, lead.held, shared.jobs)
        #: The passes of this term; ``None``: this operator does not lead here.
        self._passes: Passes | None = None

    def __str__(self) -> str:
        return self._title

    @property
    def leading(self) -> bool:
        """Whether this operator makes the passes of this scope."""
        return self._passes is not None and self.lead.held()

    @property
    def queue(self) -> WorkQueue[Key] | None:
        """The queue of this term; ``None``: this operator does not lead here."""
        return self._passes.queue if self._passes else None

    @property
    def state(self) -> str:
        """What this operator does here, for the readiness probe."""
        if not self.synced:
            return "the first lists are not complete"
        return "leader" if self.leading else "standby"

    def wake(self, key: Key, within: float) -> None:
        """Have a pass made over an object, if this operator leads here."""
        if self._passes is not None:
            self._passes.wake(key, within)

    def check(self) -> None:
        """Reject a write unless this operator leads here.

        Raises
        ------
        NotLeading
            It does not lead here, or no longer.
        """
        self._leader_only.check()

    async def run(self) -> None:
        """Watch, and make passes whenever this operator leads here, until cancelled."""
        watch = functools.partial(self._shared.world.run_watches, self.namespace)
        async with alongside(kept_running(f"the watches of {self}", watch)):
            await self._until_synced()
            async with alongside(self._hurry_after_outages()):
                await kept_running(f"the leadership of {self}", self._lead_or_wait)

    async def _until_synced(self) -> None:
        world, wait = self._shared.world, PATIENCE_SECONDS
        async with alongside(world.synced(self.namespace)) as synced:
            while not (await asyncio.wait([synced], timeout=wait))[0]:
                logger.warning("still waiting for the first lists of %s", self)
                wait = min(wait * 2, LONGEST_PATIENCE_SECONDS)
            await synced
        self.synced = True
        logger.info(
            "daskjob %s is ready after %.1f s: managing %s, %d objects",
            __version__,
            self._shared.clock() - self._shared.started_at,
            self,
            sum(1 for key in world.subjects() if self._covers(key.namespace)),
        )

    async def _lead_or_wait(self) -> None:
        """Make passes whenever this operator leads, until cancelled."""
        while True:
            await self.lead.acquire()
            await self._lead()

    async def _lead(self) -> None:
        """Make passes until the lead is lost."""
        shared = self._shared
        passes = self._passes = Passes(
            shared.world,
            backend=self._leader_only,
            clock=shared.clock,
            now=shared.now,
            on_pass=shared.on_pass,
            covers=self._covers,
            concurrency=shared.concurrency,
        )
        logger.info("became the leader of %s; making passes", self)
        shared.on_change()
        try:
            async with alongside(kept_running(f"the passes of {self}", passes.run)) as running:
                try:
                    await self.lead.keep()
                except asyncio.CancelledError:
                    passes.stop()
                    await asyncio.wait([running], timeout=FINISH_SECONDS)
                    raise
                finally:
                    shared.on_change()
        finally:
            self._passes = None
            shared.jobs.clear(self._covers)

    async def _hurry_after_outages(self) -> None:
        """Retry failed objects at once when the world responds again after an outage."""
        silent = False
        while True:
            await asyncio.sleep(OUTAGE_LOOK_SECONDS)
            seconds = self._shared.world.silent_seconds(self.namespace)
            was_silent, silent = silent, seconds >= OUTAGE_SECONDS
            if was_silent and not silent and self._passes is not None:
                logger.info("the watches of %s work again: retrying what failed", self)
                self._passes.hurry()
