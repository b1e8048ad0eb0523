"""The classic ``KubeCluster``: a Dask cluster of pods alone, without an operator."""

from __future__ import annotations

import asyncio
import inspect
import logging
import warnings
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed.core import Status
from distributed.deploy.cluster import Cluster as DaskCluster
from distributed.deploy.spec import SpecCluster
from distributed.scheduler import Scheduler as LocalScheduler
from distributed.security import Security
from distributed.utils import Log, Logs
from tornado.ioloop import PeriodicCallback

from daskjob.classic import first_generation, lease, pods
from daskjob.classic.adaptivity import Adaptivity, check_adapt
from daskjob.classic.auth import ClusterAuth
from daskjob.classic.builders import check_affinity
from daskjob.classic.leftovers import delete_leftovers
from daskjob.classic.links import dashboard_link
from daskjob.classic.models import V1Object, manifest_of, object_of
from daskjob.classic.naming import cluster_name
from daskjob.classic.options import check_arguments, options, whole
from daskjob.classic.own_pod import own_pod
from daskjob.classic.processes import Scheduler, Worker, pod_log
from daskjob.classic.site import Site
from daskjob.classic.templates import pod_template as template_of
from daskjob.classic.templates import read_template
from daskjob.classic.widget import with_bounds
from daskjob.core import names
from daskjob.core.errors import ClusterClosed, DaskJobError, NotFound, WrongArgument, WrongType
from daskjob.core.manifests import Manifest, object_ref
from daskjob.core.shown import shown
from daskjob.kube.api import Api
from daskjob.kube.objects import list_objects
from daskjob.kube.resources import PODS, Selection

if TYPE_CHECKING:
    Base = Any
else:
    Base = SpecCluster

logger = logging.getLogger("daskjob")

#: How long closing waits for a scheduler that does not answer.
CLOSE_SECONDS = 10.0


class KubeCluster(Base):  # type: ignore[misc]
    """A Dask cluster of pods, made and scaled by this process.

    It needs neither CRDs nor an operator: only the right to create, list, watch and delete pods,
    Services and PodDisruptionBudgets. The scheduler runs in a pod, or in this process
    (``deploy_mode="local"``). All ends with ``close``, and if this process is gone for
    ``kubernetes.lease-duration`` seconds.

    Parameters
    ----------
    pod_template
        The pod of a worker: the result of ``make_pod_spec``, a V1Pod, a dictionary, or the path
        of a YAML file, in which ``${VAR}`` expands. By default ``kubernetes.worker-template``,
        else the file that ``kubernetes.worker-template-path`` names.
    name
        The name; ``{user}``, ``{uuid}`` and environment variables expand.
    namespace
        Where to run; by default the namespace of the credentials.
    n_workers
        The number of workers at first.
    host, port, interface, protocol, dashboard_address
        Where a scheduler in this process listens.
    env
        Environment variables of scheduler and workers.
    auth
        How to authenticate; by default ``[InCluster(), KubeConfig()]``.
    idle_timeout
        The scheduler ends after this time without work.
    deploy_mode
        ``"remote"``, or ``"local"``: the scheduler runs in this process, and workers connect to it.
    security
        TLS of the connections.
    scheduler_service_wait_timeout
        Seconds that a load balancer may take to get an address; 0: without end.
    scheduler_service_name_resolution_retries
        How often to look for the scheduler's Service, from a pod.
    scheduler_pod_template
        The pod of the scheduler; by default that of a worker.
    apply_default_affinity
        Whether nodes with the label ``k8s.dask.org/node-purpose`` are ``"preferred"``,
        ``"required"``, or ``"none"`` of these.
    **kwargs
        ``quiet``: print nothing; and those of ``SpecCluster``: ``asynchronous``, ``loop``,
        ``silence_logs``, ``shutdown_on_close``, …

    Examples
    --------
    >>> from daskjob.classic import KubeCluster, make_pod_spec
    >>> pod_spec = make_pod_spec(image="ghcr.io/dask/dask:latest", memory_limit="4G", cpu_limit=1)
    >>> cluster = KubeCluster(pod_spec)
    >>> cluster.scale(10)
    """

    status: Any

    def __init__(
        self,
        pod_template: Any = None,
        name: str | None = None,
        namespace: str | None = None,
        n_workers: int | None = None,
        host: str | None = None,
        port: int | None = None,
        env: Mapping[str, Any] | None = None,
        auth: ClusterAuth | Sequence[ClusterAuth] | None = None,
        idle_timeout: str | float | None = None,
        deploy_mode: str | None = None,
        interface: str | None = None,
        protocol: str | None = None,
        dashboard_address: str | None = None,
        security: Security | None = None,
        scheduler_service_wait_timeout: float | None = None,
        scheduler_service_name_resolution_retries: int | None = None,
        scheduler_pod_template: Any = None,
        apply_default_affinity: str = "preferred",
        **kwargs: Any,
    ) -> None:
        check_arguments(kwargs, _known_arguments())
        check_affinity(apply_default_affinity)
        if security is not None and not isinstance(security, Security):
            raise WrongType(f"security must be a distributed.Security; found {security!r}")
        self._options = options(
            name=name,
            namespace=namespace,
            n_workers=n_workers,
            env=env,
            host=host,
            port=port,
            idle_timeout=idle_timeout,
            deploy_mode=deploy_mode,
            interface=interface,
            protocol=protocol,
            dashboard_address=dashboard_address,
            scheduler_service_wait_timeout=scheduler_service_wait_timeout,
            scheduler_service_name_resolution_retries=scheduler_service_name_resolution_retries,
            service_template=pods.SERVICE,
            budget_template=pods.DISRUPTION_BUDGET,
        )
        workers = template_of(pod_template, "worker")
        if workers is None:
            raise WrongArgument(
                "Worker pod specification not provided: pass pod_template, or set "
                "kubernetes.worker-template or kubernetes.worker-template-path"
            )
        self._own_scheduler = template_of(scheduler_pod_template, "scheduler")
        self.pod_template = workers
        self.scheduler_pod_template = self._own_scheduler or workers
        self.apply_default_affinity = apply_default_affinity
        self.namespace = self._options.namespace
        self.auth = auth
        self.env, self.host, self.port = self._options.env, self._options.host, self._options.port
        self._is_quiet = bool(kwargs.pop("quiet", False))
        self.kwargs = kwargs
        self.site: Site | None = None
        self._stack: AsyncExitStack | None = None
        self._starting: asyncio.Task[Any] | None = None
        self._undoing = False
        try:
            super().__init__(
                name=cluster_name(self._options.name), security=security, **self.kwargs
            )
        except BaseException:
            self._abandon()
            raise

    # Start and end

    async def _start(self) -> None:
        if self.status != Status.created:
            await super()._start()
            return
        self._starting = asyncio.current_task()
        try:
            await self._prepare()
            await super()._start()
        except BaseException as error:
            self._undoing = True
            await self._undo()
            # SpecCluster wraps every error.
            cause = error.__cause__
            if isinstance(error, RuntimeError) and isinstance(cause, DaskJobError):
                raise shown(cause) from None
            if isinstance(error, DaskJobError):
                raise shown(error) from None
            raise
        finally:
            self._starting = None

    async def _prepare(self) -> None:
        self._stack = AsyncExitStack()
        self.quiet = self._is_quiet
        found = await ClusterAuth.load_first(self.auth)
        api = await self._stack.enter_async_context(Api(found))
        self.namespace = self.namespace or await found.namespace()
        identity = pods.Identity(
            self.name, self.namespace, self._options.env, self.apply_default_affinity
        )
        self.site = Site(api, identity, self._options, self._report)
        await delete_leftovers(api, self.namespace)
        template = identity.template(self.pod_template, "worker")
        self.pod_template = object_of("Pod", template)
        self.new_spec = {"cls": Worker, "options": {"site": self.site, "template": template}}
        self.worker_spec = dict.fromkeys(range(self._options.n_workers), self.new_spec)
        if self._options.deploy_mode == "local":
            self.site.owners = await own_pod(api, self.namespace)
            self.scheduler_spec = self._local_scheduler()
        else:
            self.scheduler_spec = self._remote_scheduler(identity)

    def _local_scheduler(self) -> Manifest:
        given = self._options
        chosen = {
            "protocol": given.protocol,
            "interface": given.interface,
            "host": given.host,
            "port": given.port,
            "dashboard_address": given.dashboard_address,
            "security": self.security,
        }
        return {"cls": LocalScheduler, "options": chosen}

    def _remote_scheduler(self, identity: pods.Identity) -> Manifest:
        assert self.site is not None
        template: Manifest = manifest_of(self.scheduler_pod_template)
        pods.scheduler_args(
            template["spec"]["containers"][0],
            self._options.idle_timeout,
            own_template=self._own_scheduler is not None,
        )
        filled = identity.template(object_of("Pod", template), "scheduler")
        self.scheduler_pod_template = object_of("Pod", filled)
        protocol = "tls" if self.security.require_encryption else "tcp"
        seconds = self._options.lease_seconds if self.shutdown_on_close else 0
        if seconds > 0:
            every = seconds / lease.RENEWALS * 1000
            self.periodic_callbacks["lease"] = PeriodicCallback(self._renew, every)
        else:
            self.site.options = replace(self._options, lease_seconds=0)
        return {
            "cls": Scheduler,
            "options": {"site": self.site, "template": filled, "protocol": protocol},
        }

    async def _renew(self) -> None:
        if self.status == Status.running:
            await lease.renew(self.scheduler_comm)

    def _report(self, message: str) -> None:
        self._log(message)
        logger.info("%s: %s", self.name, message)

    async def _close(self) -> None:
        if self.scheduler_comm is None and self.scheduler is not None:
            # Its start failed.
            await self._close_alone()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await super()._close()
        except Exception as error:
            # The scheduler does not answer any more: end everything without it.
            logger.debug("%s: closing without its scheduler: %r", self.name, error)
            await self._close_alone()
        await self._leave()

    async def _close_alone(self) -> None:
        processes = [*self.workers.values(), *filter(None, [self.scheduler])]
        await asyncio.gather(*(one.close() for one in processes), return_exceptions=True)
        # A periodic callback or a comm may be gone already.
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_SECONDS):
                await DaskCluster._close(self)
        self.status = Status.closed

    async def _undo(self) -> None:
        """Remove what a start that failed has made."""
        if self.status != Status.closed:
            await self._close_alone()
        await self._leave()
        self.status = Status.closed

    async def _leave(self) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.aclose()

    def _abandon(self) -> None:
        """End what runs after the constructor failed, or was interrupted."""
        runner = getattr(self, "_loop_runner", None)
        if runner is None or self.asynchronous:
            self._quietly_closed()
            return
        if self._starting is not None or self.status not in (Status.created, Status.closed):
            with suppress(Exception):
                super().sync(self._abort, callback_timeout=30)
        with suppress(Exception):
            runner.stop()
        self._quietly_closed()

    async def _abort(self) -> None:
        if self._starting is not None:
            # Ctrl-C has cancelled it already, in general.
            if not self._undoing:
                self._starting.cancel()
            await asyncio.wait({self._starting})
        elif self.status != Status.closed:
            await self._close()

    def _quietly_closed(self) -> None:
        # What runs at exit closes only clusters that are not closed.
        self.status = Status.closed

    def sync(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a coroutine function in the loop of the cluster, and wait for it unless asynchronous.

        Raises
        ------
        ClusterClosed
            The cluster is closed.
        """
        self._check_open()
        try:
            return super().sync(func, *args, **kwargs)
        except DaskJobError as error:
            raise shown(error) from None

    def _check_open(self) -> None:
        if self.status == Status.closed:
            raise ClusterClosed(f"cluster {self.name} is closed; create a new KubeCluster")

    # Workers

    def scale(
        self, n: int = 0, memory: str | None = None, cores: int | None = None
    ) -> Awaitable[None] | None:
        """Set the number of workers, or have at least this much memory, or this many cores.

        ``kubernetes.count.max`` limits it.
        """
        self._check_open()
        n = whole("n", n)
        maximum = self._options.maximum
        if maximum is not None and n > maximum:
            logger.warning("%s is limited to %d workers (kubernetes.count.max)", self.name, maximum)
            n = maximum
        found: Awaitable[None] | None = super().scale(n, memory, cores)
        return found

    async def _correct_state_internal(self) -> None:
        # Dask runs it by a callback of its loop, which would log a traceback.
        try:
            await super()._correct_state_internal()
        except OSError as error:
            logger.log(
                logging.DEBUG if self.status == Status.closing else logging.WARNING,
                "no worker of %s was removed, since its scheduler does not answer: %s",
                self.name,
                error,
            )

    def adapt(self, *args: Any, **kwargs: Any) -> Any:
        """Scale the cluster by its load, between ``minimum`` and ``maximum`` workers."""
        self._check_open()
        if args and not isinstance(args[0], type):
            raise WrongType("adapt has no positional bounds: write minimum= and maximum=")
        if not args:
            kwargs.setdefault("Adaptive", Adaptivity)
        check_adapt(kwargs)
        return super().adapt(*args, **kwargs)

    def scale_up(
        self, n: int = 0, memory: str | None = None, cores: int | None = None, pods: Any = None
    ) -> Awaitable[None] | None:
        """Make sure that there are at least this many workers in total; never remove one."""
        if pods is not None:
            warnings.warn("pods= of scale_up is not needed any more", FutureWarning, stacklevel=2)
        wanted = first_generation.total(n, len(self.worker_spec), self._options.maximum)
        return self.scale(wanted, memory, cores)

    def scale_down(self, workers: Iterable[Any], pods: Any = None) -> Any:
        """Remove these workers, by name or by address, after the scheduler has moved their data."""
        if pods is not None:
            warnings.warn("pods= of scale_down is not needed any more", FutureWarning, stacklevel=2)
        known = self.scheduler_info["workers"]
        chosen = first_generation.workers_at(workers, known)
        return self.sync(super().scale_down, chosen)

    def _memory_per_worker(self) -> int:
        from daskjob.core.spec.pod import PodTemplate
        from daskjob.core.worker_command import memory_limit_bytes

        found = memory_limit_bytes(PodTemplate(spec=manifest_of(self.pod_template.spec)))
        if not found:
            raise WrongArgument(
                "to scale by memory=, the pod template needs a memory limit or --memory-limit"
            )
        return found

    def _threads_per_worker(self) -> int:
        from daskjob.core.spec.pod import PodTemplate
        from daskjob.core.worker_command import threads

        return threads(PodTemplate(spec=manifest_of(self.pod_template.spec)))

    # What is seen

    def __repr__(self) -> str:
        if self.status == Status.closed:
            return f"{type(self).__name__}({self.name}, closed)"
        return str(super().__repr__())

    def _widget(self) -> Any:
        return with_bounds(super()._widget(), len(self.worker_spec))

    @property
    def _cluster_class_name(self) -> str:
        return type(self).__name__

    @property
    def dashboard_link(self) -> str:
        """The URL of the dashboard; empty before the start."""
        place = getattr(self.scheduler, "place", None)
        if place is not None:
            return dashboard_link(place.host, place.dashboard_port)
        served = getattr(self.scheduler, "services", {}).get("dashboard")
        return dashboard_link("127.0.0.1", served.port) if served else ""

    @property
    def forwarded_dashboard_port(self) -> str:
        """The port of the dashboard, as this process reaches it; empty before the start."""
        place = getattr(self.scheduler, "place", None)
        served = getattr(self.scheduler, "services", {}).get("dashboard")
        return str(place.dashboard_port) if place else str(served.port) if served else ""

    def pods(self) -> Any:
        """Return the pods of the workers as they are now."""
        return self.sync(self._pods)

    async def _pods(self, component: str = "worker") -> list[V1Object]:
        if self.site is None:
            return []
        labels = f"{names.LABEL_CLUSTER_NAME}={self.name},{names.LABEL_COMPONENT}={component}"
        found = await list_objects(
            self.site.api, Selection(PODS, self.site.identity.namespace, labels=labels)
        )
        return [object_of("Pod", item) for item in found.items]

    def logs(self, pod: Any = None) -> Any:
        """Return the log of a pod; without one, a dictionary of those of all workers."""
        return self.sync(self._log_of if pod is not None else self._worker_logs, pod)

    async def _log_of(self, pod: Any) -> Log:
        assert self.site is not None
        if isinstance(pod, str):
            pod = await self._pod_named(pod)
        elif not hasattr(pod, "metadata"):
            raise WrongType(f"pod is {pod!r}; write the name of a pod, or one of pods()")
        ref = object_ref({**manifest_of(pod), "kind": "Pod", "apiVersion": "v1"})
        containers = pod.spec.containers if pod.spec else []
        container = containers[0].name if containers else ""
        return Log(await pod_log(self.site.api, ref, container))

    async def _pod_named(self, name: str) -> V1Object:
        found = {one.metadata.name: one for one in await self._pods()}
        if name not in found:
            raise _no_worker(self.name, name, found)
        return found[name]

    async def _worker_logs(self, _: Any = None) -> Logs:
        found = await self._pods()
        texts = await asyncio.gather(*map(self._log_of, found))
        return Logs({pod.metadata.name: text for pod, text in zip(found, texts, strict=True)})

    async def _get_logs(
        self, cluster: bool = True, scheduler: bool = True, workers: bool | Iterable[Any] = True
    ) -> Logs:
        """Return the logs of pods, which have all output; of workers also by address or name."""
        logs = Logs()
        if cluster:
            logs["Cluster"] = Log("\n".join(line for _, line in self._cluster_manager_logs))
        if scheduler and isinstance(self.scheduler, Scheduler):
            logs["Scheduler"] = await self.scheduler.logs()
        elif scheduler:
            lines = await self.scheduler_comm.get_logs()
            logs["Scheduler"] = Log("\n".join(line for _, line in lines))
        chosen = self._chosen(workers)
        texts = await asyncio.gather(*(self.workers[name].logs() for name in chosen))
        logs.update(zip(map(str, chosen.values()), texts, strict=True))
        return logs

    def _chosen(self, workers: bool | Iterable[Any]) -> dict[Any, Any]:
        """Return the names of workers, each with the key of its log: as it was asked for."""
        if workers is True:
            return {name: worker.pod_name for name, worker in self.workers.items()}
        wanted = list(workers) if workers else []
        found = first_generation.workers_at(wanted, self.scheduler_info["workers"])
        pods = {worker.pod_name: name for name, worker in self.workers.items()}
        chosen = {}
        for name, key in zip(found, wanted, strict=True):
            name = pods.get(name, name)
            if name not in self.workers:
                raise _no_worker(self.name, key, pods)
            chosen[name] = key
        return chosen

    # Other ways to make one

    @classmethod
    def from_dict(cls, pod_spec: Mapping[str, Any], **kwargs: Any) -> KubeCluster:
        """Make a cluster with the pod of a dictionary; the same as the constructor."""
        return cls(read_template(pod_spec), **kwargs)

    @classmethod
    def from_yaml(cls, yaml_path: str | Path, **kwargs: Any) -> KubeCluster:
        """Make a cluster with the pod in a YAML file; the same as the constructor."""
        return cls(read_template(yaml_path), **kwargs)


def _no_worker(cluster: str, worker: object, pods: Iterable[str]) -> NotFound:
    existing = ", ".join(sorted(pods)) or "none"
    return NotFound(f"cluster {cluster} has no worker {worker!r}; existing ones: {existing}")


def _known_arguments() -> set[str]:
    """Return the arguments of the class, and those that it passes on."""
    classes = (KubeCluster, SpecCluster)
    return {"quiet"}.union(*(inspect.signature(one.__init__).parameters for one in classes))
