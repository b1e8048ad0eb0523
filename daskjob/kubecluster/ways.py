"""The ways to the scheduler of a cluster: directly, by its Service's type, or by a forward."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial

from daskjob.core import names
from daskjob.core.errors import DaskJobError, Forbidden, Timeout
from daskjob.core.manifests import Manifest, ObjectRef, integer, mapping, mappings
from daskjob.kube.api import Api
from daskjob.kube.objects import list_objects, watching
from daskjob.kube.port_forward import PortTaken
from daskjob.kube.resources import PODS, SERVICES, Resource, Selection, selection_of
from daskjob.kube.services import host_of_balancer
from daskjob.kubecluster.errors import LocalPortTaken, NoConnection
from daskjob.kubecluster.reach import PATIENCE, Patience, Search, answers
from daskjob.submit.clusters.cluster import Cluster
from daskjob.submit.clusters.forwards import forwards

#: How long the scheduler's own node, or the load balancer, is tried before anything else is done.
FIRST_SECONDS = 0.3
#: A Service that stays silent that long is not reachable from here.
SERVICE_SECONDS = 1.5
BALANCER_SECONDS = 1.5
#: Is set in every container of a pod.
IN_CLUSTER = "KUBERNETES_SERVICE_HOST"
NODES = Resource("Node", "v1", "nodes")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Way:
    """The addresses of a cluster, as seen from here."""

    scheduler_address: str
    dashboard_host: str
    dashboard_port: int
    dashboard_path: str


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a user wants of the connection."""

    #: True: always forward. False: directly if possible. ``None``: so only in a Kubernetes.
    forward: bool | None = None
    dashboard_port: int = 0
    comm_port: int = 0
    timeout: float = 60.0


async def connect(
    api: Api, cluster: Cluster, wishes: Wishes, stack: AsyncExitStack, say: Say
) -> Way:
    """Return how to reach a cluster; forwards stay open until the stack is closed.

    Raises
    ------
    NoConnection
        It cannot be reached; with the reason.
    LocalPortTaken
        A local port is in use.
    """
    kind = service_type(cluster.manifest)
    forward = partial(_forwarded, api, cluster, wishes, stack, say)
    if wishes.forward is True:
        return await forward()
    if kind == "LoadBalancer":
        return await _balanced(api, cluster, wishes)
    if kind == "NodePort":
        return await _direct_or_forwarded(partial(_on_nodes, api, cluster), forward, wishes, say)
    if wishes.forward is False or is_in_cluster():
        return await _direct_or_forwarded(partial(_direct, cluster), forward, wishes, say)
    return await forward()


async def _direct_or_forwarded(
    find: Callable[[Patience], Awaitable[Way | str]],
    forward: Callable[[], Awaitable[Way]],
    wishes: Wishes,
    say: Say,
) -> Way:
    found = await find(PATIENCE)
    if isinstance(found, Way):
        return found
    say(f"{found}; ports are forwarded instead")
    try:
        return await forward()
    except NoConnection as error:
        raise _no_way(found, error) from error
    except Forbidden as error:
        # There is no other way, so a Service that still refuses gets all the time.
        found = await find(Patience(refused=wishes.timeout))
        if isinstance(found, Way):
            return found
        raise _no_way(found, error) from error


def _no_way(direct: str, error: DaskJobError) -> NoConnection:
    return NoConnection(f"{direct}; and forwarding ports instead failed: {error}")


def service_type(manifest: Manifest) -> str:
    """Return the type of the scheduler's Service."""
    scheduler = mapping(mapping(manifest.get("spec")).get("scheduler"))
    return str(mapping(scheduler.get("service")).get("type") or "ClusterIP")


def is_in_cluster(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether this process runs in a pod."""
    return bool(environment.get(IN_CLUSTER))


async def _direct(cluster: Cluster, patience: Patience) -> Way | str:
    """Return the way through the Service, or why there is none."""
    host = f"{names.scheduler_service_name(cluster.name)}.{cluster.ref.namespace}.svc"
    comm, dashboard = ports(cluster)
    limited = replace(patience, silent=min(patience.silent, SERVICE_SECONDS))
    async with Search(comm, limited) as search:
        search.add([host])
        if await search.found():
            return _way(cluster, host, comm, dashboard)
        return f"port {comm} of the scheduler's Service is not reachable ({search.failure()})"


def _way(cluster: Cluster, host: str, comm: int, dashboard: int) -> Way:
    shown = f"[{host}]" if ":" in host else host
    address = f"{cluster.protocol}://{shown}:{comm}"
    return Way(address, shown, dashboard, cluster.dashboard_path)


async def _forwarded(
    api: Api, cluster: Cluster, wishes: Wishes, stack: AsyncExitStack, say: Say
) -> Way:
    try:
        async with AsyncExitStack() as opened:
            found = await opened.enter_async_context(
                forwards(
                    api,
                    cluster,
                    port=wishes.comm_port,
                    dashboard_port=wishes.dashboard_port,
                    notify=say,
                )
            )
            await found.ready(wishes.timeout)
            stack.push_async_exit(opened.pop_all())
    except PortTaken as error:
        raise LocalPortTaken(str(error)) from error
    except Timeout as error:
        raise NoConnection(str(error)) from error
    dashboard = found.dashboard
    return Way(found.scheduler_address, "localhost", dashboard.port, cluster.dashboard_path)


async def _balanced(api: Api, cluster: Cluster, wishes: Wishes) -> Way:
    """Return the way through a load balancer, as soon as it has an address and answers."""
    service, comm, dashboard = _service(cluster), *ports(cluster)
    host = ""
    try:
        async with asyncio.timeout(wishes.timeout):
            async with watching(api, selection_of(service)) as changes:
                async for change in changes:
                    if host := host_of_balancer(change.manifest or {}):
                        break
            while not await answers(host, comm, BALANCER_SECONDS):
                await asyncio.sleep(0.5)
    except TimeoutError:
        what = f"its load balancer {host} does not answer" if host else _without_ingress(service)
        raise NoConnection(
            f"the scheduler of {cluster.name} cannot be reached within {wishes.timeout:g} s: {what}"
        ) from None
    return _way(cluster, host, comm, dashboard)


def _without_ingress(service: ObjectRef) -> str:
    return (
        f"Service {service.name} of type LoadBalancer has no address; this Kubernetes may have no "
        "load balancers: use scheduler_service_type='ClusterIP'"
    )


async def _on_nodes(api: Api, cluster: Cluster, patience: Patience) -> Way | str:
    """Return the way through a port of the first node that answers, or why there is none.

    The scheduler's own node is preferred: no other node has to pass its connections on.
    """
    comm, dashboard = await _node_ports(api, cluster)
    if not comm:
        return f"Service {_service(cluster).name} has no port on the nodes"
    async with Search(comm, patience) as search:
        search.add(await _own_node(api, cluster))
        host, reason = await search.found(FIRST_SECONDS), ""
        if not host:
            others, reason = await _all_nodes(api, search.deadline)
            search.add(others)
            host = await search.found()
        if host:
            return _way(cluster, host, comm, dashboard)
        tried = search.failure() or "the address of none is known"
        return f"port {comm} of no node is reachable ({tried}{reason})"


async def _node_ports(api: Api, cluster: Cluster) -> tuple[int, int]:
    found = await list_objects(api, selection_of(_service(cluster)))
    by_port: dict[object, int] = {}
    for item in found.items:
        for port in mappings(mapping(item.get("spec")).get("ports")):
            by_port[port.get("port")] = int(port.get("nodePort") or 0)
    comm, dashboard = ports(cluster)
    return by_port.get(comm, 0), by_port.get(dashboard, 0)


async def _own_node(api: Api, cluster: Cluster) -> list[str]:
    """Return the address of the scheduler's node, which its pod has: any user may know it."""
    labels = (
        f"{names.LABEL_CLUSTER_NAME}={names.label_value(cluster.name)},"
        f"{names.LABEL_COMPONENT}={names.Component.SCHEDULER}"
    )
    try:
        pods = await list_objects(api, Selection(PODS, cluster.ref.namespace, labels))
    except DaskJobError:
        return []
    found = [str(mapping(pod.get("status")).get("hostIP") or "") for pod in pods.items]
    return list(filter(None, found))


async def _all_nodes(api: Api, deadline: float) -> tuple[list[str], str]:
    """Return the addresses of all nodes, and why they are unknown: that needs a ClusterRole."""
    found = []
    try:
        async with asyncio.timeout_at(deadline):
            nodes = await list_objects(api, Selection(NODES))
    except Forbidden as error:
        return [], f"; other nodes were not tried, since nodes may not be listed: {error}"
    except (DaskJobError, TimeoutError) as error:
        return [], f"; other nodes are unknown: {error or 'their list takes too long'}"
    for node in nodes.items:
        rows = mappings(mapping(node.get("status")).get("addresses"))
        by_type = {row.get("type"): str(row.get("address")) for row in rows}
        found += [by_type[key] for key in ("ExternalIP", "InternalIP") if key in by_type]
    return found, ""


def ports(cluster: Cluster) -> tuple[int, int]:
    """Return the numbers of the Service's ports: scheduler and dashboard."""
    scheduler = mapping(mapping(cluster.manifest.get("spec")).get("scheduler"))
    rows = mappings(mapping(scheduler.get("service")).get("ports"))
    by_name = {str(row.get("name")): integer(row.get("port")) for row in rows}
    comm = by_name.get(names.PORT_NAME_COMM) or names.PORT_COMM
    named = [by_name[name] for name in names.PORT_NAMES_DASHBOARD if by_name.get(name)]
    return comm, next(filter(None, named), names.PORT_DASHBOARD)


def _service(cluster: Cluster) -> ObjectRef:
    name = names.scheduler_service_name(cluster.name)
    return ObjectRef(SERVICES.kind, cluster.ref.namespace, name)
