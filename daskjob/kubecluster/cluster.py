"""``KubeCluster``: a Dask cluster on a Kubernetes, for interactive work."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import AsyncExitStack, suppress
from typing import Any

import dask.config
from dask.utils import parse_timedelta
from distributed.core import Status, rpc
from distributed.deploy import Cluster as DaskCluster
from distributed.objects import SchedulerInfo
from distributed.security import Security
from distributed.utils import Log, Logs, NoOpAwaitable
from tornado.ioloop import PeriodicCallback

from daskjob.core import names
from daskjob.core.errors import Conflict, DaskJobError, NotFound
from daskjob.core.manifests import Manifest, ObjectRef, mapping, mappings, metadata, object_ref
from daskjob.core.spec.group import MOST_WORKERS
from daskjob.core.status import SHUT_DOWN
from daskjob.kube.api import Api
from daskjob.kube.decoding import read_object
from daskjob.kube.errors import Replaced
from daskjob.kube.objects import list_objects
from daskjob.kube.resources import AUTOSCALERS, PODS, Selection
from daskjob.kubecluster import defaults, ending
from daskjob.kubecluster.adaptivity import Adaptivity
from daskjob.kubecluster.arguments import Arguments, check_passed_on, checked_count, resolved
from daskjob.kubecluster.calls import check_loop, closed_error, known_arguments
from daskjob.kubecluster.connections import Way, Wishes, connect
from daskjob.kubecluster.create_mode import CreateMode
from daskjob.kubecluster.errors import (
    ClusterExists,
    NoConnection,
    NoSuchCluster,
    OperatorNotInstalled,
    StillMissing,
    ValidationError,
    WrongType,
)
from daskjob.kubecluster.first_generation import (
    as_pods,
    at_least,
    cluster_of_template,
    read_pod,
    without_old_arguments,
    workers_at,
)
from daskjob.kubecluster.groups import (
    autoscalers_of,
    body_of_group,
    ref_of_group,
    worker_part,
)
from daskjob.kubecluster.known_workers import keep_known
from daskjob.kubecluster.lease import Lease, first_annotations, seconds_of
from daskjob.kubecluster.links import dashboard_link, jupyter_link
from daskjob.kubecluster.manifest import (
    autoscaler_manifest,
    cluster_manifest,
    group_manifest,
    warn_of_ignored_name,
)
from daskjob.kubecluster.panel import Panel
from daskjob.kubecluster.pod_logs import WantedLogs, logs_of
from daskjob.kubecluster.rows import rows_of
from daskjob.kubecluster.start import SchedulerWait, first_container
from daskjob.kubecluster.transport_security import (
    certificates,
    checked_security,
    is_secure,
    secret_manifest,
    secret_name,
    secure_pod,
    secured,
)
from daskjob.kubecluster.view import ClusterView, page_html, scaling_html, view_of
from daskjob.kubecluster.watch import ClusterWatch
from daskjob.kubecluster.widget import ClusterWidget, widget_of
from daskjob.submit.client.errors import NotInstalled
from daskjob.submit.client.owned import create_owned
from daskjob.submit.clusters.client import AsyncClusterClient
from daskjob.submit.clusters.cluster import ANNOTATION_CREATION, Cluster

defaults.register()

#: How long the parts of an end may take: of connections, and of the undoing of a start.
END_SECONDS = 10.0
#: Between tries to reach a scheduler that is being replaced, and how long one may take.
AGAIN_SECONDS = 1.0
SUBSCRIBE_SECONDS = 20.0


class KubeCluster(DaskCluster):  # type: ignore[misc]
    """A Dask cluster on a Kubernetes with the daskjob operator.

    ::

        from daskjob import KubeCluster
        from distributed import Client

        with KubeCluster(n_workers=3) as cluster, Client(cluster) as client:
            print(client.submit(sum, range(100)).result())

    It creates a DaskCluster, or connects to the existing one of this name. Every argument that is
    ``None`` takes its value from Dask's configuration (``kubernetes.*``). In asynchronous programs,
    use ``async with KubeCluster(asynchronous=True)``; there, all methods return awaitables.

    Parameters
    ----------
    name
        The name of the cluster; ``{user}``, ``{uuid}`` and variables of the environment are filled
        in. By default a new one.
    namespace
        Its namespace; by default that of the pod, or of the kubeconfig's context.
    image
        The image of scheduler and workers.
    n_workers
        The number of workers of the default group.
    resources
        ``requests`` and ``limits`` of the scheduler and of each worker.
    env
        Variables of scheduler and workers: a dictionary, or Kubernetes' list.
    worker_command
        The command of the workers; by default ``dask worker``.
    port_forward_cluster_ip
        True: always forward ports. False: connect directly if possible. By default, connect
        directly in a Kubernetes, and forward ports elsewhere.
    create_mode
        A ``CreateMode``, or its name.
    shutdown_on_close
        Whether to delete the cluster at the end; by default, if it was created here.
    idle_timeout
        After how many seconds without work the operator deletes the cluster; 0: never.
    resource_timeout
        For how many seconds nothing may move in the start.
    scheduler_service_type
        ``ClusterIP``, ``NodePort`` or ``LoadBalancer``.
    custom_cluster_spec
        A DaskCluster, or the path of a YAML file with one; arguments beside it change it.
    scheduler_forward_port, comm_forward_port
        The local ports of the dashboard, and of the scheduler; by default 8787 and 8786 if these
        are free, else any.
    jupyter
        Whether the scheduler also starts a Jupyter server.
    security
        A ``distributed.Security`` whose certificates client, scheduler and workers use; true makes
        new ones for this cluster. ``Client(cluster)`` uses them too.
    kubeconfig, context
        Where the Kubernetes is; by default as ``kubectl`` finds it.
    loop, asynchronous, quiet
        As of every Dask cluster; ``quiet`` shows nothing of the start.
    """

    status: Any
    quiet: bool

    def __init__(
        self,
        name: str | None = None,
        *,
        namespace: str | None = None,
        image: str | None = None,
        n_workers: int | None = None,
        resources: dict[str, Any] | None = None,
        env: Any = None,
        worker_command: Any = None,
        port_forward_cluster_ip: bool | None = None,
        create_mode: CreateMode | str | None = None,
        shutdown_on_close: bool | None = None,
        idle_timeout: Any = None,
        resource_timeout: Any = None,
        scheduler_service_type: str | None = None,
        custom_cluster_spec: Any = None,
        scheduler_forward_port: int | None = None,
        comm_forward_port: int | None = None,
        jupyter: bool | None = None,
        security: Security | bool | None = None,
        kubeconfig: str | None = None,
        context: str | None = None,
        loop: Any = None,
        asynchronous: bool = False,
        quiet: bool = False,
        **kwargs: Any,
    ) -> None:
        given = {key: value for key, value in locals().items() if key in known_arguments()}
        starts = kwargs.pop("_starts_at_once", True)
        check_passed_on(kwargs, list(known_arguments()))
        check_loop(asynchronous=asynchronous, loop=loop)
        self._arguments: Arguments = resolved(given)
        warn_of_ignored_name(self._arguments, name)
        self.security = checked_security(security)
        self.process = os.getpid()
        self._clients = AsyncClusterClient(
            self._arguments.namespace or "",
            kubeconfig=kubeconfig,
            context=context,
            notify=self._notice,
        )
        self._take_arguments()
        self._creation = secrets.token_hex(8)
        self._may_have_created = False
        self._makes_secret = False
        self._api: Api | None = None
        self._ref: ObjectRef | None = None
        self._watch: ClusterWatch | None = None
        self._lease: Lease | None = None
        self._way: Way | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._starting: asyncio.Task[None] | None = None
        self._adaptivities: dict[str, Adaptivity] = {}
        self._panel: Panel | None = None
        self._shown: ClusterWidget | None = None
        #: Changes of the workers come into effect in the order of their calls.
        self._turns = asyncio.Lock()
        super().__init__(
            asynchronous=asynchronous,
            loop=loop,
            quiet=quiet,
            name=self._arguments.name,
            **kwargs,
        )
        self._is_asynchronous = asynchronous
        self._has_loop = asynchronous
        if starts and not asynchronous:
            self._start_blocking()

    def _take_arguments(self) -> None:
        arguments = self._arguments
        self.namespace = arguments.namespace
        self.image = arguments.image
        self.n_workers = arguments.n_workers
        self.resources = arguments.resources
        self.env: Any = arguments.env
        self.worker_command = arguments.worker_command
        self.port_forward_cluster_ip = arguments.port_forward_cluster_ip
        self.create_mode = arguments.create_mode
        self.shutdown_on_close = arguments.shutdown_on_close
        self.scheduler_service_type = arguments.scheduler_service_type
        self.scheduler_forward_port = arguments.scheduler_forward_port
        self.jupyter = arguments.jupyter
        self.idle_timeout = arguments.idle_timeout

    @classmethod
    def from_name(cls, name: str, **kwargs: Any) -> KubeCluster:
        """Return the existing cluster of this name; it stays at the end unless asked otherwise.

        Raises
        ------
        NoSuchCluster
            There is none.
        """
        kwargs.setdefault("shutdown_on_close", False)
        return cls(name=name, create_mode=CreateMode.CONNECT_ONLY, **kwargs)

    @classmethod
    def from_yaml(cls, yaml_path: Any, **kwargs: Any) -> KubeCluster:
        """Return a new cluster whose workers are made from the pod template of a YAML file."""
        return cls.from_dict(read_pod(yaml_path), **kwargs)

    @classmethod
    def from_dict(cls, pod_spec: Any, **kwargs: Any) -> KubeCluster:
        """Return a new cluster whose workers are made from a pod template."""
        given = without_old_arguments(kwargs)
        return cls(custom_cluster_spec=cluster_of_template(pod_spec), **given)

    # ---- the start

    def _start_blocking(self) -> None:
        try:
            self.sync(self._start)
        except BaseException:
            # Ctrl-C ends the wait of this thread only.
            with suppress(Exception):
                self.sync(self._abandon, callback_timeout=END_SECONDS * 2)
            self._stop_loop()
            raise

    def __await__(self) -> Generator[Any, None, KubeCluster]:
        async def started() -> KubeCluster:
            await self._start()
            return self

        return started().__await__()

    async def _start(self) -> None:
        """Start, once, however often it is asked for.

        Raises
        ------
        DaskJobError
            With what blocks the start; nothing of it is left.
        """
        if self.status == Status.running:
            return
        if self.status != Status.created:
            raise closed_error(self.name)
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._started_or_undone())
        await self._starting

    async def _abandon(self) -> None:
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._starting
        elif self.status != Status.closed:
            await self._undo()

    async def _started_or_undone(self) -> None:
        self._panel = Panel(self._title(), lambda: rows_of(self._watch), quiet=self.quiet)
        try:
            with self._panel:
                await self._start_steps()
        except BaseException:
            await self._undo()
            raise
        finally:
            self._panel = None

    def _title(self) -> str:
        connects = self._arguments.create_mode is CreateMode.CONNECT_ONLY
        verb = "Connecting to" if connects else "Creating"
        return f"{verb} KubeCluster {self.name}"

    async def _start_steps(self) -> None:
        self._api = await self._clients.api()
        self.namespace = await self._clients.namespace()
        cluster = await self._found_or_created()
        self._ref = cluster.ref
        self._watch = ClusterWatch(self._api, cluster)
        self._watch.start()
        self._log("Waiting for the scheduler")
        timeout = self._arguments.resource_timeout
        await SchedulerWait(self._api, self._watch, timeout, self._log).ready()
        self._log("Connecting to the scheduler")
        wishes = Wishes(
            self.port_forward_cluster_ip,
            self.scheduler_forward_port or 0,
            self._arguments.comm_forward_port,
            timeout,
        )
        self._way = await self._connected(self._api, self._watch.cluster, wishes)
        await self._connect_comm(timeout)
        await super()._start()
        self._tasks.append(asyncio.ensure_future(self._until_gone()))
        keeping = keep_known(
            self._watch,
            self.scheduler_comm,
            lambda: self.scheduler_info["workers"],
            self._take_workers,
        )
        self._tasks.append(asyncio.ensure_future(keeping))
        self._log(f"Ready; the dashboard is at {self.dashboard_link}")

    async def _found_or_created(self) -> Cluster:
        mode = self.create_mode
        if mode is CreateMode.CONNECT_ONLY:
            return await self._found()
        ending.opened(self)
        self._may_have_created = True
        wants = self.shutdown_on_close is not False
        seconds = self._arguments.lease_seconds if wants else 0
        noted = {ANNOTATION_CREATION: self._creation, **first_annotations(seconds)}
        self._log("Creating the DaskCluster")
        try:
            cluster = await self._clients.create(self._manifest(noted))
        except Conflict as error:
            self._forget_creation()
            if mode is CreateMode.CREATE_ONLY:
                raise ClusterExists(str(error)) from error
            return await self._found()
        except NotInstalled as error:
            self._forget_creation()
            raise OperatorNotInstalled() from error
        if self._makes_secret and self.security is not None and self._api is not None:
            secret = secret_manifest(self.name, self.security)
            await create_owned(self._api, secret, cluster.ref)
        if self.shutdown_on_close is None:
            self.shutdown_on_close = True
        if seconds and self._api is not None:
            self._lease = Lease(self._api, cluster.manifest, cluster.ref, seconds)
            self._tasks.append(asyncio.ensure_future(self._lease.keep()))
        return cluster

    def _manifest(self, annotations: dict[str, str]) -> Manifest:
        made = cluster_manifest(self._arguments, annotations)
        self._makes_secret = self.security is not None and not is_secure(made)
        if not self._makes_secret:
            return made
        certificates(self.security)
        return secured(made, secret_name(self.name))

    def _forget_creation(self) -> None:
        self._may_have_created = False
        ending.closed(self)

    async def _found(self) -> Cluster:
        """Return the existing cluster, and take its values."""
        if self._panel is not None:
            self._panel.title = f"Connecting to KubeCluster {self.name}"
        self._log("Connecting to the existing cluster")
        try:
            cluster = await self._clients.get(self.name)
        except NotFound as error:
            raise NoSuchCluster(str(error)) from error
        except NotInstalled as error:
            raise OperatorNotInstalled() from error
        if self.shutdown_on_close is None:
            self.shutdown_on_close = False
        elif self.shutdown_on_close:
            ending.opened(self)
        self._take_values(cluster)
        seconds = seconds_of(cluster.manifest)
        if seconds and self._api is not None:
            self._lease = Lease(self._api, cluster.manifest, cluster.ref, seconds)
            self._tasks.append(asyncio.ensure_future(self._lease.keep(found=True)))
        return cluster

    def _take_values(self, cluster: Cluster) -> None:
        worker = first_container(cluster.manifest, "worker")
        scheduler = first_container(cluster.manifest, "scheduler")
        spec = mapping(cluster.manifest.get("spec"))
        self.n_workers = cluster.desired_workers
        self.image = str(worker.get("image") or self.image)
        self.env = mappings(worker.get("env"))
        self.resources = mapping(worker.get("resources"))
        self.idle_timeout = spec.get("idleTimeout") or 0
        words = [*(scheduler.get("command") or ()), *(scheduler.get("args") or ())]
        self.jupyter = "--jupyter" in words

    async def _connected(self, api: Api, cluster: Cluster, wishes: Wishes) -> Way:
        """Return how to reach the scheduler; a task keeps the forwards until it is cancelled.

        So they also end in order where a program's loop ends before its cluster is closed.
        """
        found: asyncio.Future[Way] = asyncio.get_running_loop().create_future()

        async def keep() -> None:
            async with AsyncExitStack() as stack:
                try:
                    way = await connect(api, cluster, wishes, stack, self._notice)
                except Exception as error:
                    if not found.done():
                        found.set_exception(error)
                    return
                if not found.done():
                    found.set_result(way)
                await asyncio.Event().wait()

        self._keeper = asyncio.ensure_future(keep())
        return await found

    async def _connect_comm(self, timeout: float) -> None:
        """Connect to the scheduler.

        Raises
        ------
        NoConnection
            It does not answer in time.
        """
        assert self._way is not None
        arguments = self.security.get_connection_args("client") if self.security else {}
        self.scheduler_comm = rpc(self._way.scheduler_address, connection_args=arguments)
        last: Exception | None = None
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        await self.scheduler_comm.versions()
                        return
                    except (OSError, TimeoutError) as error:
                        last = error
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise NoConnection(
                f"the scheduler of {self.name} does not answer at {self._way.scheduler_address} "
                f"within {timeout:g} s: {last or 'no answer'}"
            ) from last

    # ---- while it runs

    def sync(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a coroutine function in the loop of the cluster, and wait for it unless asynchronous.

        Raises
        ------
        ClusterClosed
            The cluster is closed.
        """
        if self.status == Status.closed:
            raise closed_error(self.name)
        if not self._has_loop:
            self._has_loop = True
            self._loop_runner.start()
        return super().sync(func, *args, **kwargs)

    def _log(self, log: str) -> None:
        """Keep a message, and show it while the cluster starts."""
        panel, quiet = self._panel, self.quiet
        self.quiet = True
        try:
            super()._log(log)
        finally:
            self.quiet = quiet
        if panel is not None:
            panel.say(log)

    def _notice(self, text: str) -> None:
        self._log(text)

    async def _until_gone(self) -> None:
        """Close once the cluster was deleted, or its scheduler was shut down by a client."""
        watch = self._watch
        while watch is not None and self.status == Status.running:
            if watch.gone or self._was_shut_down(watch):
                self._log("The cluster was shut down" if not watch.gone else "The cluster is gone")
                self._tasks = [t for t in self._tasks if t is not asyncio.current_task()]
                await self._close()
                return
            await watch.change()

    def _was_shut_down(self, watch: ClusterWatch) -> bool:
        condition = watch.scheduler_condition()
        shut_down = condition is not None and condition.reason == SHUT_DOWN
        return bool(self.shutdown_on_close and shut_down)

    async def _watch_worker_status(self, comm: Any) -> None:
        """Follow the workers; also after the scheduler's pod was replaced."""
        while True:
            with suppress(Exception):
                await super()._watch_worker_status(comm)
            if self.status != Status.running:
                return
            comm = await self._subscribed_again()
            if comm is None:
                return

    def _update_worker_status(self, op: str, msg: Any) -> None:
        # It is gone already where the scheduler was asked for its workers meanwhile.
        if op == "remove":
            self.scheduler_info["workers"].pop(msg, None)
        else:
            super()._update_worker_status(op, msg)

    def _take_workers(self, identity: Any) -> None:
        self.scheduler_info = SchedulerInfo(identity)

    async def _subscribed_again(self) -> Any:
        while self.status == Status.running:
            try:
                async with asyncio.timeout(SUBSCRIBE_SECONDS):
                    comm = await self.scheduler_comm.live_comm()
                    comm.name = "Cluster worker status"
                    await comm.write({"op": "subscribe_worker_status"})
                    self.scheduler_info = SchedulerInfo(await comm.read())
            except (OSError, TimeoutError):
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            self._watch_worker_status_comm = comm
            return comm
        return None

    # ---- the end

    def close(self, timeout: float | None = 3600) -> Any:
        """Close the connection, and delete the cluster if it was created here.

        It may be called again, and takes at most ``timeout`` seconds.
        """
        if self.status == Status.created and self._starting is None:
            self.status = Status.closed
        if self.status == Status.closed:
            if self._is_asynchronous:
                return NoOpAwaitable()
            if self._has_loop and not self.called_from_running_loop:
                self._stop_loop()
            return None
        if self.asynchronous:
            return self._close_within(timeout)
        try:
            result = self.sync(self._close_within, timeout)
        except RuntimeError:  # its loop was closed before
            return None
        self._stop_loop()
        return result

    def _stop_loop(self) -> None:
        with suppress(Exception):
            self._loop_runner.stop()

    async def _close_within(self, timeout: float | None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._close()
        except TimeoutError:
            if self._closing is not None:
                self._closing.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await self._closing
            raise

    async def _close(self) -> None:
        """Close it, once; every call waits for the end, deletion included."""
        if self.status == Status.closed:
            return
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close_steps())
        await asyncio.shield(self._closing)

    async def _close_steps(self) -> None:
        deletes = bool(self.shutdown_on_close)
        try:
            await self._disconnect()
            if deletes:
                await self._delete()
            elif self._lease is not None and self._may_have_created:
                with suppress(DaskJobError):
                    await self._lease.drop()
        finally:
            ending.closed(self)
            self.status, self._way = Status.closed, None
            self._show_end()
            await self._clients.__aexit__(None, None, None)

    def _show_end(self) -> None:
        """Show that it is closed; a frontend that is gone is no reason to fail."""
        if self._shown is not None:
            with suppress(Exception):
                self._shown.update()

    async def _undo(self) -> None:
        """End a start that has failed: what it made is removed, what it found stays."""
        try:
            with suppress(Exception):
                await self._disconnect()
            with suppress(Exception):
                await self._delete_creation(self._clients)
        finally:
            ending.closed(self)
            self.status, self._way = Status.closed, None
            with suppress(Exception):
                await self._clients.__aexit__(None, None, None)

    async def _disconnect(self) -> None:
        """End connections, forwards, watches and tasks."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError, Exception):
                await task
        self._tasks = []
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(END_SECONDS):
                await super()._close()
        # The base class ends with its connections; "closed" means that the cluster is deleted too.
        self.status = Status.closing
        for callback in self.periodic_callbacks.values():
            callback.stop()
        self.periodic_callbacks.clear()
        if self._watch is not None:
            await self._watch.stop()
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._keeper

    async def _delete(self) -> None:
        if self._ref is None:
            await self._delete_creation(self._clients)
            return
        if self._watch is not None:
            try:
                await self._clients.delete(self._watch.cluster)
            except Conflict as error:
                # A job's: it ends with the job.
                self._log(str(error))

    async def _delete_creation(self, clients: AsyncClusterClient) -> None:
        """Delete the cluster of this name if it was created here, also if no answer came."""
        if not self._may_have_created:
            return
        try:
            found = await clients.get(self.name)
        except NotFound:
            return
        if (
            mapping(metadata(found.manifest).get("annotations")).get(ANNOTATION_CREATION)
            == self._creation
        ):
            await clients.delete(found, force=True)

    def end_in_own_loop(self, seconds: float) -> bool:
        """Close it at the end of the process; return whether its own loop could do that."""
        if self._is_asynchronous or not self.loop.asyncio_loop.is_running():
            return False
        self._close_clients()
        self.sync(self._close, callback_timeout=seconds)
        return True

    def _close_clients(self) -> None:
        from distributed.client import Client

        for client in list(Client._instances):
            if client.cluster is self:
                with suppress(Exception):
                    client.close(timeout=1)

    async def end_elsewhere(self) -> None:
        """Delete it at the end of the process, if its own loop has ended."""
        self.status = Status.closed
        if self.shutdown_on_close is False:
            return
        async with self._clients as clients:
            if self._may_have_created:
                await self._delete_creation(clients)
            elif self._ref is not None and self.shutdown_on_close:
                with suppress(NotFound, Replaced):
                    await (await clients.api()).delete(self._ref, metadata_only=True)

    def __del__(self, *arguments: Any) -> None:
        # One that was never started has nothing to close.
        if getattr(self, "_starting", None) is not None:
            super().__del__(*arguments)

    def __enter__(self) -> KubeCluster:
        if self._is_asynchronous:
            raise WrongType("KubeCluster(asynchronous=True) needs 'async with', not 'with'")
        if self.status == Status.created:
            self._start_blocking()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> KubeCluster:
        if not self._is_asynchronous:
            raise WrongType("'async with' needs KubeCluster(asynchronous=True)")
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    # ---- workers

    def scale(self, n: int, worker_group: str = names.DEFAULT_GROUP) -> Any:
        """Set the number of workers of a group, which ends its automatic scaling."""
        return self.sync(self._in_turn, self._scale, checked_count("n", n), worker_group)

    async def _in_turn(self, change: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        async with self._turns:
            await change(*arguments)

    async def _scale(self, n: int, worker_group: str) -> None:
        api, watch = await self._running()
        self._adaptivities.pop(worker_group, None)
        body: Manifest = {"spec": {"worker": {"replicas": n}}}
        if worker_group == names.DEFAULT_GROUP:
            body["spec"]["worker"]["autoscaling"] = None
            await self._patch_cluster(body)
            self.n_workers = n
        await self._delete_autoscalers(worker_group)
        group = watch.group(worker_group)
        if worker_group != names.DEFAULT_GROUP:
            await api.patch(await self._group(worker_group), body_of_group(n), metadata_only=True)
        elif group is not None:
            # An autoscaler may have changed it since the cluster's number was the same.
            with suppress(NotFound, Replaced):
                await api.patch(object_ref(group), body_of_group(n), metadata_only=True)

    async def _patch_cluster(self, body: Manifest) -> None:
        api, watch = await self._running()
        assert self._ref is not None
        watch.took(Cluster(read_object(await api.patch(self._ref, body))))

    async def _running(self) -> tuple[Api, ClusterWatch]:
        await self._start()
        if self._api is None or self._watch is None:
            raise closed_error(self.name)
        return self._api, self._watch

    async def _group(self, worker_group: str) -> ObjectRef:
        """Return a group; one that the operator has yet to make is awaited.

        Raises
        ------
        NotFound
            There is none; the message names the existing ones.
        """
        _, watch = await self._running()
        assert self._ref is not None
        return await ref_of_group(watch, self._ref, worker_group, self._arguments.resource_timeout)

    async def _delete_autoscalers(self, worker_group: str) -> None:
        """Delete autoscalers of a group that are not part of the cluster's spec."""
        api, _ = await self._running()
        assert self._ref is not None
        found = await list_objects(api, Selection(AUTOSCALERS, self._ref.namespace))
        for ref in autoscalers_of(found.items, self._ref, worker_group):
            with suppress(NotFound, Replaced):
                await api.delete(ref, metadata_only=True)

    def adapt(
        self,
        minimum: int | None = None,
        maximum: int | None = None,
        worker_group: str = names.DEFAULT_GROUP,
        **_: Any,
    ) -> Adaptivity:
        """Have the operator scale a group to the scheduler's demand; it acts at once.

        Without limits, a group may have any number of workers. The result has the bounds, may be
        awaited, and ends the scaling by ``stop``.
        """
        low = checked_count("minimum", 0 if minimum is None else minimum)
        high = checked_count("maximum", MOST_WORKERS if maximum is None else maximum)
        if high < low:
            raise ValidationError(f"maximum={high} is less than minimum={low}")
        writing = None
        if self.asynchronous:
            writing = asyncio.ensure_future(self._in_turn(self._adapt, low, high, worker_group))
            self._tasks.append(writing)
        else:
            self.sync(self._in_turn, self._adapt, low, high, worker_group)
        made = Adaptivity(worker_group, low, high, stop=self._stop_adapting, writing=writing)
        self._adaptivities[worker_group] = made
        return made

    async def _adapt(self, minimum: int, maximum: int, worker_group: str) -> None:
        api, _ = await self._running()
        assert self._ref is not None
        bounds = {"minimum": minimum, "maximum": maximum}
        await self._delete_autoscalers(worker_group)
        if worker_group == names.DEFAULT_GROUP:
            await self._patch_cluster({"spec": {"worker": {"autoscaling": bounds}}})
            return
        group = await self._group(worker_group)
        await api.create(autoscaler_manifest(self._ref.name, group, minimum, maximum))

    def _stop_adapting(self, worker_group: str) -> Any:
        return self.sync(self._in_turn, self._stopped_adapting, worker_group)

    async def _stopped_adapting(self, worker_group: str) -> None:
        self._adaptivities.pop(worker_group, None)
        await self._delete_autoscalers(worker_group)
        if worker_group == names.DEFAULT_GROUP:
            await self._patch_cluster({"spec": {"worker": {"autoscaling": None}}})

    def add_worker_group(
        self,
        name: str | None = None,
        n_workers: int | None = None,
        image: str | None = None,
        resources: dict[str, Any] | None = None,
        worker_command: Any = None,
        env: Any = None,
        custom_spec: Manifest | None = None,
        *,
        n: int | None = None,
    ) -> Any:
        """Add a group of workers, by default 3; what is left out is as in the default group.

        ``custom_spec`` is a worker part, as ``make_worker_spec`` returns it. A group without a name
        gets a new one. It returns the name.
        """
        worker = worker_part(
            self,
            n_workers=n if n_workers is None else n_workers,
            image=image,
            resources=resources,
            worker_command=worker_command,
            env=env,
            custom_spec=custom_spec,
        )
        if custom_spec is None and self._makes_secret:
            secure_pod(worker["spec"], "worker", secret_name(self.name))
        chosen = f"group-{secrets.token_hex(3)}" if name is None else name
        if not names.GROUP_PATTERN.fullmatch(chosen) or chosen == names.DEFAULT_GROUP:
            raise ValidationError(
                f"{chosen!r} cannot be the name of a worker group: {names.GROUP_RULE}, and not "
                f"{names.DEFAULT_GROUP}"
            )
        return self.sync(self._add_worker_group, chosen, worker)

    async def _add_worker_group(self, name: str, worker: Manifest) -> str:
        api, watch = await self._running()
        assert self._ref is not None
        try:
            made = read_object(await api.create(group_manifest(self._ref, name, worker)))
        except Conflict as error:
            raise ClusterExists(f"cluster {self.name} already has a group {name}") from error
        watch.took_group(made)
        return name

    def delete_worker_group(self, name: str) -> Any:
        """Delete a group with its workers."""
        return self.sync(self._delete_worker_group, name)

    async def _delete_worker_group(self, name: str) -> None:
        if name == names.DEFAULT_GROUP:
            raise ValidationError("the default group cannot be deleted; scale it to 0")
        api, _ = await self._running()
        self._adaptivities.pop(name, None)
        await api.delete(await self._group(name), metadata_only=True)

    def wait_for_workers(
        self, n_workers: int, timeout: Any = None, worker_group: str | None = None
    ) -> Any:
        """Wait until this many workers run, of all groups or of one."""
        if isinstance(n_workers, bool) or not isinstance(n_workers, int) or n_workers < 1:
            raise ValidationError(f"n_workers: {n_workers!r} is no number of workers from 1 on")
        return self.sync(self._wait_for_workers, n_workers, timeout, worker_group)

    async def _wait_for_workers(
        self, n_workers: int = 0, timeout: Any = None, worker_group: str | None = None
    ) -> None:
        await self._running()
        seconds = parse_timedelta(timeout) if timeout else None
        running = 0
        try:
            async with asyncio.timeout(seconds):
                while True:
                    running = self._running_workers(worker_group)
                    if running >= n_workers:
                        return
                    await asyncio.sleep(0.1)
                    self.scheduler_info = SchedulerInfo(await self.scheduler_comm.identity())
        except TimeoutError:
            raise StillMissing(running, n_workers, timeout, self._reason(worker_group)) from None

    def _running_workers(self, worker_group: str | None) -> int:
        prefix = f"{names.group_name(self.name, worker_group)}-worker-" if worker_group else ""
        running = Status.running.name
        return sum(
            worker.get("status", running) == running and str(worker["name"]).startswith(prefix)
            for worker in self.scheduler_info["workers"].values()
        )

    def _reason(self, worker_group: str | None) -> str:
        problems = self._watch.problems() if self._watch else {}
        wanted = [problems[g] for g in problems if worker_group in (None, g)]
        return "; ".join(wanted)

    def scale_up(self, n: int, pods: Any = None) -> Any:
        """Make sure that the default group has at least this many workers."""
        del pods
        present = self._watch.cluster.desired_workers if self._watch else 0
        return self.scale(at_least(n, present))

    def scale_down(self, workers: Iterable[Any], pods: Any = None) -> Any:
        """Remove these workers, by name or address, once the scheduler has moved their data."""
        del pods
        return self.sync(self._scale_down, list(workers))

    async def _scale_down(self, workers: list[Any]) -> None:
        _, watch = await self._running()
        prefix = f"{names.group_name(self.name)}-worker-"
        chosen = [
            name
            for name in workers_at(workers, self.scheduler_info["workers"])
            if name in self.observed and name.startswith(prefix)
        ]
        if not chosen:
            return
        left = max(watch.cluster.desired_workers - len(chosen), 0)
        await self.scheduler_comm.retire_workers(names=chosen, close_workers=True, remove=True)
        await self._scale(left, names.DEFAULT_GROUP)

    def pods(self) -> Any:
        """Return the pods of the workers."""
        return self.sync(self._pods)

    async def _pods(self) -> list[Any]:
        api, _ = await self._running()
        assert self._ref is not None
        label = names.label_value(self.name)
        wanted = f"{names.LABEL_CLUSTER_NAME}={label},{names.LABEL_COMPONENT}=worker"
        found = await list_objects(api, Selection(PODS, self._ref.namespace, wanted))
        return as_pods(found.items)

    def logs(self, pod: Any = None) -> Any:
        """Return the log of a worker's pod; without one, a dictionary of those of all workers."""
        if pod is None:
            return self.get_logs(scheduler=False)
        name = pod if isinstance(pod, str) else pod.metadata.name
        return self.sync(self._log_of, str(name))

    async def _log_of(self, name: str) -> Log:
        found = await self._wanted_logs(WantedLogs(workers=frozenset({name})), False)
        return found.get(name, Log(""))

    # ---- what is seen

    def get_logs(
        self,
        cluster: bool = False,
        scheduler: bool = True,
        workers: bool | Iterable[str] = True,
        *,
        worker_group: str | None = None,
        previous: bool = False,
        tail: int | None = None,
    ) -> Any:
        """Return the logs of the pods, by name, and of this cluster's start as ``Cluster``.

        ``workers`` may be names or addresses; ``previous`` reads what was written before a restart.
        """
        chosen = workers if isinstance(workers, bool) else frozenset(map(self._pod_of, workers))
        group = names.group_name(self.name, worker_group) if worker_group else ""
        only_workers = worker_group is not None
        wanted = WantedLogs(scheduler and not only_workers, chosen, group, previous, tail)
        return self.sync(self._wanted_logs, wanted, cluster)

    def _pod_of(self, worker: str) -> str:
        known = self.scheduler_info["workers"].get(worker)
        return str(known["name"]) if known else worker

    async def _wanted_logs(self, wanted: WantedLogs, cluster: bool) -> Logs:
        api, _ = await self._running()
        assert self._ref is not None
        found = Logs()
        if cluster:
            found["Cluster"] = Log("\n".join(line for _, line in self._cluster_manager_logs))
        for name, text in (await logs_of(api, self._ref, wanted)).items():
            found[name] = Log(text)
        return found

    @property
    def dashboard_link(self) -> str:
        """The link to the dashboard; empty before the start."""
        return dashboard_link(self._way)

    @property
    def jupyter_link(self) -> str:
        """The link to the scheduler's Jupyter server; empty before the start.

        Raises
        ------
        ClusterClosed
            The scheduler runs no Jupyter server.
        """
        if not self.jupyter:
            raise closed_error(self.name, "has no Jupyter server; create it with jupyter=True")
        return jupyter_link(self.dashboard_link, way=self._way)

    @property
    def forwarded_dashboard_port(self) -> str | None:
        """The port of the dashboard, as seen from here."""
        return str(self._way.dashboard_port) if self._way else None

    @property
    def workers(self) -> dict[str, Any]:
        """The connected workers, by name."""
        return {str(w["name"]): w for w in self.scheduler_info["workers"].values()}

    @property
    def requested(self) -> set[str]:
        """The wanted workers: the connected ones, and a placeholder for each that is missing."""
        found = set(map(str, self.observed))
        for group, count in (self._watch.replicas() if self._watch else {}).items():
            prefix = f"{names.group_name(self.name, group)}-worker-"
            connected = sum(name.startswith(prefix) for name in self.observed)
            found |= {f"{prefix}{number}" for number in range(connected, count)}
        return found

    @property
    def plan(self) -> set[str]:
        """The same as ``requested``."""
        return self.requested

    async def generate_rich_output(self) -> Any:
        """Return the panel of the start as it is now, for rich to render."""
        return Panel(self._title(), lambda: rows_of(self._watch)).drawn()

    def view(self) -> ClusterView:
        """Return what a notebook shows of the cluster."""
        return view_of(
            self._watch,
            connected=len(self.scheduler_info["workers"]),
            adaptive={name: (a.minimum, a.maximum) for name, a in self._adaptivities.items()},
            closed=self.status in (Status.closing, Status.closed),
        )

    def _widget(self) -> Any:
        if self._shown is None:
            self._shown = widget_of(self)
            if self._shown is not None and self.status == Status.running:
                self.loop.add_callback(self._keep_shown)
        return self._shown.root if self._shown else None

    def _keep_shown(self) -> None:
        """Update the widget from time to time, until the cluster is closed."""
        if self._shown is None or self.status != Status.running:
            return
        interval = parse_timedelta(dask.config.get("distributed.deploy.cluster-repr-interval"))
        callback = PeriodicCallback(self._shown.update, interval * 1000)
        self.periodic_callbacks["cluster-repr"] = callback
        callback.start()

    def _scaling_status(self) -> str:
        return scaling_html(self.view())

    def _repr_html_(self, cluster_status: str | None = None) -> str:
        return page_html(
            type(self).__name__,
            self.name,
            self.view(),
            info=self.scheduler_info,
            dashboard_link=self.dashboard_link,
            status=cluster_status,
        )

    def __repr__(self) -> str:
        if self.status == Status.closed:
            return f"{type(self).__name__}({self.name}, closed)"
        return str(super().__repr__())

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is type(self)
            and isinstance(other, KubeCluster)
            and (self.name, self.namespace) == (other.name, other.namespace)
            and (self._uid is None or other._uid is None or self._uid == other._uid)
        )

    def __hash__(self) -> int:
        return hash((type(self), self.name))

    @property
    def _uid(self) -> str | None:
        return self._ref.uid if self._ref else None

    def __reduce__(self) -> Any:
        return _unpickled, (type(self), self.name, self.namespace)


def _unpickled(kind: type[KubeCluster], name: str, namespace: str | None) -> KubeCluster:
    """Return a cluster by reference: it connects in ``with``, or by its first use."""
    return kind.from_name(name, namespace=namespace, _starts_at_once=False)
