"""The local ports that lead to a cluster: its scheduler, and its dashboard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from daskjob.core.names import PORT_COMM, PORT_DASHBOARD
from daskjob.kube.api import Api
from daskjob.kube.port_forward import LOOPBACK, Notify, PortForward, forwarding
from daskjob.submit.clusters.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Forwards:
    """The forwards to one cluster."""

    cluster: Cluster
    dashboard: PortForward
    comm: PortForward | None = None

    @property
    def scheduler_address(self) -> str:
        """The local address for clients; empty if only the dashboard is forwarded."""
        return f"{self.cluster.protocol}://{self.comm.address}" if self.comm else ""

    @property
    def dashboard_link(self) -> str:
        """The local URL of the dashboard."""
        return f"http://{self.dashboard.address}{self.cluster.dashboard_path}"

    async def ready(self, timeout_seconds: float | None = None) -> None:
        """Wait until the scheduler can be reached; see ``PortForward.ready``."""
        await (self.comm or self.dashboard).ready(timeout_seconds)


@asynccontextmanager
async def forwards(
    api: Api,
    cluster: Cluster,
    *,
    port: int = 0,
    dashboard_port: int = 0,
    address: str = LOOPBACK,
    comm: bool = True,
    notify: Notify | None = None,
) -> AsyncIterator[Forwards]:
    """Forward local ports to a cluster during the block.

    Raises
    ------
    PortTaken
        A local port is in use.
    """
    async with AsyncExitStack() as stack:
        to_comm = None
        if comm:
            to_comm = await stack.enter_async_context(
                forwarding(
                    api,
                    cluster.comm(),
                    port=port,
                    preferred_port=PORT_COMM,
                    address=address,
                    notify=notify,
                )
            )
        to_dashboard = await stack.enter_async_context(
            forwarding(
                api,
                cluster.dashboard(),
                port=dashboard_port,
                preferred_port=PORT_DASHBOARD,
                address=address,
                # The scheduler's own messages say the same.
                notify=None if comm else notify,
            )
        )
        yield Forwards(cluster, to_dashboard, to_comm)
