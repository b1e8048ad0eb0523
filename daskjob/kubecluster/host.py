"""What the start and the end of a cluster need of the class that users see."""

from __future__ import annotations

from typing import Any, Protocol

from distributed.security import Security

from daskjob.kubecluster.create_mode import CreateMode


class Host(Protocol):
    """The Dask cluster that starts and ends; users may change its attributes in between."""

    name: str
    namespace: str | None
    status: Any
    quiet: bool
    loop: Any
    scheduler_comm: Any
    #: What is known of the scheduler and its workers.
    scheduler_info: Any
    periodic_callbacks: dict[str, Any]
    security: Security | None
    create_mode: CreateMode
    shutdown_on_close: bool | None
    port_forward_cluster_ip: bool | None
    scheduler_forward_port: int
    #: The link to the dashboard; empty before the start.
    dashboard_link: str

    def sync(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a coroutine function in the loop of the cluster, and wait for it."""
        ...
