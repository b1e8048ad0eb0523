"""Pods as processes: starts, restarts and stops them and writes their status, as a kubelet does.

Level-triggered, like a pass: ``sync`` compares every pod of the store with its processes, and acts.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import psutil

from daskjob.backends.local.config import Config, Facts, config_of, fill_volume
from daskjob.backends.local.deaths import Death, Deaths
from daskjob.backends.local.exit_text import failure_message, script_end
from daskjob.backends.local.log_file import PipedLog, RunLogs
from daskjob.backends.local.processes import (
    Command,
    Exited,
    FirstSignal,
    NotRunning,
    Processes,
    ProcessEvent,
    Started,
    SupervisorLost,
)
from daskjob.backends.local.script_output import ScriptOutput
from daskjob.backends.local.state import RunFolder
from daskjob.backends.local.translate import (
    ContainerProcess,
    Machine,
    Paths,
    container_process,
    deaths_file,
    declared_variables,
    expanded,
)
from daskjob.backends.local.uncaught import uncaught, uncaught_file
from daskjob.backends.store import ObjectStore
from daskjob.core import names
from daskjob.core.command_line import python_script, words
from daskjob.core.manifests import Manifest, controller_uid, format_time, metadata, object_ref
from daskjob.core.pods import pod_facts
from daskjob.core.quantity import format_bytes

#: Kubernetes' default time between SIGTERM and SIGKILL.
DEFAULT_GRACE_SECONDS = 30.0
#: The grace period of a worker whose cluster is gone, for the teardown of its plugins. A scheduler
#: gets none: its last output is of no use.
TEARDOWN_SECONDS = 0.25
#: The backoff before a container restarts: doubling, and reset after it has run for 60 s.
FIRST_RESTART_SECONDS = 0.2
LONGEST_RESTART_SECONDS = 30.0
STABLE_SECONDS = 60.0
#: How often the memory of workers is checked, and at which share of their limit they are killed
#: (distributed.worker.memory.terminate).
MEMORY_LOOK_SECONDS = 0.2
MEMORY_TERMINATE = 0.95
#: The end of the log that becomes a failed container's message.
LOG_TAIL_BYTES = 32 * 1024
#: Where a message file is cut: above the limit of a result, so that a longer one is detected.
MESSAGE_BYTES = 8192


@dataclass(slots=True)
class _Container:
    """The state of one container of a pod."""

    manifest: Manifest
    init: bool = False
    running: bool = False
    starting: bool = False
    started_at: datetime | None = None
    pid: int = 0
    restarts: int = 0
    ended: Manifest | None = None
    last: Manifest | None = None
    restart_at: datetime | None = None
    stop_sent: float | None = None
    memory_limit_bytes: int = 0
    out_of_memory: bool = False
    #: Deaths of its workers that their nannies report.
    deaths: Deaths | None = None
    #: The last of them since the container's process started.
    death: Death | None = None

    @property
    def name(self) -> str:
        return str(self.manifest["name"])


@dataclass(slots=True)
class _Pod:
    """The state of one pod."""

    uid: str
    containers: list[_Container]
    scratch: Path
    started_at: datetime | None = None
    #: Why the pod is being stopped permanently: a pod reason of Kubernetes.
    stopped: str = ""
    #: Whether it is ready, and when that last changed.
    ready: bool = False
    ready_changed_at: datetime | None = None
    paths: Paths = field(default_factory=Paths)


class Kubelet:
    """The pods of one run."""

    def __init__(
        self,
        store: ObjectStore,
        processes: Processes,
        folder: RunFolder,
        scratch: Path,
        machine: Machine,
        clock: Callable[[], datetime],
        *,
        logs: RunLogs,
        stdin: bool,
        output: ScriptOutput | None = None,
        script_environment: Callable[[Mapping[str, str]], Mapping[str, str]] = dict,
    ) -> None:
        self._logs = logs
        self._store = store
        self._processes = processes
        self._folder = folder
        self._scratch = scratch
        self._machine = machine
        self._clock = clock
        self._stdin = stdin
        #: Copies the script's output; without it, the script writes its log itself.
        self._output = output
        #: Completes the environment of the script's process.
        self._script_environment = script_environment
        self._pods: dict[str, _Pod] = {}
        self._ready: set[str] = set()
        self._changed = asyncio.Event()
        #: Set by a second Ctrl-C: all grace periods are 0.
        self.at_once = False
        #: The pipes to the logs of processes that run.
        self._piped: dict[str, PipedLog] = {}
        #: Logs that could not be written, reported once to the user.
        self.log_errors: list[str] = []
        #: How a script is asked to end; after Ctrl-C not by SIGTERM, which ends Python at once.
        self.first_signal: FirstSignal = "TERM"
        store.watch(self._store_changed)

    def _store_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        if (new or old or {}).get("kind") == "Pod":
            self._changed.set()

    def wake(self) -> None:
        """Request a sync of every pod."""
        self._changed.set()

    async def run(self) -> None:
        """Keep the processes in sync with the pods, until cancelled."""
        events = asyncio.create_task(self._listen())
        memory = asyncio.create_task(self._watch_memory())
        try:
            while True:
                self._changed.clear()
                next_at = await self.sync()
                timeout = None
                if next_at is not None:
                    timeout = max((next_at - self._clock()).total_seconds(), 0.001)
                # Not wait_for: before Python 3.12 it loses a cancellation along with the event.
                with suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await self._changed.wait()
        finally:
            for task in (events, memory):
                task.cancel()
            await asyncio.gather(events, memory, return_exceptions=True)

    def finish_logs(self) -> None:
        """Copy what processes that have ended left of their output to the logs."""
        for process in list(self._piped):
            self._piped.pop(process).finish()

    async def _listen(self) -> None:
        async for event in self._processes.events():
            self._handle(event)

    async def _watch_memory(self) -> None:
        """Kill workers without a nanny that exceed their memory limit; they are restarted.

        Record the deaths of workers that their nannies have restarted.
        """
        while True:
            await asyncio.sleep(MEMORY_LOOK_SECONDS)
            self._see_all_deaths()
            for pod in list(self._pods.values()):
                for container in pod.containers:
                    limit = container.memory_limit_bytes * MEMORY_TERMINATE
                    if limit and container.running and _resident_bytes(container.pid) > limit:
                        container.out_of_memory = True
                        name = f"{pod.uid}+{container.name}"
                        await self._processes.stop(name, grace_seconds=0)

    def script_pid(self) -> int | None:
        """Return the pid of the running script; ``None`` if there is none."""
        for pod in self._pods.values():
            for container in pod.containers:
                if container.running and self._is_script(pod, container):
                    return container.pid
        return None

    def _see_all_deaths(self) -> None:
        """Show the deaths that nannies have reported, in the pods' statuses."""
        for pod in list(self._pods.values()):
            manifest = self._manifest(pod.uid)
            seen = [self._see_deaths(pod, container) for container in pod.containers]
            if manifest is not None and any(seen):
                self._write_status(manifest, pod)

    def _see_deaths(self, pod: _Pod, container: _Container) -> bool:
        """Count each death of a worker that its nanny restarted as a restart of its container.

        Return whether there was one.
        """
        deaths = container.deaths.new() if container.deaths and not pod.stopped else []
        for death in deaths:
            container.last = _ended_by(death, container)
            container.restarts += 1
            container.started_at = death.at
            container.death = death
        if deaths:
            # Until the scheduler shows that the worker has registered again.
            self._ready = self._ready - {pod.uid}
            self._changed.set()
        return bool(deaths)

    def _is_script(self, pod: _Pod, container: _Container) -> bool:
        manifest = self._manifest(pod.uid)
        facts = pod_facts(manifest) if manifest else None
        if facts is None or facts.component != names.Component.RUNNER:
            return False
        return facts.main is not None and facts.main.name == container.name

    # Events of processes

    def _handle(self, event: ProcessEvent) -> None:
        if not isinstance(event, Started):
            # Before the end of the log becomes a message.
            piped = self._piped.pop(event.id, None)
            if piped is not None:
                piped.finish()
        found = self._container(event.id)
        if found is None:
            return
        pod, container = found
        if self._output is not None and self._is_script(pod, container):
            if isinstance(event, Started):
                self._output.started()
            else:
                # Before the end of its log becomes its message.
                self._output.finish()
        if isinstance(event, Exited):
            # Before the end of a script becomes its verdict, which names their causes.
            self._see_all_deaths()
        match event:
            case Started():
                container.starting, container.running = False, True
                container.started_at, container.pid = event.at, event.pid
                container.ended = container.death = None
                if event.log_error:
                    self.log_errors.append(event.log_error)
            case NotRunning():
                container.starting = container.running = False
                self._end(pod, container, 127, "StartError", event.error, self._clock())
            case Exited():
                container.running = False
                code = event.exit_code if event.exit_code is not None else 128 + (event.signal or 0)
                reason = "Completed" if code == 0 else "Error"
                message = self._message(pod, container, code)
                if container.out_of_memory:
                    container.out_of_memory = False
                    limit = format_bytes(container.memory_limit_bytes)
                    reason, message = "OOMKilled", f"it exceeded its memory limit of {limit}"
                elif container.death and container.death.made_nanny_fail(code, event.at):
                    code, reason = container.death.exit_code, container.death.reason
                    message = container.death.message
                self._end(pod, container, code, reason, message, event.at)
            case SupervisorLost():
                container.running = False
                self._end(pod, container, 137, "Error", event.error, event.at)
        self._changed.set()

    def _container(self, process_id: str) -> tuple[_Pod, _Container] | None:
        uid, _, name = process_id.partition("+")
        pod = self._pods.get(uid)
        container = next((c for c in pod.containers if c.name == name), None) if pod else None
        return (pod, container) if pod and container else None

    def _end(
        self,
        pod: _Pod,
        container: _Container,
        code: int,
        reason: str,
        message: str,
        at: datetime,
    ) -> None:
        container.stop_sent = None
        container.ended = {
            "exitCode": code,
            "reason": reason,
            "startedAt": format_time(container.started_at),
            "finishedAt": format_time(at),
            "containerID": _container_id(container),
        }
        if message:
            container.ended["message"] = message
        manifest = self._manifest(pod.uid)
        if manifest is None or pod.stopped or not _restarts(manifest, container, code):
            return
        ran = (at - container.started_at).total_seconds() if container.started_at else 0.0
        tries = 0 if ran >= STABLE_SECONDS else container.restarts
        wait = min(FIRST_RESTART_SECONDS * 2 ** min(tries, 10), LONGEST_RESTART_SECONDS)
        container.restart_at = at + timedelta(seconds=wait)

    def _message(self, pod: _Pod, container: _Container, code: int) -> str:
        """Return the container's termination message: what it wrote, or why it failed.

        Whatever its policy, a failed container without a message gets the end of its log.
        """
        written = _read(self._message_file(pod, container), MESSAGE_BYTES, from_end=False)
        if code == 0:
            return written
        log = self._log(pod, container)
        pending = self._logs.pending(log)[-LOG_TAIL_BYTES:].decode(errors="replace")
        output = pending.strip() or _read(log, LOG_TAIL_BYTES, from_end=True)
        end = self._script_end(pod, container, output) if code == 1 else ""
        return failure_message(written, output, end)

    def _script_end(self, pod: _Pod, container: _Container, output: str) -> str:
        """Return the exception that ended a script, or the text of its ``sys.exit``."""
        manifest = self._manifest(pod.uid)
        attempt = str((pod_facts(manifest).attempt if manifest else None) or 0)
        recorded = uncaught(uncaught_file(self._scratch, attempt), container.pid)
        script = python_script([str(word) for word in words(container.manifest)])
        return recorded or (script_end(self._machine.cwd / script, output) if script else "")

    def _message_file(self, pod: _Pod, container: _Container) -> Path:
        return pod.scratch / f"{container.name}.message"

    def _log(self, pod: _Pod, container: _Container) -> Path:
        manifest = self._manifest(pod.uid)
        if manifest is None:
            return Path("/dev/null")
        facts = pod_facts(manifest)
        main = facts.main.name if facts.main else ""
        name = "" if container.name == main else container.name
        return self._folder.log(facts.ref.name, name)

    # Sync

    async def sync(self) -> datetime | None:
        """Take the next step for every pod; return when the next sync is due by time alone."""
        moments: list[datetime | None] = []
        for manifest in [item for item in self._store.all() if item.get("kind") == "Pod"]:
            moments.append(await self._sync_pod(manifest))
        present = {str(metadata(item).get("uid")) for item in self._store.all()}
        for uid in [uid for uid in self._pods if uid not in present]:
            await self._stop(self._pods[uid], 0.0)
            if not any(c.running or c.starting for c in self._pods[uid].containers):
                self._forget(uid)
        return min((moment for moment in moments if moment is not None), default=None)

    async def _sync_pod(self, manifest: Manifest) -> datetime | None:
        facts = pod_facts(manifest)
        if facts.ended and not facts.deleting:
            return None
        pod = self._pods.get(facts.ref.uid) or self._prepare(manifest)
        now = self._clock()
        moment: datetime | None = None
        if facts.deleting:
            pod.stopped = pod.stopped or "Deleted"
            await self._stop(pod, self._grace(manifest))
            if not any(c.running or c.starting for c in pod.containers):
                self._store.remove(facts.ref)
                self._forget(facts.ref.uid)
                return None
        elif not pod.stopped:
            moment = self._deadline(manifest, pod)
            if moment is not None and now >= moment:
                pod.stopped = "DeadlineExceeded"
        if pod.stopped:
            await self._stop(pod, self._grace(manifest))
        else:
            restart = await self._start_what_is_due(manifest, pod, now)
            moment = min((m for m in (moment, restart) if m is not None), default=None)
        self._write_status(manifest, pod)
        return moment

    def _prepare(self, manifest: Manifest) -> _Pod:
        uid = object_ref(manifest).uid
        spec = manifest["spec"]
        scratch = self._scratch / uid[:8]
        scratch.mkdir(parents=True, exist_ok=True)
        pod = _Pod(
            uid=uid,
            containers=[
                *(_Container(c, init=True) for c in spec.get("initContainers") or ()),
                *(_Container(c) for c in spec.get("containers") or ()),
            ],
            scratch=scratch,
        )
        self._pods[uid] = pod
        return pod

    async def _start_what_is_due(
        self, manifest: Manifest, pod: _Pod, now: datetime
    ) -> datetime | None:
        pod.started_at = pod.started_at or now
        due: list[datetime] = []
        for container in pod.containers:
            if container.running or container.starting:
                if container.init:
                    return None
                continue
            if container.ended is not None and container.restart_at is None:
                if container.init and container.ended["exitCode"] != 0:
                    return None
                continue
            if container.restart_at is not None and now < container.restart_at:
                due.append(container.restart_at)
                if container.init:
                    break
                continue
            await self._start(manifest, pod, container)
            if container.init:
                return None
        return min(due, default=None)

    async def _start(self, manifest: Manifest, pod: _Pod, container: _Container) -> None:
        if container.ended is not None:
            container.last, container.ended = container.ended, None
            container.restarts += 1
        container.restart_at = None
        message_file = self._message_file(pod, container)
        message_file.unlink(missing_ok=True)
        try:
            paths = self._mounts(manifest, container.manifest, pod)
            process = container_process(
                container.manifest, manifest, self._machine, paths, message_file
            )
            _write_programs(process)
        except (OSError, ValueError) as error:
            self._end(pod, container, 128, "StartError", str(error), self._clock())
            return
        if not process.argv:
            message = "there is neither a command nor args, and images are not used here"
            self._end(pod, container, 128, "StartError", message, self._clock())
            return
        container.starting = True
        container.memory_limit_bytes = process.memory_limit_bytes
        if pod_facts(manifest).component == names.Component.WORKER:
            container.deaths = container.deaths or Deaths(deaths_file(message_file))
        try:
            command = self._command(manifest, pod, container, process)
        except OSError as error:
            container.starting = False
            self._end(pod, container, 128, "StartError", str(error), self._clock())
            return
        await self._processes.start(command)

    def _command(
        self, manifest: Manifest, pod: _Pod, container: _Container, process: ContainerProcess
    ) -> Command:
        facts = pod_facts(manifest)
        main = facts.main is not None and facts.main.name == container.name
        # A later attempt would find only the rest of it: nothing, or half a line.
        name = f"{pod.uid}+{container.name}"
        log = self._log(pod, container)
        env = process.env
        declared = {variable.get("name") for variable in container.manifest.get("env") or ()}
        if facts.component == names.Component.SCHEDULER and "TMPDIR" not in declared:
            # It imports the agent's text from a temporary file, and Python caches that beside it.
            env = {**env, "TMPDIR": str(pod.scratch)}
        is_script = facts.component == names.Component.RUNNER and main
        inherits = self._stdin and is_script and facts.attempt == 0
        streams = None
        if self._output is not None and is_script:
            streams = self._output.open(log, inherits_stdin=inherits)
        return Command(
            id=name,
            argv=process.argv,
            env=self._script_environment(env) if is_script else env,
            cwd=process.cwd,
            log=log if is_script else self._pipe(name, pod, container, log),
            stdin="inherit" if inherits else "null",
            streams=streams,
        )

    def _pipe(self, process: str, pod: _Pod, container: _Container, log: Path) -> Path:
        """Return the pipe to a log; the log itself where there are no pipes."""
        pipe = pod.scratch / f"{container.name}.log"
        try:
            self._piped[process] = PipedLog(pipe, self._logs.log(log))
        except OSError:
            return log
        return pipe

    def _mounts(self, manifest: Manifest, container: Manifest, pod: _Pod) -> Paths:
        """Return the folders, or the files, that replace the container's volumes."""
        volumes = {v.get("name"): v for v in manifest["spec"].get("volumes") or ()}
        config, facts = self._config(manifest), Facts(self._machine.memory_bytes)
        mounts: dict[str, Path] = {}
        for mount in container.get("volumeMounts") or ():
            volume = volumes.get(mount.get("name")) or {}
            folder = pod.scratch / f"volume-{mount.get('name')}"
            if not fill_volume(volume, folder, container, manifest, config, facts):
                continue
            within = str(mount.get("subPath") or "")
            if mount.get("subPathExpr"):
                variables = declared_variables(container, manifest, self._machine)
                within = expanded(str(mount["subPathExpr"]), variables)
            if within and "emptyDir" in volume:
                (folder / within).mkdir(parents=True, exist_ok=True)
            mounts[str(mount["mountPath"]).rstrip("/")] = folder / within
        return Paths({path: place for path, place in mounts.items() if path})

    def _config(self, manifest: Manifest) -> Config:
        """Return the ConfigMaps and Secrets that a pod finds.

        They are those of the file, and the ConfigMap that a pass creates of ``job.files``.
        """
        namespace = object_ref(manifest).namespace
        created = [item for item in self._store.all() if item.get("kind") == "ConfigMap"]
        return Config({**config_of(created, namespace).data, **self._machine.config.data})

    def _deadline(self, manifest: Manifest, pod: _Pod) -> datetime | None:
        seconds = manifest["spec"].get("activeDeadlineSeconds")
        if not isinstance(seconds, int) or pod.started_at is None:
            return None
        return pod.started_at + timedelta(seconds=seconds)

    def _grace(self, manifest: Manifest) -> float:
        if self.at_once:
            return 0.0
        owner = controller_uid(manifest)
        if not any(metadata(item).get("uid") == owner for item in self._store.all()):
            is_worker = pod_facts(manifest).component == names.Component.WORKER
            return TEARDOWN_SECONDS if is_worker else 0.0
        seconds = manifest["spec"].get("terminationGracePeriodSeconds")
        return float(seconds) if isinstance(seconds, int) else DEFAULT_GRACE_SECONDS

    async def _stop(self, pod: _Pod, grace_seconds: float) -> None:
        for container in pod.containers:
            container.restart_at = None
            if not container.running:
                continue
            if container.stop_sent is not None and container.stop_sent <= grace_seconds:
                continue
            container.stop_sent = grace_seconds
            await self._processes.stop(
                f"{pod.uid}+{container.name}",
                grace_seconds=grace_seconds,
                first=self.first_signal if self._is_script(pod, container) else "TERM",
            )

    def _forget(self, uid: str) -> None:
        pod = self._pods.pop(uid)
        self._ready.discard(uid)
        shutil.rmtree(pod.scratch, ignore_errors=True)

    # Status

    def set_ready(self, uids: set[str]) -> None:
        """Set which pods are ready: schedulers that answer, workers registered with them."""
        if uids != self._ready:
            self._ready = uids
            self._changed.set()

    def _manifest(self, uid: str) -> Manifest | None:
        return next((i for i in self._store.all() if metadata(i).get("uid") == uid), None)

    def _write_status(self, manifest: Manifest, pod: _Pod) -> None:
        status = self._status(manifest, pod)
        current = self._manifest(pod.uid)
        if current is not None and current.get("status") != status:
            self._store.write_status(object_ref(current), status)

    def _status(self, manifest: Manifest, pod: _Pod) -> Manifest:
        main = [c for c in pod.containers if not c.init]
        running = any(c.running for c in main)
        over = not any(c.running or c.starting or c.restart_at for c in pod.containers)
        failed_init = any(
            c.init and c.ended and c.ended["exitCode"] and not c.restart_at for c in pod.containers
        )
        ended = over and (all(c.ended for c in main) or failed_init or bool(pod.stopped))
        component = pod_facts(manifest).component
        ready = running and (
            pod.uid in self._ready
            or component not in (names.Component.SCHEDULER, names.Component.WORKER)
        )
        if ready is not pod.ready or pod.ready_changed_at is None:
            pod.ready, pod.ready_changed_at = ready, self._clock()
        phase = "Running" if running or any(c.ended or c.last for c in main) else "Pending"
        status: Manifest = {
            "phase": phase,
            "podIP": "127.0.0.1",
            "startTime": format_time(pod.started_at),
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {
                    "type": "Ready",
                    "status": "True" if ready else "False",
                    "lastTransitionTime": format_time(pod.ready_changed_at),
                },
            ],
            "containerStatuses": [_container_status(c, ready=ready) for c in main],
        }
        init = [_container_status(c, ready=False) for c in pod.containers if c.init]
        if init:
            status["initContainerStatuses"] = init
        if ended:
            good = not pod.stopped and all(c.ended and c.ended["exitCode"] == 0 for c in main)
            status["phase"] = "Succeeded" if good else "Failed"
            if pod.stopped and pod.stopped != "Deleted":
                status["reason"] = pod.stopped
        return status


def _write_programs(process: ContainerProcess) -> None:
    for path, text in process.programs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)


def _ended_by(death: Death, container: _Container) -> Manifest:
    """Return a death as the state of an ended container."""
    return {
        "exitCode": death.exit_code,
        "reason": death.reason,
        "message": death.message,
        "startedAt": format_time(container.started_at),
        "finishedAt": format_time(death.at),
        "containerID": _container_id(container),
    }


def _restarts(manifest: Manifest, container: _Container, code: int) -> bool:
    """Return whether an ended container is restarted, by its pod's restart policy."""
    policy = manifest["spec"].get("restartPolicy") or "Always"
    if container.init:
        return code != 0 and policy != "Never"
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def _container_id(container: _Container) -> str:
    return f"process://{container.pid}-{container.restarts}"


def _container_status(container: _Container, *, ready: bool) -> Manifest:
    status: Manifest = {
        "name": container.name,
        "ready": ready and container.running,
        "restartCount": container.restarts,
    }
    if container.running:
        status["state"] = {"running": {"startedAt": format_time(container.started_at)}}
        status["containerID"] = _container_id(container)
    elif container.ended is not None and container.restart_at is None:
        status["state"] = {"terminated": container.ended}
        status["containerID"] = container.ended["containerID"]
    elif container.ended is not None:
        status["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    else:
        status["state"] = {"waiting": {"reason": "ContainerCreating"}}
    last = container.ended if container.restart_at is not None else container.last
    if last is not None:
        status["lastState"] = {"terminated": last}
    return status


def _read(path: Path, limit: int, *, from_end: bool) -> str:
    try:
        with path.open("rb") as file:
            if from_end:
                file.seek(0, 2)
                file.seek(max(file.tell() - limit, 0))
            data = file.read(limit)
    except OSError:
        return ""
    return data.decode(errors="replace").strip()


def _resident_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
