"""Starts the workers of a pod: ``dask worker``, whose nannies fork workers that have imported Dask.

Run by path, with the Python of the job, which may lack daskjob: ``python worker_launcher.py DEATHS
OPTION...``. It imports the standard library and distributed only, and works from Python 3.9 on.

A nanny starts each worker as a new Python, which imports Dask a second time: on a machine with few
processors, that doubles the time until the workers are there. Here the nanny's process forks a
fork server (multiprocessing's) as soon as Dask is imported, before there is any thread; workers are
forked from it. The fork server has its own process group, so that a SIGTERM for the pod reaches
only the nanny, which then closes its workers. Where the user configured
``distributed.worker.multiprocessing-method``, and on systems other than Linux, workers start as
Dask starts them.

A worker that dies is restarted by its nanny, and nothing outside would notice. DEATHS is the file
to which each death is appended, as a JSON object of one line: ``code`` (128 + N for signal N),
``at`` (seconds since the epoch), and after a death by the nanny's memory limit ``memory`` and
``limit`` in bytes.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import sys
import time

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the import
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn

#: Imported by a worker while it starts: before the fork, once for all workers of the pod.
MODULES = (
    "distributed.http.worker",
    "distributed.http.worker.prometheus.core",
    "distributed.shuffle._worker_plugin",
    "distributed.comm.tcp",
    "multiprocessing.popen_forkserver",
    "asyncio.staggered",
)


#: What the script changed before it made its cluster (``daskjob/in_script/inheritance.py``).
STATE_VARIABLE = "DASKJOB_INHERITED"
#: Set where the working directory is not on the path: for the servers of a script, which find the
#: script's folder by PYTHONPATH.
WITHOUT_CWD = "DASKJOB_WITHOUT_CWD"
#: The path of a socket has at most 107 bytes on Linux, "/listener-12345678" included.
SOCKET_FOLDER_LENGTH = 88
#: distributed.nanny.pre-spawn-environ, as distributed sets it where nothing else is configured.
PRE_SPAWN = {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1}


def launch(deaths: str, options: Sequence[str]) -> None:
    """Run ``dask worker`` with these options; return, or exit, when its workers are closed."""
    sys.argv = ["dask worker", *options]
    if __name__ == "__main__":  # in a fork, its parent has done it
        set_path(os.environ)
    os.environ.pop(WITHOUT_CWD, None)
    of_nanny = inherit(os.environ.pop(STATE_VARIABLE, ""))
    set_environment()
    from distributed.cli import dask_worker

    prepare_forks(os.path.dirname(os.path.abspath(deaths)))
    more = pickle.loads(of_nanny) if of_nanny else {}
    dask_worker.Nanny = reporting_nanny(configured_nanny(dask_worker.Nanny, more), deaths)
    ending = Ending(dask_worker.wait_for_signals)
    dask_worker.wait_for_signals = ending.wait_for_signals
    # Without it, multiprocessing would run this file in every worker.
    del sys.modules["__main__"].__file__
    try:
        dask_worker.main()
    except (Exception, SystemExit):
        # A nanny that is closed while it starts raises an error; the run itself ended it.
        if not ending.signalled:
            raise


def set_path(environment: Mapping[str, str]) -> None:
    """Remove the folder of this file from the path; the working directory replaces it, as with -m.

    With PYTHONSAFEPATH there is neither.
    """
    if getattr(sys.flags, "safe_path", False):
        return
    sys.path[:1] = [] if environment.get(WITHOUT_CWD) else [os.getcwd()]


def inherit(text: str) -> bytes:
    """Apply what the worker of a LocalCluster inherits of its script (``in_script``).

    Return the further arguments of its nanny, pickled: their classes may need Dask.
    """
    if not text:
        return b""
    import base64

    state = pickle.loads(base64.b85decode(text))
    if state["prefix"] == sys.prefix:
        sys.path[:] = state["path"]
    set_process(state)
    set_config(state)
    return bytes(state["options"])


def set_process(state: dict[str, Any]) -> None:
    """Set the umask, the priority, the limits and the processors, as far as it is allowed."""
    import resource

    if "umask" in state:
        os.umask(state["umask"])
    if "nice" in state:
        attempt(os.setpriority, os.PRIO_PROCESS, 0, state["nice"])
    for name, limits in state.get("limits", {}).items():
        attempt(resource.setrlimit, getattr(resource, name), tuple(limits))
    if state.get("affinity"):
        attempt(os.sched_setaffinity, 0, state["affinity"])


def attempt(function: Any, *arguments: Any) -> None:
    """Call a function; the worker works without its effect."""
    try:
        function(*arguments)
    except (OSError, ValueError):
        return


def set_config(state: dict[str, Any]) -> None:
    """Set values of Dask's configuration, and with them those of its workers.

    The defaults of distributed, whose import needs the environment, do not replace them later.
    """
    import dask

    for path, value in state["config"]:
        found = dask.config.config
        for key in path[:-1]:
            found = found.setdefault(dask.config.canonical_name(key, found), {})
        found[dask.config.canonical_name(path[-1], found)] = pickle.loads(value)


class Ending:
    """Records that a signal asked this process to end."""

    def __init__(self, wait: Any):
        self._wait = wait
        self.signalled = False

    async def wait_for_signals(self) -> int:
        """Wait for SIGINT or SIGTERM, as distributed does."""
        number = await self._wait()
        self.signalled = True
        # asyncio would report an interrupted start too, when its task is discarded.
        logging.getLogger("asyncio").disabled = True
        return int(number)


def set_environment() -> None:
    """Set the variables that libraries read when they are imported: distributed imports numpy."""
    import dask

    configured = dask.config.get("distributed.nanny.pre-spawn-environ", {}) or {}
    for name, value in {**PRE_SPAWN, **configured}.items():
        if value is not None:
            os.environ.setdefault(name, str(value))


def prepare_forks(folder: str) -> None:
    """Let the nannies of this process fork their workers, if nothing speaks against it.

    ``folder`` is for the fork server's socket.
    """
    import multiprocessing
    from importlib import import_module

    import dask
    import distributed.nanny
    import distributed.process

    if sys.platform != "linux":
        return
    if dask.config.get("distributed.worker.multiprocessing-method", "spawn") != "spawn":
        return
    for name in MODULES:
        try:
            import_module(name)
        except ImportError:
            continue
    try:
        start_fork_server(folder)
    except Exception as error:
        sys.stderr.write(f"daskjob: workers are not forked: {error!r}\n")
        return
    # Not by Dask's configuration: workers get that too, and clusters made by their tasks.
    context = multiprocessing.get_context("forkserver")
    for module in (distributed.nanny, distributed.process):
        module.get_mp_context = lambda: context


def start_fork_server(folder: str) -> None:
    """Start multiprocessing's fork server as a fork of this process, not as a new Python."""
    import threading
    from multiprocessing import forkserver, process, util

    if threading.active_count() > 1:
        raise RuntimeError(f"there are threads: {threading.enumerate()}")
    if len(folder) > SOCKET_FOLDER_LENGTH:
        folder = f"/proc/{os.getpid()}/fd/{os.open(folder, os.O_RDONLY)}"
    # Else multiprocessing makes a folder that stays where this process is killed.
    process.current_process()._config["tempdir"] = folder  # type: ignore[attr-defined]
    spawn = util.spawnv_passfds

    def fork(path: Any, arguments: Any, descriptors: Any) -> int:
        # The resource tracker is started in the same way, and shall be a Python of its own.
        if "multiprocessing.forkserver" not in str(arguments[-1]):
            return int(spawn(path, arguments, descriptors))
        return os.fork() or serve_forks(arguments[-1], descriptors)

    util.spawnv_passfds = fork  # type: ignore[assignment]
    try:
        forkserver.ensure_running()
    finally:
        util.spawnv_passfds = spawn


def serve_forks(program: str, descriptors: Sequence[int]) -> NoReturn:
    """Run the fork server's program with these descriptors, in the forked process."""
    code = 0
    try:
        os.setpgid(0, 0)
        # A copy of the nanny's end of a pipe would keep the server alive after the nanny's death.
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            if descriptor > 2 and descriptor not in descriptors:
                try:
                    os.close(descriptor)
                except OSError:
                    continue
        exec(program, {})
    except SystemExit:
        code = 0
    except BaseException:
        code = 1
        raise
    finally:
        os._exit(code)


def configured_nanny(nanny: Any, options: dict[str, Any]) -> Any:
    """Return a class of nannies with these arguments beside those of the command line."""

    class ConfiguredNanny(nanny):  # type: ignore[misc]
        """A nanny; the configuration sets what no option sets."""

        def __init__(self, *words: Any, **given: Any):
            # No option means no preloads; ``None`` means those of the configuration.
            for name in ("preload", "preload_nanny"):
                given[name] = given.get(name) or None
            super().__init__(*words, **{**given, **options})

    ConfiguredNanny.__name__ = nanny.__name__
    ConfiguredNanny.__qualname__ = nanny.__qualname__
    return ConfiguredNanny


def reporting_nanny(nanny: Any, deaths: str) -> Any:
    """Return a class of nannies that report the deaths of their workers."""

    class ReportingNanny(nanny):  # type: ignore[misc]
        """A nanny; its hooks that distributed does not call in some version report nothing."""

        _daskjob_kills = 0
        _daskjob_memory = 0

        async def instantiate(self, *words: Any, **options: Any) -> Any:
            """Start the worker, unless the nanny was closed meanwhile: nothing would end it."""
            if self.status.name in ("closing", "closed"):
                raise RuntimeError("the nanny is closed")
            return await super().instantiate(*words, **options)

        async def kill(self, *words: Any, **options: Any) -> Any:
            """Kill the worker on purpose: restarted by a client, or closed."""
            self._daskjob_kills += 1
            try:
                return await super().kill(*words, **options)
            finally:
                self._daskjob_kills -= 1

        def log_event(self, topic: Any, msg: Any) -> Any:
            """Record why the nanny ends a worker."""
            if topic == "worker-restart-memory" and isinstance(msg, dict):
                self._daskjob_memory = int(msg.get("rss") or 0)
            return super().log_event(topic, msg)

        def _on_worker_exit_sync(self, exitcode: Any) -> Any:
            if exitcode and not self._daskjob_kills:
                memory, self._daskjob_memory = self._daskjob_memory, 0
                limit = getattr(self.memory_manager, "memory_limit", None) or 0
                report(deaths, exitcode, memory, limit)
            return super()._on_worker_exit_sync(exitcode)

    ReportingNanny.__name__ = nanny.__name__
    ReportingNanny.__qualname__ = nanny.__qualname__
    return ReportingNanny


def report(deaths: str, exitcode: int, memory: int, limit: int) -> None:
    """Append one death to the file."""
    death = {"code": 128 - exitcode if exitcode < 0 else exitcode, "at": time.time()}
    if memory:
        death.update(memory=memory, limit=limit)
    try:
        with open(deaths, "a", encoding="ascii") as file:
            file.write(json.dumps(death) + "\n")
    except OSError:
        return


if __name__ == "__main__":
    launch(sys.argv[1], sys.argv[2:])
