"""Scheduler and workers of a classic cluster, as SpecCluster starts and ends them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from distributed.deploy.spec import ProcessInterface
from distributed.utils import Log

from daskjob.classic import pods, reach
from daskjob.classic.lease import lease_variables
from daskjob.classic.models import V1Object, object_of
from daskjob.classic.site import Site
from daskjob.classic.start import PodStart, started
from daskjob.core import names
from daskjob.core.errors import CreateRejected, DaskJobError, NotFound, RejectionKind
from daskjob.core.manifests import Manifest, ObjectRef, mapping, object_ref
from daskjob.core.names import ANNOTATION_LEASE_DURATION
from daskjob.kube.api import Api
from daskjob.kube.credentials import ServiceAccount
from daskjob.kube.errors import BadRequest
from daskjob.kube.followed_pod import Backend
from daskjob.kube.objects import get_object
from daskjob.kube.requests import Request

if TYPE_CHECKING:
    Process = Any
else:
    Process = ProcessInterface

logger = logging.getLogger("daskjob")

#: The wait before a pod that a quota rejected is tried again.
QUOTA_SECONDS = 5.0
_PASSING = (RejectionKind.QUOTA, RejectionKind.UNREACHED)


class Pod(Process):  # type: ignore[misc]
    """A pod of a classic cluster."""

    def __init__(self, site: Site, manifest: Manifest) -> None:
        super().__init__()
        self._site = site
        self._manifest = manifest
        #: The pod as it was created; ``None`` before.
        self._pod: Manifest | None = None
        #: Whether it was requested: the answer may never have arrived.
        self._requested = False
        self.namespace = site.identity.namespace
        self.cluster_name = site.identity.name

    @property
    def pod_template(self) -> V1Object:
        """The pod as it is requested."""
        return object_of("Pod", self._manifest)

    @property
    def pod_name(self) -> str:
        """The name of the pod."""
        return str(self._manifest["metadata"]["name"])

    @property
    def ref(self) -> ObjectRef | None:
        """The pod; ``None``: it was not created."""
        return object_ref(self._pod) if self._pod else None

    async def start(self) -> None:
        """Create the pod."""
        self._requested = True
        self._pod = {**await self._site.create(self._manifest), "kind": "Pod", "apiVersion": "v1"}
        await super().start()

    async def close(self, **_: Any) -> None:
        """Delete the pod."""
        if self._requested:
            await self._site.delete(self.ref or ObjectRef("Pod", self.namespace, self.pod_name))
        await super().close()

    async def logs(self) -> Log:
        """Return the log of the first container; empty before it has one."""
        return Log(await pod_log(self._site.api, self.ref, self._container))

    async def describe_pod(self) -> V1Object:
        """Return the pod as it is now."""
        if self.ref is None:
            raise NotFound(f"pod {self.pod_name} was not created")
        return object_of("Pod", await get_object(self._site.api, self.ref))

    @property
    def _container(self) -> str:
        return str(self._manifest["spec"]["containers"][0]["name"])

    def __repr__(self) -> str:
        return f"<Pod {type(self).__name__}: status={self.status.name}>"


async def pod_log(api: Api, ref: ObjectRef | None, container: str) -> str:
    """Return the log of a container; empty if it has none."""
    if ref is None:
        return ""
    request = Request.about("get", ref, subresource="log")
    try:
        answer = await api.send(replace(request, query={"container": container}))
    except (BadRequest, NotFound):
        return ""
    return answer.decode(errors="replace")


class Worker(Pod):
    """A worker, in a pod of its own."""

    def __init__(
        self, scheduler: str, *, name: object = None, site: Site, template: Manifest
    ) -> None:
        self.scheduler = scheduler
        self.name = name
        self._retry: asyncio.Task[None] | None = None
        super().__init__(site, pods.worker_pod(template, scheduler, name))

    async def start(self) -> None:
        """Create the pod; one that a quota rejects is created once there is room."""
        try:
            await super().start()
        except CreateRejected as error:
            if error.kind not in _PASSING:
                raise
            self._site.notify(f"worker {self.name}: {error}; it is tried again")
            self._retry = asyncio.create_task(self._later())
            await Process.start(self)

    async def _later(self) -> None:
        while self._pod is None:
            await asyncio.sleep(QUOTA_SECONDS)
            try:
                await super().start()
            except CreateRejected as error:
                logger.debug("%s", error)
            except DaskJobError as error:
                self._site.notify(f"worker {self.name}: {error}")
                return

    async def close(self, **more: Any) -> None:
        """Delete the pod, or give its creation up."""
        if self._retry is not None:
            self._retry.cancel()
            with suppress(asyncio.CancelledError):
                await self._retry
        await super().close(**more)


class Scheduler(Pod):
    """The scheduler in a pod, with its Service and its PodDisruptionBudget."""

    def __init__(self, site: Site, *, template: Manifest, protocol: str) -> None:
        self._protocol = protocol
        self._made: list[ObjectRef] = []
        self._stack = AsyncExitStack()
        self.service: V1Object | None = None
        self.pdb: V1Object | None = None
        #: Where this process reaches the scheduler.
        self.place: reach.Place | None = None
        super().__init__(site, _with_lease(template, site.options.lease_seconds))
        self.name = self.cluster_name

    async def start(self) -> None:
        """Create the objects, and wait until the scheduler answers.

        Raises
        ------
        DaskJobError
            It does not start, or cannot be reached; with the reason.
        """
        site = self._site
        await site.check_name()
        site.notify(f"creating scheduler pod {self.pod_name}")
        await super().start()
        assert self.ref is not None
        site.owners = [self.ref]
        service = await self._create_others()
        follow = PodStart(site.api, self.ref, site.notify)
        port = reach.comm_port(service)
        self.address = f"{self._protocol}://{site.identity.name}.{self.namespace}:{port}"

        async def reached() -> None:
            self.place = await self._reach(service, follow)

        await started(follow, reached, site.options.start_seconds)
        assert self.place is not None
        self.external_address = self.place.address(self._protocol)

    async def _create_others(self) -> Manifest:
        site, template = self._site, self._manifest
        service = await self._create(
            pods.service(
                site.options.service_template, site.identity, site.options.service_type, template
            )
        )
        self.service = object_of("Service", service)
        budget = pods.disruption_budget(site.options.budget_template, site.identity, template)
        self.pdb = object_of("PodDisruptionBudget", await self._create(budget))
        return service

    async def _create(self, manifest: Manifest) -> Manifest:
        made = {**await self._site.create(manifest), "kind": manifest["kind"]}
        made["apiVersion"] = manifest["apiVersion"]
        self._made.append(object_ref(made))
        return made

    async def _reach(self, service: Manifest, follow: PodStart) -> reach.Place:
        site, kind = self._site, mapping(service.get("spec")).get("type")
        if kind == "LoadBalancer":
            seconds = site.options.service_wait_seconds
            found = await reach.balancer(site.api, object_ref(service), seconds)
            return await self._certain(found)
        if kind == "NodePort":
            return await self._certain(reach.node_port(service, follow.pod))
        host = f"{site.identity.name}.{self.namespace}"
        found = reach.Place(host, reach.comm_port(service), reach.dashboard_port(service))
        if isinstance(site.api.credentials, ServiceAccount):
            # In a pod of this cluster. A forward would need a right that is not needed otherwise.
            return await self._certain(found)
        if reach.in_pod() and not await reach.direct(found.host, found.port):
            return found
        return await reach.forwarded(self._stack, site.api, self._backend, site.notify)

    async def _certain(self, place: reach.Place) -> reach.Place:
        """Return a place once it answers."""
        site = self._site
        reason = await reach.once_it_listens(place, site.options.name_tries, site.notify)
        if reason:
            raise reach.SchedulerUnreachable(
                f"the scheduler of {self.cluster_name} runs and cannot be reached: {reason}; check "
                f"Service {self.cluster_name}, network policies and DNS"
            )
        return place

    def _backend(self, port: int) -> Backend:
        labels = f"{names.LABEL_CLUSTER_NAME}={self.cluster_name},{names.LABEL_COMPONENT}=scheduler"
        return Backend(self.namespace, labels, port, f"the scheduler of {self.cluster_name}")

    async def close(self, **more: Any) -> None:
        """Delete Service, PodDisruptionBudget and pod, and end the forwards."""
        await self._stack.aclose()
        made, self._made = self._made, []
        await asyncio.gather(*(self._site.delete(ref) for ref in made))
        await super().close(**more)


def _with_lease(template: Manifest, seconds: float) -> Manifest:
    container = template["spec"]["containers"][0]
    pod = pods.scheduler_pod(template, lease_variables(container, seconds))
    if seconds > 0:
        meta = pod["metadata"]
        meta["annotations"] = {
            **mapping(meta.get("annotations")),
            ANNOTATION_LEASE_DURATION: f"{seconds:g}",
        }
    return pod
