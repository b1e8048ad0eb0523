"""The namespaces in which the plugins' handlers run: those in which this operator leads.

There is one kopf for all of them, since handlers of one plugin share their module's state. kopf
cannot change its namespaces, so it is restarted: at once without a namespace that was lost, since
two operators would run each handler twice; for more namespaces at most once a minute, so that a
Lease that changes hands again and again hardly disturbs the handlers of other namespaces.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence

from daskjob.controller.clock import Clock, machine_clock
from daskjob.controller.kopf_runner import KopfRunner
from daskjob.controller.namespaces import Namespaces
from daskjob.controller.scope import Scope
from daskjob.controller.tasks import alongside, kept_running

#: Time for this operator to become the leader of its other namespaces too, before the first run.
SETTLE_SECONDS = 5.0
#: The shortest time between two restarts for more namespaces.
SHORTEST_RUN_SECONDS = 60.0


class PluginRuns:
    """Runs of kopf, each in the namespaces that this operator leads."""

    def __init__(
        self,
        kopf_runner: KopfRunner,
        namespaces: Namespaces,
        scopes: Callable[[], Sequence[Scope]],
        clock: Clock = machine_clock,
    ) -> None:
        self._kopf_runner = kopf_runner
        self._namespaces = namespaces
        self._scopes = scopes
        self._clock = clock
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Look again at where this operator leads."""
        self._changed.set()

    async def run(self) -> None:
        """Run kopf whenever and wherever this operator leads, until cancelled."""
        while True:
            await self._settled()
            led = self._led()
            run = functools.partial(self._kopf_runner.run, self._those(led))
            async with alongside(kept_running("plugins", run)):
                await self._until_another(led)

    async def _settled(self) -> None:
        """Wait until this operator leads everywhere; for a few seconds, if it leads somewhere."""
        while not self._led():
            await self._change(None)
        ends_at = self._clock() + SETTLE_SECONDS
        while len(self._led()) < len(self._scopes()) and (left := ends_at - self._clock()) > 0:
            await self._change(left)

    async def _until_another(self, led: frozenset[str | None]) -> None:
        """Wait until the lead is lost somewhere, or it is time to run in more namespaces."""
        ends_at = self._clock() + SHORTEST_RUN_SECONDS
        while led <= (now := self._led()):
            left = ends_at - self._clock()
            if now > led and left <= 0:
                return
            await self._change(left if now > led else None)

    async def _change(self, seconds: float | None) -> None:
        """Wait for a change, for this long at most."""
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    def _led(self) -> frozenset[str | None]:
        return frozenset(scope.namespace for scope in self._scopes() if scope.leading)

    def _those(self, led: frozenset[str | None]) -> Namespaces:
        names = tuple(sorted(name for name in led if name is not None))
        return Namespaces(names) if names else self._namespaces
