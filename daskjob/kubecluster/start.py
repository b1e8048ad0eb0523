"""The start of a cluster: from nothing to a connection with its scheduler."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from distributed.core import Status
from distributed.objects import SchedulerInfo

from daskjob.kubecluster import process_end
from daskjob.kubecluster.create_mode import CreateMode
from daskjob.kubecluster.end import End
from daskjob.kubecluster.errors import ClusterExists, OperatorNotInstalled, closed_error
from daskjob.kubecluster.existing import existing, security_of_existing, values_of, without_effect
from daskjob.kubecluster.host import Host
from daskjob.kubecluster.known_workers import keep_known
from daskjob.kubecluster.lease import Lease, seconds_of
from daskjob.kubecluster.panel import Panel
from daskjob.kubecluster.parts import rows_of
from daskjob.kubecluster.scheduler_connection import joined, scheduler_at
from daskjob.kubecluster.scheduler_wait import SchedulerWait
from daskjob.kubecluster.session import Session
from daskjob.kubecluster.watch import ClusterWatch
from daskjob.kubecluster.ways import Wishes
from daskjob.kubecluster.worker_trouble import report_troubles
from daskjob.submit.clusters.cluster import Cluster

logger = logging.getLogger("daskjob")


class Start:
    """Starts a cluster, once, however often it is asked for; a start that fails is undone.

    ``join`` has the host follow the scheduler: what any Dask cluster does.
    """

    def __init__(
        self, host: Host, session: Session, end: End, *, join: Callable[[], Awaitable[None]]
    ) -> None:
        self._host = host
        self._session = session
        self._end = end
        self._join = join
        self._task: asyncio.Task[None] | None = None
        #: What shows the start while it lasts.
        self.panel: Panel | None = None

    @property
    def has_begun(self) -> bool:
        """Whether anything may be there that needs an end."""
        return self._task is not None

    async def done(self) -> None:
        """Start, unless that is done.

        Raises
        ------
        DaskJobError
            With what blocks the start; nothing of it is left.
        """
        if self._host.status == Status.running:
            return
        if self._host.status != Status.created:
            raise closed_error(self._host.name)
        if self._task is None:
            self._task = asyncio.ensure_future(self._steps_or_undo())
            self._end.begun(self._task)
        try:
            await self._task
        except asyncio.CancelledError:
            waiting = asyncio.current_task()
            if waiting is None or waiting.cancelling():
                raise
            # Another task closed the cluster.
            raise closed_error(self._host.name) from None

    async def _steps_or_undo(self) -> None:
        self.panel = self.as_panel()
        try:
            with self.panel:
                await self._steps()
        except BaseException:
            await self._end.undo()
            raise
        finally:
            self.panel = None

    def as_panel(self) -> Panel:
        """Return what shows the start, as it is now."""
        connects = self._session.arguments.create_mode is CreateMode.CONNECT_ONLY
        title = f"{'Connecting to' if connects else 'Creating'} KubeCluster {self._host.name}"
        return Panel(title, lambda: rows_of(self._session.watch), quiet=self._host.quiet)

    async def _steps(self) -> None:
        session, host = self._session, self._host
        api = await session.clients.api()
        host.namespace = await session.clients.namespace()
        watch = session.watch = ClusterWatch(api, await self._created_or_found())
        watch.start()
        session.log("Waiting for the scheduler")
        timeout = session.arguments.resource_timeout
        await SchedulerWait(api, watch, timeout, session.log).ready()
        session.log("Connecting to the scheduler")
        await self._connect(watch, timeout)
        await joined(self._join, host.name, timeout)
        session.spawn(self._end.when_gone(watch))
        session.spawn(self._keep_known(watch))
        session.spawn(report_troubles(watch, self._report))
        session.log(f"Ready; the dashboard is at {host.dashboard_link}")

    def _report(self, text: str) -> None:
        self._session.log(text)
        if not self._host.quiet:
            logger.warning("%s", text)

    async def _connect(self, watch: ClusterWatch, timeout: float) -> None:
        connection, host = self._session.connection, self._host
        wishes = Wishes(
            host.port_forward_cluster_ip,
            host.scheduler_forward_port or 0,
            self._session.arguments.comm_forward_port,
            timeout,
        )
        way = await connection.open(watch.api, watch.cluster, wishes)
        host.scheduler_comm = scheduler_at(way, host.security)
        await connection.answer(host.scheduler_comm, host.name, timeout)

    async def _keep_known(self, watch: ClusterWatch) -> None:
        host = self._host

        def take(identity: dict[str, Any]) -> None:
            host.scheduler_info = SchedulerInfo(identity)

        await keep_known(watch, host.scheduler_comm, lambda: host.scheduler_info["workers"], take)

    async def _created_or_found(self) -> Cluster:
        mode = self._host.create_mode
        if mode is CreateMode.CONNECT_ONLY:
            return await self._found()
        try:
            return await self._created()
        except ClusterExists:
            if mode is CreateMode.CREATE_ONLY:
                raise
        return await self._found()

    async def _created(self) -> Cluster:
        session, host = self._session, self._host
        process_end.opened(self._end)
        wants_lease = host.shutdown_on_close is not False
        seconds = session.arguments.lease_seconds if wants_lease else 0
        session.log("Creating the DaskCluster")
        try:
            cluster = await session.creation.create(session.clients, host.security, seconds)
        except (ClusterExists, OperatorNotInstalled):
            process_end.closed(self._end)
            raise
        if host.shutdown_on_close is None:
            host.shutdown_on_close = True
        await self._keep_lease(cluster, seconds, found=False)
        return cluster

    async def _found(self) -> Cluster:
        """Return the existing cluster, whose values the host takes."""
        session, host = self._session, self._host
        if self.panel is not None:
            self.panel.title = f"Connecting to KubeCluster {host.name}"
        session.log("Connecting to the existing cluster")
        cluster = await existing(session.clients, host.name)
        if host.security is None:
            host.security = await security_of_existing(await session.clients.api(), cluster)
        if host.shutdown_on_close is None:
            host.shutdown_on_close = False
        elif host.shutdown_on_close:
            process_end.opened(self._end)
        values = values_of(cluster)
        if ignored := without_effect(session.arguments, values):
            logger.warning(
                "cluster %s exists, and its settings stay as they are; without effect: %s",
                host.name,
                ", ".join(ignored),
            )
        for name, value in values.items():
            setattr(host, name, value)
        await self._keep_lease(cluster, seconds_of(cluster.manifest), found=True)
        return cluster

    async def _keep_lease(self, cluster: Cluster, seconds: int, *, found: bool) -> None:
        if not seconds:
            return
        session = self._session
        api = await session.clients.api()
        session.lease = Lease(api, cluster.manifest, cluster.ref, seconds)
        session.spawn(session.lease.keep(found=found))
