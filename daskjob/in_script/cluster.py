"""``Client(n_workers=3)`` and ``LocalCluster(…)`` of a script mean the workers of its run.

``install`` changes four places of distributed in the script's process:

- ``LocalCluster.__new__`` returns a ``RunCluster``, a subclass, so that ``isinstance``, subclasses
  and the signature stay as they are. A subclass of LocalCluster, and any other class of clusters,
  is not changed.
- ``Client.__init__`` does not see the run's address when none was passed: so it makes a
  LocalCluster by distributed's own code, with all arguments that this takes.
- ``Client._shutdown`` leaves the run's scheduler to the run.
- ``Client._ensure_connected`` explains a connection to another address that failed.

A ``RunCluster`` starts no process. It writes the shape that it asks for to a file, which the run
reads (``daskjob.backends.local.script_cluster``), and waits for the workers. A LocalCluster starts
its workers when it is made, and they inherit what the script changed before: so does a request
(``inheritance.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import json
import logging
import math
import os
import sys
import weakref
from typing import Any

import dask
from dask.system import CPU_COUNT
from dask.utils import parse_timedelta
from distributed import Client, LocalCluster, Nanny, Worker, get_worker
from distributed.core import Server, Status
from distributed.deploy.adaptive import Adaptive
from distributed.deploy.spec import ProcessInterface, SpecCluster
from distributed.node import ServerNode
from distributed.protocol.pickle import dumps
from distributed.security import Security
from distributed.system import MEMORY_LIMIT
from distributed.worker_memory import parse_memory_limit

logger = logging.getLogger("distributed.deploy")

SETTINGS_VARIABLE = "DASKJOB_CLUSTER"
QUIET_VARIABLE = "DASKJOB_QUIET"
#: How long a cluster waits for its workers; then the script continues with those that are there.
WAIT_SECONDS = 90.0
LOOK_SECONDS = 0.02
#: Dask's default; the run's environment has a longer one, for its own scheduler's start.
CONNECT_SECONDS = 30

CLUSTER_SIGNATURE = inspect.signature(LocalCluster.__init__)
#: Arguments of LocalCluster that a run need not honour, and that change nothing a script relies on.
SILENT = {
    *("name", "loop", "asynchronous", "silence_logs", "scheduler_sync_interval"),
    *("n_workers", "threads_per_worker", "memory_limit", "processes", "resources", "env"),
    *("local_directory", "start", "ip", "dashboard_address"),
}
#: Arguments of workers that they do not get as they are: the run has its own, or sets them.
NOT_PASSED = {
    *("memory_limit", "resources", "env", "local_directory", "nthreads", "name", "loop"),
    *("scheduler_ip", "scheduler_port", "scheduler_file", "port", "worker_port", "services"),
    *("listen_address", "contact_address", "dashboard", "dashboard_address", "worker_class"),
    *("service_ports", "service_kwargs", "http_prefix", "executor", "nanny", "nanny_port"),
}
#: The options of ``daskjob run``, by the part of the shape that they set.
OPTIONS = {"workers": "-w", "threads": "-t", "memory": "--memory"}


class Run:
    """The run of this script, and what the script asked of it."""

    def __init__(self, settings: dict[str, Any], path_at_start: Any):
        self.address: str = settings["address"]
        self.dashboard: str = settings["dashboard"]
        self._own: dict[str, Any] = settings["own"]
        #: The parts of the shape that the script may set: those without an option.
        self.open = frozenset(settings["open"])
        self.is_manifest: bool = settings["manifest"]
        self._memory: str = settings["memory"]
        self.machine_memory: int = settings["machine_memory"]
        self.connect_timeout: str = settings["connect_timeout"]
        self._path: str = settings["request"]
        #: What its workers started with; absent for a manifest, whose workers inherit nothing.
        self._start: dict[str, Any] | None = settings.get("start")
        self._path_at_start = path_at_start
        #: What was asked last, and by what the answer to it is recognized.
        self.asked: dict[str, Any] = {}
        #: The number of workers that the user had set by then, from outside of the script.
        self._scaled_then = ""
        self._id = ""
        #: The addresses of the workers that end because of it; ``None``: no answer yet.
        self._leaving: frozenset[str] | None = frozenset()
        #: The script's clusters, as long as it refers to them.
        self._clusters: weakref.WeakSet[Any] = weakref.WeakSet()

    @property
    def own(self) -> dict[str, Any]:
        """The shape that the run has without a request: workers, threads, memory."""
        scaled = self._scaled()
        return {**self._own, "workers": int(scaled)} if scaled.isdigit() else self._own

    def _scaled(self) -> str:
        """Return the number of workers that the user set while the run goes on; empty: none."""
        try:
            with open(os.path.join(os.path.dirname(self._path), "workers")) as file:
                return file.read()
        except OSError:
            return ""

    def add(self, cluster: Any) -> None:
        """Record a cluster of the script."""
        self._clusters.add(cluster)

    def others(self, cluster: Any) -> list[Any]:
        """Return the other clusters of this process that are open."""
        over = (None, Status.closing, Status.closed, Status.failed)
        return [c for c in list(self._clusters) if c is not cluster and c.status not in over]

    def difference(self) -> Any:
        """Return what the script's process has and the workers lack; ``None`` if that is nothing.

        A failure costs the inheritance, not the script.
        """
        if self._start is None:
            return None
        try:
            found = beside("inheritance").Difference(self._start, self._path_at_start)
        except Exception as error:
            self.say("inherit", f"workers do not inherit what the script changed: {error!r}")
            return None
        if found.of_scheduler:
            names = ", ".join(found.of_scheduler)
            self.say(
                "scheduler",
                f"{names}: no effect, the run's scheduler has started already; set it outside: "
                f"--env {variable_of(found.of_scheduler[0])}=…",
            )
        return found

    def ask(self, *, is_new: bool = False, **request: Any) -> bool:
        """Ask for a shape; ``None`` stands for the run's own. Return whether it is another one."""
        request = {key: value for key, value in request.items() if value is not None}
        scaled = self._scaled()
        if request == self.asked and scaled == self._scaled_then:
            return False
        temporary, identity = f"{self._path}.{os.getpid()}", os.urandom(8).hex()
        try:
            # It may have values of variables: for this user only.
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w") as file:
                json.dump({**request, "new": is_new, "id": identity}, file)
            os.replace(temporary, self._path)
        except OSError as error:
            # Such as a full disk: the script works with the workers that there are.
            self.say("file", f"the run cannot be asked for other workers: {error}")
            return False
        self.asked, self._id, self._leaving = request, identity, None
        self._scaled_then = scaled
        return True

    def leaving(self) -> frozenset[str] | None:
        """Return the addresses of workers that end because of the last request.

        ``None``: the run has not read it yet.
        """
        if self._leaving is not None:
            return self._leaving
        try:
            with open(f"{os.path.splitext(self._path)[0]}.done") as file:
                answer = json.load(file)
        except (OSError, ValueError):
            return None
        if answer["id"] == self._id:
            self._leaving = frozenset(answer["leaving"])
        return self._leaving

    def say(self, kind: str, text: str) -> None:
        """Print a message of daskjob, once per kind and run, in all processes of the script."""
        if os.environ.get(QUIET_VARIABLE) or sys.stderr is None:
            return
        try:
            with open(os.path.join(os.path.dirname(self._path), f"said-{kind}"), "x"):
                pass
        except FileExistsError:
            return
        except OSError:
            # A full disk: rather twice than never.
            pass
        print(f"daskjob: {text}", file=sys.stderr, flush=True)

    @property
    def never_has_workers(self) -> bool:
        """Whether ``-w 0`` holds against whatever the script asks for."""
        return not self.is_manifest and "workers" not in self.open and self.own["workers"] == 0

    def holds(self, part: str) -> str:
        """Return why a part of the shape cannot be set by the script."""
        if self.is_manifest:
            return "the manifest holds"
        value = self._memory if part == "memory" else self.own[part]
        return f"`{OPTIONS[part]} {value}` holds"


RUN: Run


def variable_of(setting: str) -> str:
    """Return the variable that sets a value of Dask's configuration."""
    return "DASK_" + setting.upper().replace(".", "__").replace("-", "_")


def beside(name: str) -> Any:
    """Import a file beside this one, whose folder is not in ``sys.path``."""
    from importlib.util import module_from_spec, spec_from_file_location

    key = f"_daskjob_{name}"
    if key not in sys.modules:
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")
        spec = spec_from_file_location(key, path)
        if spec is None or spec.loader is None:
            raise ImportError(path)
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[key] = module
    return sys.modules[key]


class Shape:
    """The workers that arguments of LocalCluster ask for; ``None``: the run's own.

    The rules for absent arguments are those of ``LocalCluster.__init__``.
    """

    def __init__(self, arguments: dict[str, Any]):
        self.arguments = arguments
        worker_kwargs = arguments.get("worker_kwargs") or {}
        worker_class = arguments.get("worker_class")
        processes = arguments.get("processes")
        if processes is None:
            processes = worker_class is None or issubclass(worker_class, Nanny)
        self.processes = bool(processes)
        check_names(worker_kwargs)
        self.workers, self.threads = self._counts()
        self.memory, self.memory_text = self._memory(worker_kwargs)
        self.resources = worker_kwargs.get("resources")
        self.env = worker_kwargs.get("env")
        self.directory = worker_kwargs.get("local_directory")
        self.port = 0
        if arguments.get("dashboard_address") is not None:
            self.port = beside("dashboard").port_of(arguments["dashboard_address"])
        self.options = {
            name: value
            for name, value in worker_kwargs.items()
            if name not in NOT_PASSED and value is not None and not RUN.is_manifest
        }
        if self.processes and arguments.get("silence_logs") and not RUN.is_manifest:
            # An argument of the cluster that it passes on to its nannies.
            self.options["silence_logs"] = arguments["silence_logs"]

    def check_workers(self) -> None:
        """Reject a cluster that would wait for its workers without end.

        Raises
        ------
        RuntimeError
            The script asks for workers, and ``-w 0`` holds.
        """
        if self.workers and RUN.never_has_workers:
            asked = ", ".join(self._given().values()) or "processes=False"
            raise RuntimeError(
                f"the script asks for workers ({asked}), and the run never has any: "
                f"{RUN.holds('workers')}. Leave out -w 0."
            )

    def _counts(self) -> tuple[int | None, int | None]:
        workers, threads = (self.arguments.get(k) for k in ("n_workers", "threads_per_worker"))
        if workers is None and threads is None:
            return (None, None) if self.processes else (1, CPU_COUNT)
        if workers is None:
            workers = max(1, CPU_COUNT // threads) if self.processes else 1
        if workers and threads is None:
            share = max(1, math.ceil(CPU_COUNT / workers))
            # They would not be shared among another number of workers.
            threads = share if "workers" in RUN.open else None
        return len(range(workers)), threads

    def _memory(self, worker_kwargs: dict[str, Any]) -> tuple[int | None, str]:
        """Return the limit in bytes, 0 for none, and as ``--memory`` takes it."""
        given = worker_kwargs.get("memory_limit", "auto")
        if given == "auto":
            return None, ""
        size = int(parse_memory_limit(given, 1, 1, logger=logger) or 0)
        return size, given.replace(" ", "") if isinstance(given, str) else str(size)

    def expected(self, part: str) -> Any:
        """Return a part of the shape as the run will have it."""
        asked = getattr(self, part)
        return asked if asked is not None and part in RUN.open else RUN.own[part]

    def share(self) -> int | None:
        """Return the number of workers that share the memory, if it is not the run's own."""
        is_open = self.memory is None and RUN.open >= {"workers", "memory"}
        return self.workers or None if is_open and self.workers != RUN.own["workers"] else None

    def limit(self) -> int | None:
        """Return the memory limit for which a cluster waits; ``None``: any, or the run's own."""
        if self.memory is not None:
            return self.memory if "memory" in RUN.open else None
        share = self.share()
        return min(RUN.machine_memory // share, MEMORY_LIMIT) if share else None

    def request(self) -> dict[str, Any]:
        """Return what is asked of the run."""
        wanted = {part: getattr(self, part) for part in OPTIONS if part in RUN.open}
        if RUN.is_manifest:
            return wanted
        wanted["share"] = self.share()
        directory = None if self.directory is None else os.path.abspath(self.directory)
        return {**wanted, "resources": self.resources, "env": self.env, "directory": directory}

    # Messages

    def explain(self) -> None:
        """Print which options of daskjob replace the arguments, and which arguments do nothing."""
        text = "; ".join(part for part in (self._set(), self._held(), self._ignored()) if part)
        if text:
            # Another cluster of the script may have printed its own line; this one is surprising.
            RUN.say("shape" if self.processes else "threads", text)

    def _given(self) -> dict[str, str]:
        """Return the parts of the shape that arguments set, each with those arguments."""
        found = {}
        for part, name in (("workers", "n_workers"), ("threads", "threads_per_worker")):
            if self.arguments.get(name) is not None:
                found[part] = f"{name}={self.arguments[name]}"
        if self.memory is not None:
            found["memory"] = f"memory_limit={self.arguments['worker_kwargs']['memory_limit']!r}"
        return found

    def _set(self) -> str:
        given = {part: text for part, text in self._given().items() if part in RUN.open}
        if not self.processes:
            return self._without_processes(given)
        if not given:
            return ""
        verb = "sets" if len(given) == 1 else "set"
        text = f"{', '.join(given.values())} {verb} the run's workers"
        # ``-w 0`` holds against a cluster that scales or adapts later, as one of 0 workers does.
        if self.workers == 0 or ("memory" in given and not self.memory):
            return text
        return f"{text}; {self._same(given)}"

    def _without_processes(self, given: dict[str, str]) -> str:
        workers, threads = self.expected("workers"), self.expected("threads")
        count = "one worker process" if workers == 1 else f"{workers} worker processes"
        verb = "shares" if workers == 1 else "share"
        text = (
            f"processes=False: tasks run in threads of {count} beside the script ({threads} each), "
            f"which {verb} no memory with it"
        )
        parts = [part for part in OPTIONS if part in given or part != "memory"]
        parts = [part for part in parts if part in RUN.open]
        return f"{text}; {self._same(parts)}" if parts and self.workers != 0 else text

    def _same(self, parts: Any) -> str:
        values = {"workers": self.workers, "threads": self.threads, "memory": self.memory_text}
        words = " ".join(f"{OPTIONS[part]} {values[part]}" for part in parts)
        later = ", and holds against scale() and adapt()" if "workers" in parts else ""
        return f"`daskjob run {words}` does the same{later}"

    def _held(self) -> str:
        texts = [
            f"{text} has no effect: {RUN.holds(part)}"
            for part, text in self._given().items()
            if part not in RUN.open and getattr(self, part) != RUN.own[part]
        ]
        return "; ".join(texts)

    def _ignored(self) -> str:
        given = {**self.arguments, **(self.arguments.get("worker_kwargs") or {})}
        given.pop("worker_kwargs", None)
        if given.get("worker_class") in (Worker, Nanny):
            del given["worker_class"]
        if str(given.get("protocol")).partition(":")[0] in ("tcp", "inproc"):
            del given["protocol"]
        silent = SILENT | set(self.options)
        names = sorted(name for name, value in given.items() if value and name not in silent)
        if not names:
            return ""
        verb = "has" if len(names) == 1 else "have"
        return f"{', '.join(names)} {verb} no effect in a run"


def cluster_arguments(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return the given arguments of LocalCluster by name.

    Raises
    ------
    TypeError
        There are too many.
    """
    arguments = dict(CLUSTER_SIGNATURE.bind(None, *args, **kwargs).arguments)
    del arguments["self"]
    return arguments


def check_names(worker_kwargs: dict[str, Any]) -> None:
    """Reject a misspelled argument as a worker does.

    Raises
    ------
    TypeError
        No worker takes an argument of this name.
    """
    known: set[str] = set()
    for cls in (Worker, Nanny, ServerNode, Server):
        parameters = inspect.signature(cls.__init__).parameters.values()
        known.update(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)
    for name in worker_kwargs:
        if name not in known:
            raise TypeError(f"Server.__init__() got an unexpected keyword argument {name!r}")


class RunScheduler(ProcessInterface):  # type: ignore[misc]
    """The run's scheduler, which belongs to the run."""

    def __init__(self, address: str):
        super().__init__()
        self.address = address


class RunWorker(ProcessInterface):  # type: ignore[misc]
    """One of the run's workers: that of the same name, or any; a manifest's have other names."""

    def __init__(self, name: Any, nthreads: int, memory_limit: Any):
        self._cluster: Any = None
        self._address: str | None = None
        super().__init__(name=name)
        self.name, self.nthreads, self.memory_limit = name, nthreads, memory_limit
        self.status = Status.running

    @property
    def address(self) -> str | None:
        """The address of its worker, another one for each of the cluster's."""
        cluster = self._cluster
        if cluster is None:
            return None
        known = cluster.scheduler_info["workers"]
        named = [address for address, worker in known.items() if worker["name"] == self.name]
        if named:
            return str(named[0])
        if self._address not in known:
            taken = {worker._address for worker in cluster.workers.values()}
            self._address = next((address for address in known if address not in taken), None)
        return self._address

    @address.setter
    def address(self, address: str | None) -> None:
        """Ignore an address: distributed sets it to ``None``."""

    @property
    def worker_address(self) -> str | None:
        """The same; a nanny has another address than its worker."""
        return self.address


class RunAdaptive(Adaptive):  # type: ignore[misc]
    """Adaptive scaling by the run: the run follows the scheduler's demand within the bounds."""

    def __init__(self, cluster: Any, interval: Any = None, **options: Any):
        # Without an interval it has no callback in this process.
        del interval
        super().__init__(cluster, interval=0, **options)
        self.active = True

    def stop(self, *_: Any, **__: Any) -> None:
        """Keep the workers that there are now."""
        if self.active:
            self.active = False
            self.cluster._stop_adapting()


class RunCluster(LocalCluster):  # type: ignore[misc]
    """The run's workers as a LocalCluster."""

    def __init__(self, *args: Any, **kwargs: Any):
        arguments = cluster_arguments(*args, **kwargs)
        self.status = None
        self._shape = Shape(arguments)
        self._shape.check_workers()
        self._shape.explain()
        self._difference = RUN.difference()
        self._asked_for: Any = None
        self._redirect: Any = None
        self.processes = self._shape.processes
        # ``None``: the manifest autoscales them.
        workers, threads = self._shape.expected("workers") or 0, self._shape.expected("threads")
        memory = self._shape.expected("memory")
        if memory is None:
            memory = parse_memory_limit("auto", 1, max(workers, 1), logger=logger)
        worker = {"cls": RunWorker, "options": {"nthreads": threads, "memory_limit": memory}}
        SpecCluster.__init__(
            self,
            name=arguments.get("name"),
            scheduler={"cls": RunScheduler, "options": {"address": RUN.address}},
            workers=dict.fromkeys(range(workers), worker),
            worker=worker,
            loop=arguments.get("loop"),
            asynchronous=arguments.get("asynchronous", False),
            silence_logs=arguments.get("silence_logs", logging.WARN),
            security=Security(),
            scheduler_sync_interval=arguments.get("scheduler_sync_interval", 1),
        )

        RUN.add(self)
        others = RUN.others(self)
        if others and self.status == Status.running:
            RUN.say(
                "clusters",
                f"{len(others) + 1} LocalClusters are open at the same time: in a run they share "
                f"its workers, {self._count()} now, and its scheduler",
            )

    async def _start(self) -> None:
        """Ask for the workers before the scheduler is there: they start meanwhile."""
        if self.status == Status.created:
            self._ask(is_new=not RUN.others(self))
        await super()._start()
        await self._inform_scheduler()
        self._listen()

    async def _inform_scheduler(self) -> None:
        """Let the scheduler import what the script can: graphs refer to modules.

        The scheduler of a LocalCluster is in the script's process.
        """
        found = self._difference
        if found is None or not found.matters:
            return
        arguments = dumps(found.for_scheduler())
        # A configuration may block this handler: then only such a graph fails.
        with contextlib.suppress(Exception):
            await self.scheduler_comm.run_function(function=dumps(exec), args=arguments)

    def _listen(self) -> None:
        """Lead the port that the script names for its dashboard to that of the run."""
        if self._shape.port and self._redirect is None:
            target = RUN.dashboard.rpartition("/")[0]
            try:
                self._redirect = beside("dashboard").listen(self._shape.port, target)
            except OSError as error:
                text = f"port {self._shape.port} cannot be used ({error.strerror})"
                RUN.say("dashboard", f"{text}; the dashboard is {RUN.dashboard}")

    def _request(self) -> dict[str, Any]:
        """Return what this cluster asks of the run, but for the number of workers."""
        request, found = self._shape.request(), self._difference
        request["workers"] = None
        if found is None:
            return request
        if found.matters or self._shape.options:
            request["inherited"] = found.request(self._shape.options)
        if found.too_large:
            RUN.say("large", "workers do not inherit Dask's configuration: it is above 100 KB")
        if request.get("directory") is None and found.temporary_directory:
            request["directory"] = os.path.abspath(found.temporary_directory)
        return request

    def _ask(self, *, is_new: bool = False) -> bool:
        """Ask for the shape; return whether it is another one than the run has by itself."""
        request, others = self._request(), RUN.others(self)
        if others:
            # They share the workers: a cluster of no shape of its own takes the one that is there.
            request.pop("share", None)
            if not any(value is not None for value in request.values()):
                request = {**RUN.asked, "adapt": None}
        if "workers" in RUN.open:
            count = self._count()
            request["workers"] = None if count == RUN.own["workers"] else count
        plain = not any(value is not None for value in request.values())
        return RUN.ask(is_new=is_new, **request) or not plain

    def _count(self) -> int:
        """Return the number of workers that this cluster and the others need together.

        All of them use all workers: it is the largest number that one of them asked for.
        """
        return max(len(cluster.worker_spec) for cluster in (self, *RUN.others(self)))

    async def _correct_state_internal(self) -> None:
        """Ask for as many workers as the specification has, and wait for those newly asked for."""
        async with self._lock:
            self._correct_state_waiting = None
            for name in set(self.workers) - set(self.worker_spec):
                await self.workers.pop(name).close()
            for name in set(self.worker_spec) - set(self.workers):
                worker = RunWorker(name, **self.worker_spec[name]["options"])
                worker._cluster = self
                self.workers[name] = worker
            count = len(self.worker_spec)
            if self.status != Status.running or self._is_adapting or self._asked_for == count:
                return
            self._asked_for = count
            if self._ask() or self._shape.workers is not None:
                await self._until_there(self._count())
            else:
                # The agent answers once the run's own workers are there.
                await self.scheduler_comm.identity()

    @property
    def _is_adapting(self) -> bool:
        return getattr(self._adaptive, "active", False)

    async def _until_there(self, count: int) -> None:
        """Wait until the scheduler has the workers, and no others: a bounded time."""
        if RUN.own["workers"] is None:
            return
        if "workers" not in RUN.open:
            count = RUN.own["workers"]
        for _ in range(int(WAIT_SECONDS / LOOK_SECONDS)):
            if self._are_there(count) or self.status != Status.running:
                return
            if self._asked_for != len(self.worker_spec):
                return
            await asyncio.sleep(LOOK_SECONDS)
        there = len(self.scheduler_info["workers"])
        RUN.say("wait", f"{there} of {count} workers are there after {WAIT_SECONDS:.0f} s")

    def _are_there(self, count: int) -> bool:
        leaving = RUN.leaving()
        if leaving is None:
            return False
        workers = self.scheduler_info["workers"]
        if len(workers) != count or leaving & set(workers):
            return False
        if RUN.others(self):
            return True
        threads, memory = self._shape.expected("threads"), self._shape.limit()
        return all(
            (threads is None or worker["nthreads"] == threads)
            and (not memory or worker["memory_limit"] == memory)
            for worker in workers.values()
        )

    def scale(self, n: int = 0, memory: Any = None, cores: Any = None) -> Any:
        """Scale the run's workers."""
        if self.status == Status.running:
            if self._is_adapting:
                self._adaptive.active = False
            if "workers" not in RUN.open:
                RUN.say("scale", f"cluster.scale({n}) has no effect: {RUN.holds('workers')}")
        return super().scale(n, memory=memory, cores=cores)

    def wait_for_workers(self, n_workers: int, timeout: Any = None) -> Any:
        """Wait for workers: no more than an option of daskjob lets come."""
        most = RUN.own["workers"]
        if n_workers and not most and RUN.never_has_workers:
            raise TimeoutError(f"the run never has workers: {RUN.holds('workers')}")
        if "workers" not in RUN.open and most and isinstance(n_workers, int) and n_workers > most:
            RUN.say(
                "await", f"wait_for_workers({n_workers}) waits for {most}: {RUN.holds('workers')}"
            )
            n_workers = most
        return super().wait_for_workers(n_workers, timeout)

    async def scale_down(self, workers: Any) -> None:
        """Scale down by the number of these workers: a user's Adaptive names those of the run."""
        named = [name for name in set(workers) if name in self.worker_spec]
        others = [name for name in reversed(list(self.worker_spec)) if name not in named]
        for name in [*named, *others][: len(set(workers))]:
            del self.worker_spec[name]
        await self

    @property
    def observed(self) -> set[Any]:
        """The workers that are there, under the names of the specification."""
        return set(list(self.worker_spec)[: len(self.scheduler_info["workers"])])

    def adapt(self, *args: Any, **kwargs: Any) -> Any:
        """Let the run follow the scheduler's demand within these bounds.

        A class of the user's own adapts in the script's process, by ``scale``.
        """
        if not args and kwargs.get("Adaptive", Adaptive) is Adaptive:
            kwargs["Adaptive"] = RunAdaptive
        adaptive = super().adapt(*args, **kwargs)
        if isinstance(adaptive, RunAdaptive):
            self._adapt(adaptive)
        return adaptive

    def _adapt(self, adaptive: Any) -> None:
        least = int(adaptive.minimum)
        bounded = adaptive.maximum is not None and math.isfinite(adaptive.maximum)
        most = int(adaptive.maximum) if bounded else max(least, CPU_COUNT)
        if "workers" not in RUN.open:
            adaptive.active = False
            RUN.say("adapt", f"cluster.adapt(…) has no effect: {RUN.holds('workers')}")
            return
        if not bounded:
            RUN.say("adapt", f"cluster.adapt(…) without a maximum adds at most {most} workers")
        self._asked_for = None
        RUN.ask(**{**self._request(), "adapt": [least, most]})

    def _stop_adapting(self) -> None:
        if self.status == Status.running:
            self.scale(len(self.scheduler_info["workers"]))

    async def _close(self) -> None:
        """Disconnect; the run keeps its workers until the script ends, or asks for others."""
        if self._redirect is not None:
            self._redirect.stop()
            self._redirect = None
        if self.scheduler_comm:
            # The scheduler belongs to the run. (``shutdown_scheduler`` is newer than 2024.1.)
            self.scheduler_comm.terminate = nothing
        await super()._close()


async def nothing() -> None:
    """Do nothing."""


# They are what a script sees in messages, and by type(cluster).__name__.
RunCluster.__name__ = LocalCluster.__name__
RunCluster.__qualname__ = LocalCluster.__qualname__
RunCluster.__module__ = LocalCluster.__module__


def in_task() -> bool:
    """Return whether a task is calling: on a worker, clusters and clients are plain."""
    try:
        get_worker()
    except (ValueError, AttributeError):
        return False
    return True


def new_cluster(cls: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the run's cluster for a plain LocalCluster: ``LocalCluster.__new__``."""
    del args, kwargs
    return object.__new__(RunCluster if cls is LocalCluster and not in_task() else cls)


def client_init(init: Any) -> Any:
    """Return ``Client.__init__``, which makes a cluster where no address is given."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        try:
            call = signature.bind(self, *args, **kwargs)
        except TypeError:
            return init(self, *args, **kwargs)
        address = call.arguments.get("address")
        if isinstance(address, str) and address != RUN.address and has_long_timeout():
            call.arguments.setdefault("timeout", CONNECT_SECONDS)
        other = address is not None or call.arguments.get("scheduler_file") is not None
        if other or dask.config.get("scheduler-address", None) != RUN.address or in_task():
            return init(*call.args, **call.kwargs)
        # A wrong argument is an error before a thread is started: distributed's client cleans up
        # after itself only if it cannot connect.
        Shape(cluster_arguments(**call.arguments.get("kwargs", {}))).check_workers()
        if call.arguments.pop("security", None):
            RUN.say("security", "security has no effect: a run has no TLS, and listens here only")
        with dask.config.set({"scheduler-address": None}):
            return init(*call.args, **call.kwargs)

    return __init__


def has_long_timeout() -> bool:
    """Return whether connections have the run's timeout, which is for its own scheduler."""
    return bool(dask.config.get("distributed.comm.timeouts.connect") == RUN.connect_timeout)


def first_timeout(client: Any, timeout: Any) -> Any:
    """Return the timeout of a client's first connection to the run: the workers start meanwhile.

    A LocalCluster has started them before such a timeout begins.
    """
    if timeout is None or getattr(client, "_daskjob_connected", False):
        return timeout
    client._daskjob_connected = True
    return max(parse_timedelta(timeout), parse_timedelta(RUN.connect_timeout or 0))


def ensure_connected(connect: Any) -> Any:
    """Return ``Client._ensure_connected``, which waits for the run's workers.

    It explains why another address does not answer.
    """

    @functools.wraps(connect)
    async def _ensure_connected(self: Any, timeout: Any = None) -> Any:
        address = getattr(self, "_start_arg", None)
        if address == RUN.address or isinstance(self.cluster, RunCluster):
            timeout = first_timeout(self, timeout)
        try:
            return await connect(self, timeout)
        except OSError:
            if isinstance(address, str) and address != RUN.address:
                RUN.say(
                    "address",
                    f"no scheduler answers at {address}; the run's own has another address: "
                    "leave it out, Client() connects to it",
                )
            raise

    return _ensure_connected


def shutdown(plain: Any) -> Any:
    """Return ``Client._shutdown``, which does not wait for the run's scheduler to close."""

    @functools.wraps(plain)
    async def _shutdown(self: Any) -> Any:
        if not isinstance(self.cluster, RunCluster):
            return await plain(self)
        await self.cluster._close()
        return await self._close()

    return _shutdown


def install(path_at_start: Any) -> None:
    """Change distributed in this process."""
    global RUN
    RUN = Run(json.loads(os.environ[SETTINGS_VARIABLE]), path_at_start)
    LocalCluster.__new__ = staticmethod(new_cluster)
    Client.__init__ = client_init(Client.__init__)
    Client._shutdown = shutdown(Client._shutdown)
    Client._ensure_connected = ensure_connected(Client._ensure_connected)
