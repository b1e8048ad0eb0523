"""The life cycle of the operator: start-up, leading, shutdown.

It answers probes from the start, connects to the world as soon as that is possible, makes passes
wherever it leads, and ends on request: passes in progress finish first, within a time limit, so
that its successor finds as little as possible half done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

from daskjob.controller.clock import Clock, machine_clock, utc_now
from daskjob.controller.kopf_runner import KopfRunner
from daskjob.controller.leader_only import NotLeading
from daskjob.controller.lease import (
    CLUSTER_LEASE_NAMESPACE,
    Alone,
    Leadership,
    LeaseApi,
    LeaseHolder,
)
from daskjob.controller.memory import keep_memory_small
from daskjob.controller.metrics import CONTENT_TYPE
from daskjob.controller.options import Options
from daskjob.controller.plugin_runs import PluginRuns
from daskjob.controller.probes import HEALTHZ, METRICS, READYZ, Answer, health, serving
from daskjob.controller.scope import Scope, Shared
from daskjob.controller.tasks import alongside, bounded, kept_running
from daskjob.controller.telemetry import Telemetry
from daskjob.controller.world import World
from daskjob.core.concurrency import PassConcurrency
from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import Key
from daskjob.core.observed import Platform
from daskjob.kube.request_metrics import RequestMetrics

logger = logging.getLogger(__name__)

#: Time to release the Leases, and then again to close all connections.
LEAVE_SECONDS = 1.0
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0

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
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.telemetry = Telemetry()
        self._options = options
        self._connect = connect
        self._clock = clock
        self._now = now
        self._started_at = clock()
        self._ending = asyncio.Event()
        #: By namespace; ``None``: one scope of all namespaces.
        self._scopes: dict[str | None, Scope] = {}
        self._plugins = PluginRuns(
            kopf_runner, options.namespaces, lambda: tuple(self._scopes.values()), clock
        )

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
                alongside(self._ending.wait()) as ending,
                alongside(self._work()) as work,
                alongside(keep_memory_small()),
            ):
                await asyncio.wait([work, ending], return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    await work

    async def _work(self) -> None:
        """Connect to the world and work on it, until cancelled."""
        world = self.telemetry.world = await self._connected()
        self._scopes = self._made_scopes(world)
        self.telemetry.scopes = tuple(self._scopes.values())
        world.subscribe(self._wake)
        world.before_writes(self._check)
        try:
            async with (
                alongside(kept_running("the queries to schedulers", world.run_queries)),
                asyncio.TaskGroup() as running,
            ):
                for scope in self._scopes.values():
                    running.create_task(scope.run())
                running.create_task(self._plugins.run())
        finally:
            # Only now: until a Lease is released, no other operator runs the plugins' handlers.
            await bounded(self._release(), LEAVE_SECONDS)
            await bounded(world.close(), LEAVE_SECONDS)

    def _made_scopes(self, world: World) -> dict[str | None, Scope]:
        """Return the scopes: each named namespace, or one of all namespaces."""
        options, covered = self._options, self._options.namespaces
        shared = Shared(
            world,
            self.telemetry.jobs,
            self.telemetry.passed,
            PassConcurrency(self._clock),
            self._clock,
            self._now,
            self._started_at,
            self._plugins.changed,
        )

        def scope(namespace: str | None) -> Scope:
            return Scope(
                shared,
                leadership(world.leases, namespace, options, self._clock),
                namespace=namespace,
                title=f"namespace {namespace}" if namespace else str(covered),
                covers=(lambda name: name == namespace) if namespace else covered.cover,
            )

        return {namespace: scope(namespace) for namespace in covered.names or (None,)}

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

    async def _release(self) -> None:
        """Release all Leases, so that standbys take over at once."""
        releases = (scope.lead.release() for scope in self._scopes.values())
        await asyncio.gather(*releases, return_exceptions=True)

    def _scope_of(self, namespace: str) -> Scope | None:
        return self._scopes.get(namespace) or self._scopes.get(None)

    def _wake(self, key: Key, within: float = 0.0) -> None:
        scope = self._scope_of(key.namespace)
        if scope is not None:
            scope.wake(key, within)

    def _check(self, namespace: str) -> None:
        """Reject a write to a namespace that this operator does not lead, or no longer."""
        scope = self._scope_of(namespace)
        if scope is None:
            raise NotLeading(f"this operator does not manage namespace {namespace}")
        scope.check()

    # The answers to probes and scrapes.

    def healthz(self) -> Answer:
        """Return whether this process works or should be restarted.

        It need not be restarted for one namespace while it works on another: that would stop both,
        and most likely not help.
        """
        world, scopes = self.telemetry.world, self._scopes.values()
        silent = (
            min(world.unanswered_seconds(scope.namespace) for scope in scopes)
            if world
            else self._clock() - self._started_at
        )
        due = [queue for queue in self.telemetry.queues if queue.depth]
        return health(silent, min((queue.stuck_seconds for queue in due), default=0.0))

    def readyz(self) -> Answer:
        """Return whether any first lists are complete, and where this operator leads."""
        scopes = self._scopes.values()
        if not scopes:
            return Answer(503, "not connected to Kubernetes\n")
        names = [f"{scope.namespace}: " if len(scopes) > 1 else "" for scope in scopes]
        lines = [f"{name}{scope.state}\n" for name, scope in zip(names, scopes, strict=True)]
        return Answer(200 if any(scope.synced for scope in scopes) else 503, "".join(lines))

    def numbers(self) -> Answer:
        """Return all metrics for Prometheus."""
        return Answer(200, self.telemetry.text(), CONTENT_TYPE)


def leadership(
    leases: LeaseApi, namespace: str | None, options: Options, clock: Clock = machine_clock
) -> Leadership:
    """Return the leadership of a namespace, or of all: then the Lease is in kube-system.

    So two releases that manage the same namespace compete for its Lease, whatever their names; one
    that manages all namespaces and one that manages some do not.
    """
    if not options.lease:
        return Alone()
    where = namespace or CLUSTER_LEASE_NAMESPACE
    return LeaseHolder(leases, where, options.identity, clock=clock)
