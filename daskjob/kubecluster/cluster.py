"""``KubeCluster``: a Dask cluster on a Kubernetes, for interactive work.

Here is what users see. Each purpose behind it is a module with an object of its own: ``start`` and
``end``, the ``session`` that lies between them, ``scheduler_connection``, ``scaling``,
``worker_wait``, ``view`` and ``live_widget``.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import Any

from distributed.core import Status
from distributed.deploy import Cluster as DaskCluster
from distributed.objects import SchedulerInfo
from distributed.security import Security
from distributed.utils import Log, Logs, NoOpAwaitable

from daskjob.core import names
from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import Manifest
from daskjob.core.shown import shown
from daskjob.kubecluster import defaults
from daskjob.kubecluster.adaptivity import Adaptivity
from daskjob.kubecluster.arguments import (
    check_of_adapt,
    check_passed_on,
    checked_bounds,
    checked_count,
    known_arguments,
    resolved,
    taken_from,
)
from daskjob.kubecluster.blocking import check_loop
from daskjob.kubecluster.create_mode import CreateMode
from daskjob.kubecluster.creation import Creation
from daskjob.kubecluster.end import SECONDS, End
from daskjob.kubecluster.errors import WrongType, closed_error
from daskjob.kubecluster.first_generation import (
    at_least,
    cluster_of_template,
    read_pod,
    without_old_arguments,
    worker_pods,
    workers_at,
)
from daskjob.kubecluster.groups import (
    check_group,
    checked_group_name,
    requested_workers,
    worker_part,
)
from daskjob.kubecluster.links import dashboard_link, jupyter_link
from daskjob.kubecluster.live_widget import LiveWidget
from daskjob.kubecluster.manifest import warn_of_ignored_name
from daskjob.kubecluster.pod_logs import WantedLogs, check_tail, logs_of
from daskjob.kubecluster.scaling import Scaling
from daskjob.kubecluster.scheduler_connection import SchedulerConnection, subscribed_again
from daskjob.kubecluster.session import Session
from daskjob.kubecluster.start import Start
from daskjob.kubecluster.transport_security import checked_security, secret_name, secure_pod
from daskjob.kubecluster.view import ClusterView, view_of
from daskjob.kubecluster.view_html import page_html, scaling_html
from daskjob.kubecluster.watch import ClusterWatch
from daskjob.kubecluster.worker_wait import WorkerWait, check_number_of_workers
from daskjob.submit.clusters.client import AsyncClusterClient

defaults.register()


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
        The image of scheduler and workers; by default ``ghcr.io/dask/dask:latest``.
    n_workers
        The number of workers of the default group; by default 0.
    resources
        ``requests`` and ``limits`` of the scheduler and of each worker, such as
        ``{"requests": {"cpu": 1}, "limits": {"memory": "4Gi"}}``. What only workers need, such as
        GPUs, goes into ``add_worker_group``, or into the workers' part of a custom spec.
    env
        Variables of scheduler and workers: a dictionary, or Kubernetes' list.
    worker_command
        The command of the workers; by default ``dask worker``.
    port_forward_cluster_ip
        True: always forward ports. False: connect directly if possible. By default, connect
        directly in a Kubernetes, and forward ports elsewhere.
    create_mode
        ``"CREATE_OR_CONNECT"``, the default; ``"CREATE_ONLY"`` rejects a cluster that exists,
        ``"CONNECT_ONLY"`` one that does not. Or a ``CreateMode``.
    shutdown_on_close
        Whether to delete the cluster at the end; by default, if it was created here.
    idle_timeout
        After how many seconds without work the operator deletes the cluster; 0, the default:
        never.
    resource_timeout
        For how many seconds nothing may move in the start; by default 60.
    scheduler_service_type
        ``"ClusterIP"``, the default, ``"NodePort"`` or ``"LoadBalancer"``.
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
    # What a start reads; one that finds a cluster sets them to the values that it has.
    namespace: str | None
    image: str
    n_workers: int
    resources: Manifest
    env: Any
    worker_command: list[str]
    port_forward_cluster_ip: bool | None
    create_mode: CreateMode
    shutdown_on_close: bool | None
    idle_timeout: int
    scheduler_service_type: str
    scheduler_forward_port: int
    jupyter: bool

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
        arguments = resolved(given)
        warn_of_ignored_name(arguments, name)
        self.security = checked_security(security)
        for attribute, value in taken_from(arguments).items():
            setattr(self, attribute, value)
        #: Where the Kubernetes is.
        self._found_by: dict[str, Any] = {"kubeconfig": kubeconfig, "context": context}
        clients = AsyncClusterClient(arguments.namespace or "", notify=self._log, **self._found_by)
        connection = SchedulerConnection(self._log)
        self._session = Session(arguments, clients, Creation(arguments), connection, self._log)
        self._scaling = Scaling(
            self._running, patience=arguments.resource_timeout, on_scaled=self._scaled
        )
        self._shown = LiveWidget(self)
        self._ending = End(
            self,
            self._session,
            owns_loop=not asynchronous,
            leave=super()._close,
            show=self._shown.update,
        )
        self._starting = Start(self, self._session, self._ending, join=super()._start)
        super().__init__(
            asynchronous=asynchronous, loop=loop, quiet=quiet, name=arguments.name, **kwargs
        )
        self._is_asynchronous = asynchronous
        self._has_loop = asynchronous
        if starts and not asynchronous:
            self._start_blocking()

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
                self.sync(self._ending.abandon, callback_timeout=SECONDS * 2)
            self._stop_loop()
            raise

    async def _start(self) -> None:
        try:
            await self._starting.done()
        except DaskJobError as error:
            raise shown(error) from None

    async def _running(self) -> ClusterWatch:
        """Return the cluster as it is, once it runs."""
        await self._start()
        if self._session.watch is None:
            raise closed_error(self.name)
        return self._session.watch

    def __await__(self) -> Generator[Any, None, KubeCluster]:
        return self._started().__await__()

    async def _started(self) -> KubeCluster:
        await self._start()
        return self

    def __enter__(self) -> KubeCluster:
        if self._is_asynchronous:
            raise WrongType("KubeCluster(asynchronous=True) needs 'async with', not 'with'")
        if self.status == Status.created:
            self._start_blocking()
        return self

    async def __aenter__(self) -> KubeCluster:
        if not self._is_asynchronous:
            raise WrongType("'async with' needs KubeCluster(asynchronous=True)")
        return await self._started()

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
        if self._ending.is_copy:
            raise closed_error(self.name, "belongs to the process that this one was forked from")
        if not self._has_loop:
            self._has_loop = True
            self._loop_runner.start()
        try:
            return super().sync(func, *args, **kwargs)
        except DaskJobError as error:
            raise shown(error) from None

    def _log(self, log: str) -> None:
        """Keep a message, and show it while the cluster starts."""
        panel, quiet = self._starting.panel, self.quiet
        self.quiet = True
        try:
            super()._log(log)
        finally:
            self.quiet = quiet
        if panel is not None:
            panel.say(log)

    async def _watch_worker_status(self, comm: Any) -> None:
        """Follow the workers; also after the scheduler's pod was replaced."""
        while True:
            with suppress(Exception):
                await super()._watch_worker_status(comm)
            found = await subscribed_again(
                self.scheduler_comm, wanted=lambda: bool(self.status == Status.running)
            )
            if found is None:
                return
            comm, self.scheduler_info = found
            self._watch_worker_status_comm = comm

    def _update_worker_status(self, op: str, msg: Any) -> None:
        # It is gone already where the scheduler was asked for its workers meanwhile.
        if op == "remove":
            self.scheduler_info["workers"].pop(msg, None)
        else:
            super()._update_worker_status(op, msg)

    # ---- the end

    def close(self, timeout: float | None = 3600) -> Any:
        """Close the connection, and delete the cluster if it was created here.

        It may be called again, and takes at most ``timeout`` seconds.
        """
        if self.status == Status.created and not self._starting.has_begun:
            self.status = Status.closed
        if self._ending.is_copy and not self._is_asynchronous:
            return None
        if self.status == Status.closed:
            if self._is_asynchronous:
                return NoOpAwaitable()
            if self._has_loop and not self.called_from_running_loop:
                self._stop_loop()
            return None
        if self.asynchronous:
            return self._ending.close_within(timeout)
        try:
            result = self.sync(self._ending.close_within, timeout)
        except RuntimeError:  # its loop was closed before
            return None
        self._stop_loop()
        return result

    async def _close(self) -> None:
        await self._ending.close()

    def _stop_loop(self) -> None:
        with suppress(Exception):
            self._loop_runner.stop()

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    def __del__(self, *arguments: Any) -> None:
        # One that was never started has nothing to close.
        start: Start | None = getattr(self, "_starting", None)
        if start is not None and start.has_begun:
            super().__del__(*arguments)

    # ---- workers

    def scale(self, n: int, worker_group: str = names.DEFAULT_GROUP) -> Any:
        """Set the number of workers of a group, which ends its automatic scaling."""
        return self.sync(self._scaling.scale, checked_count("n", n), worker_group)

    def _scaled(self, n_workers: int) -> None:
        self.n_workers = n_workers

    def adapt(
        self,
        minimum: int | None = None,
        maximum: int | None = None,
        worker_group: str = names.DEFAULT_GROUP,
        **of_dask: Any,
    ) -> Adaptivity:
        """Have the operator scale a group to the scheduler's demand; it acts at once.

        Without limits, a group may have any number of workers. The result has the bounds, may be
        awaited, and ends the scaling by ``stop``.
        """
        check_of_adapt(of_dask)
        bounds = checked_bounds(minimum, maximum)
        writing = None
        if self.asynchronous:
            writing = self._session.spawn(self._scaling.adapt(*bounds, worker_group))
        else:
            self.sync(self._scaling.adapt, *bounds, worker_group)
        made = Adaptivity(worker_group, *bounds, stop=self._stop_adapting, writing=writing)
        self._scaling.adaptivities[worker_group] = made
        return made

    def _stop_adapting(self, worker_group: str) -> Any:
        return self.sync(self._scaling.stop_adapting, worker_group)

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
        if custom_spec is None and self._session.creation.makes_secret:
            secure_pod(worker["spec"], "worker", secret_name(self.name))
        return self.sync(self._scaling.add, checked_group_name(name), worker)

    def delete_worker_group(self, name: str) -> Any:
        """Delete a group with its workers."""
        return self.sync(self._scaling.delete, name)

    def wait_for_workers(
        self, n_workers: int, timeout: Any = None, worker_group: str | None = None
    ) -> Any:
        """Wait until this many workers run, of all groups or of one."""
        check_number_of_workers(n_workers)
        return self.sync(self._wait_for_workers, n_workers, timeout, worker_group)

    async def _wait_for_workers(
        self, n_workers: int = 0, timeout: Any = None, worker_group: str | None = None
    ) -> None:
        watch = await self._running()
        if worker_group is not None:
            await check_group(watch, worker_group)
        wait = WorkerWait(self.name, n_workers, timeout, worker_group)
        await wait.done(self._asked, lambda: wait.problems(watch))

    async def _asked(self) -> dict[str, Any]:
        """Return the workers that the scheduler has now.

        Raises
        ------
        ClusterClosed
            Meanwhile, the cluster was closed.
        """
        try:
            self.scheduler_info = SchedulerInfo(await self.scheduler_comm.identity())
        except OSError:
            if self.status != Status.running:
                raise closed_error(self.name) from None
            raise
        return dict(self.scheduler_info["workers"])

    def scale_up(self, n: int, pods: Any = None) -> Any:
        """Make sure that the default group has at least this many workers."""
        del pods
        watch = self._session.watch
        return self.scale(at_least(n, watch.cluster.desired_workers if watch else 0))

    def scale_down(self, workers: Iterable[Any], pods: Any = None) -> Any:
        """Remove these workers, by name or address, once the scheduler has moved their data."""
        del pods
        return self.sync(self._scale_down, list(workers))

    async def _scale_down(self, workers: list[Any]) -> None:
        await self._running()
        named = workers_at(workers, self.scheduler_info["workers"])
        connected = [name for name in named if name in self.observed]
        await self._scaling.retire(connected, self.scheduler_comm)

    # ---- what is seen

    def pods(self) -> Any:
        """Return the pods of the workers."""
        return self.sync(self._pods)

    async def _pods(self) -> list[Any]:
        watch = await self._running()
        return await worker_pods(watch.api, watch.ref)

    def logs(self, pod: Any = None) -> Any:
        """Return the log of a worker's pod; without one, a dictionary of those of all workers."""
        if pod is None:
            return self.get_logs(scheduler=False)
        if not isinstance(pod, str) and not hasattr(pod, "metadata"):
            raise WrongType(f"pod is {pod!r}; write the name of a pod, or one of pods()")
        name = pod if isinstance(pod, str) else pod.metadata.name
        return self.sync(self._log_of, str(name))

    async def _log_of(self, name: str) -> Log:
        found = await self._wanted_logs(WantedLogs(workers=frozenset({name})), False)
        return found.get(name, Log(""))

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
        check_tail(tail)
        wanted = WantedLogs(scheduler and not only_workers, chosen, group, previous, tail)
        return self.sync(self._wanted_logs, wanted, cluster, worker_group)

    def _pod_of(self, worker: str) -> str:
        known = self.scheduler_info["workers"].get(worker)
        return str(known["name"]) if known else worker

    async def _wanted_logs(
        self, wanted: WantedLogs, cluster: bool, worker_group: str | None = None
    ) -> Logs:
        watch = await self._running()
        if worker_group is not None:
            await check_group(watch, worker_group)
        found = Logs()
        if cluster:
            found["Cluster"] = Log("\n".join(line for _, line in self._cluster_manager_logs))
        for name, text in (await logs_of(watch.api, watch.ref, wanted)).items():
            found[name] = Log(text)
        return found

    @property
    def dashboard_link(self) -> str:
        """The link to the dashboard; empty before the start."""
        return dashboard_link(self._session.connection.way)

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
        return jupyter_link(self.dashboard_link, way=self._session.connection.way)

    @property
    def forwarded_dashboard_port(self) -> str | None:
        """The port of the dashboard, as seen from here."""
        way = self._session.connection.way
        return str(way.dashboard_port) if way else None

    @property
    def workers(self) -> dict[str, Any]:
        """The connected workers, by name."""
        return {str(w["name"]): w for w in self.scheduler_info["workers"].values()}

    @property
    def requested(self) -> set[str]:
        """The wanted workers: the connected ones, and a placeholder for each that is missing."""
        return requested_workers(self._session.watch, set(map(str, self.observed)))

    @property
    def plan(self) -> set[str]:
        """The same as ``requested``."""
        return self.requested

    async def generate_rich_output(self) -> Any:
        """Return the panel of the start as it is now, for rich to render."""
        return self._starting.as_panel().drawn()

    def view(self) -> ClusterView:
        """Return what a notebook shows of the cluster."""
        adaptive = self._scaling.adaptivities
        return view_of(
            self._session.watch,
            connected=len(self.scheduler_info["workers"]),
            adaptive={name: (a.minimum, a.maximum) for name, a in adaptive.items()},
            closed=self.status in (Status.closing, Status.closed),
        )

    def _widget(self) -> Any:
        return self._shown.root()

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
        return self._session.watch.ref.uid if self._session.watch else None

    def __reduce__(self) -> Any:
        way = {**self._found_by, "security": self.security}
        return _unpickled, (type(self), self.name, self.namespace, way)


def _unpickled(
    kind: type[KubeCluster], name: str, namespace: str | None, way: dict[str, Any]
) -> KubeCluster:
    """Return a cluster by reference: it connects in ``with``, or by its first use."""
    return kind.from_name(name, namespace=namespace, _starts_at_once=False, **way)
