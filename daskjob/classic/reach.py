"""Where a client reaches the scheduler: by its Service, or by forwarded ports."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from daskjob.core.errors import DaskJobError, Forbidden, Timeout
from daskjob.core.manifests import Manifest, ObjectRef, mapping, mappings
from daskjob.core.names import PORT_COMM, PORT_DASHBOARD, PORT_NAME_COMM, PORT_NAMES_DASHBOARD
from daskjob.kube.api import Api
from daskjob.kube.followed_pod import Backend
from daskjob.kube.host_names import addresses_of
from daskjob.kube.objects import watching
from daskjob.kube.port_forward import Notify, forwarding
from daskjob.kube.resources import selection_of
from daskjob.kube.services import host_of_balancer

#: How long a name may take to resolve, and a connection to open.
TRY_SECONDS = 2.0
PAUSE_SECONDS = 0.5
#: After this many refusals, a message says what is awaited.
REPORTED_AFTER = 20
_REFUSES = "refuses connections"


@dataclass(frozen=True, slots=True)
class Place:
    """Host and ports of a scheduler."""

    host: str
    port: int
    dashboard_port: int

    def address(self, protocol: str) -> str:
        """Return the address for clients."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{protocol}://{host}:{self.port}"


def in_pod() -> bool:
    """Return whether this process runs in a pod."""
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST"))


def port_of(service: Manifest, names: tuple[str, ...], number: int, field: str = "port") -> int:
    """Return a port of a Service, by its name or else by its number."""
    ports = mappings(mapping(service.get("spec")).get("ports"))
    for wanted in (*names, number):
        for port in ports:
            if wanted in (port.get("name"), port.get("port")) and port.get(field):
                return int(port[field])
    return number


def comm_port(service: Manifest, field: str = "port") -> int:
    """Return the port for clients and workers."""
    return port_of(service, (PORT_NAME_COMM,), PORT_COMM, field)


def dashboard_port(service: Manifest, field: str = "port") -> int:
    """Return the port of the dashboard."""
    return port_of(service, PORT_NAMES_DASHBOARD, PORT_DASHBOARD, field)


async def balancer(api: Api, ref: ObjectRef, seconds: float) -> Place:
    """Wait for the address of a LoadBalancer.

    Raises
    ------
    Timeout
        It got none in time.
    """
    try:
        async with asyncio.timeout(seconds or None), watching(api, selection_of(ref)) as changes:
            async for change in changes:
                service = change.manifest or {}
                host = host_of_balancer(service)
                if host:
                    return Place(host, comm_port(service), dashboard_port(service))
    except TimeoutError as error:
        raise Timeout(
            f"Service {ref.name} got no address of a load balancer within {seconds:g} s: check "
            "that this cluster provides some (kubectl describe service), or raise "
            "scheduler_service_wait_timeout"
        ) from error
    raise AssertionError("a watch never ends")


def node_port(service: Manifest, pod: Manifest) -> Place:
    """Return the port on the scheduler's own node, whose address its pod has.

    So no right to list nodes is needed.
    """
    host = str(mapping(pod.get("status")).get("hostIP") or "")
    return Place(host, comm_port(service, "nodePort"), dashboard_port(service, "nodePort"))


async def direct(host: str, port: int) -> str:
    """Return why a connection fails; empty if it succeeds."""
    try:
        async with asyncio.timeout(TRY_SECONDS):
            address, *_ = await addresses_of(host, port)
            _, writer = await asyncio.open_connection(address, port)
    except TimeoutError:
        return f"{host}:{port} does not answer within {TRY_SECONDS:g} s"
    except ConnectionRefusedError:
        return f"{host}:{port} {_REFUSES}"
    except OSError as error:
        return f"{host}:{port}: {error.strerror or error}"
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return ""


async def once_it_listens(place: Place, tries: int, notify: Notify) -> str:
    """Connect to a scheduler that may not listen yet; return why that failed, or nothing.

    Its container runs before it listens: Dask is imported, and packages may be installed. And
    kube-proxy may not know the Service yet. So a refusal is retried until the start's own limit.
    """
    failures = refusals = 0
    while reason := await direct(place.host, place.port):
        if reason.endswith(_REFUSES):
            refusals += 1
            if refusals == REPORTED_AFTER:
                notify(f"the scheduler's container runs, and does not listen yet: {reason}")
        else:
            failures += 1
            if failures == tries:
                return reason
        await asyncio.sleep(PAUSE_SECONDS)
    return ""


async def forwarded(
    stack: AsyncExitStack, api: Api, backend: Callable[[int], Backend], notify: Notify
) -> Place:
    """Forward local ports to the scheduler and its dashboard until the stack is closed.

    Raises
    ------
    Forbidden
        Forwarding needs a right that the classic Role lacks; with the rule that grants it.
    """
    comm = await stack.enter_async_context(
        forwarding(api, backend(PORT_COMM), preferred_port=PORT_COMM, notify=notify)
    )
    dashboard = await stack.enter_async_context(
        forwarding(api, backend(PORT_DASHBOARD), preferred_port=PORT_DASHBOARD)
    )
    try:
        await comm.ready()
    except Forbidden as error:
        raise Forbidden(
            f"the scheduler is reached from here by a port-forward, which is forbidden: {error}; "
            "or run this program in a pod of the cluster, or set scheduler_service_type"
        ) from error
    return Place(comm.host, comm.port, dashboard.port)


class SchedulerUnreachable(DaskJobError, ConnectionError):
    """The scheduler runs, and this process cannot connect to it."""
