"""Pods as processes: starts, restarts and stops them and writes their status, as a kubelet does.

Level-triggered, like a pass: ``sync`` compares every pod of the store with its processes, and acts.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import psutil

from daskjob.backends.local.container_setup import ContainerSetup, runs_script
from daskjob.backends.local.log_file import RunLogs
from daskjob.backends.local.pod_state import Container, Pod, container_id, ended_by, pod_status
from daskjob.backends.local.processes import (
    Exited,
    FirstSignal,
    NotRunning,
    Processes,
    ProcessEvent,
    Started,
    SupervisorLost,
)
from daskjob.backends.local.run_environment import KILLED, RunEnvironment
from daskjob.backends.local.run_folder import RunFolder
from daskjob.backends.local.script_output import ScriptOutput
from daskjob.backends.local.translate import Machine
from daskjob.backends.store import ObjectStore
from daskjob.core import names
from daskjob.core.manifests import Manifest, controller_uid, format_time, metadata, object_ref
from daskjob.core.names import ENVIRONMENT_CONTAINER
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
        environment: RunEnvironment | None = None,
    ) -> None:
        self._store = store
        self._processes = processes
        self._scratch = scratch
        self._clock = clock
        self._containers = ContainerSetup(
            *(store, folder, machine, scratch),
            logs=logs,
            stdin=stdin,
            output=output,
            script_environment=script_environment,
            environment=environment,
        )
        #: What is prepared before the containers of any pod start; ``None``: nothing.
        self._environment = environment
        self._preparing: set[asyncio.Task[None]] = set()
        #: Copies the script's output; without it, the script writes its log itself.
        self._output = output
        self._pods: dict[str, Pod] = {}
        self._ready: set[str] = set()
        self._forking: set[asyncio.Task[Started | NotRunning]] = set()
        self._changed = asyncio.Event()
        #: Set by a second Ctrl-C: all grace periods are 0.
        self.at_once = False
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
        for watcher in (events, memory):
            watcher.add_done_callback(lambda _: self.wake())
        try:
            while True:
                for watcher in (events, memory):
                    if watcher.done():
                        watcher.result()  # without them, a run might never end
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
            tasks = (events, memory, *self._forking, *self._preparing)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def finish_logs(self) -> None:
        """Copy what processes that have ended left of their output to the logs."""
        self._containers.finish_logs()

    async def _listen(self) -> None:
        async for event in self._processes.events():
            # How processes end with a lost supervisor is not their own doing: the run ends.
            if not self._processes.is_ending:
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
                        await self._processes.stop(pod.process(container), grace_seconds=0)

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

    def _see_deaths(self, pod: Pod, container: Container) -> bool:
        """Count each death of a worker that its nanny restarted as a restart of its container.

        Return whether there was one.
        """
        deaths = container.deaths.new() if container.deaths and not pod.stopped else []
        for death in deaths:
            container.last = ended_by(death, container)
            container.restarts += 1
            container.started_at = death.at
            container.death = death
        if deaths:
            # Until the scheduler shows that the worker has registered again.
            self._ready = self._ready - {pod.uid}
            self._changed.set()
        return bool(deaths)

    def _is_script(self, pod: Pod, container: Container) -> bool:
        manifest = self._manifest(pod.uid)
        return manifest is not None and runs_script(pod_facts(manifest), container)

    # Events of processes

    def _handle(self, event: ProcessEvent) -> None:
        if not isinstance(event, Started):
            # Before the end of the log becomes a message.
            self._containers.finish_log(event.id)
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
                # A stop that was sent before may have found nothing to stop.
                container.stop_sent = None
                if event.log_error:
                    self.log_errors.append(event.log_error)
            case NotRunning():
                container.starting = container.running = False
                self._end(pod, container, 127, "StartError", event.error, self._clock())
            case Exited():
                container.running = False
                code = event.exit_code if event.exit_code is not None else 128 + (event.signal or 0)
                reason = "Completed" if code == 0 else "Error"
                message = self._containers.message(self._manifest(pod.uid), pod, container, code)
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

    def _container(self, process_id: str) -> tuple[Pod, Container] | None:
        uid, _, name = process_id.partition("+")
        pod = self._pods.get(uid)
        container = next((c for c in pod.containers if c.name == name), None) if pod else None
        return (pod, container) if pod and container else None

    def _end(
        self,
        pod: Pod,
        container: Container,
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
            "containerID": container_id(container),
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

    def _prepare(self, manifest: Manifest) -> Pod:
        uid = object_ref(manifest).uid
        spec = manifest["spec"]
        scratch = self._scratch / uid[:8]
        scratch.mkdir(parents=True, exist_ok=True)
        pod = Pod(
            uid=uid,
            containers=[
                *([_preparation()] if self._environment else ()),
                *(Container(c, init=True) for c in spec.get("initContainers") or ()),
                *(Container(c) for c in spec.get("containers") or ()),
            ],
            scratch=scratch,
        )
        self._pods[uid] = pod
        return pod

    async def _start_what_is_due(
        self, manifest: Manifest, pod: Pod, now: datetime
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

    async def _start(self, manifest: Manifest, pod: Pod, container: Container) -> None:
        if container.ended is not None:
            container.last, container.ended = container.ended, None
            container.restarts += 1
        container.restart_at = None
        if self._environment is not None and container.name == ENVIRONMENT_CONTAINER:
            self._start_preparation(self._environment, pod, container)
            return
        try:
            commands = self._containers.prepare(manifest, pod, container)
        except (OSError, ValueError) as error:
            self._end(pod, container, 128, "StartError", str(error), self._clock())
            return
        container.starting = True
        for command in commands:
            start = self._processes.start(command)
            if command.fork:
                # Its parent may still be importing Dask, and other pods do not wait for that.
                task = asyncio.create_task(start)
                self._forking.add(task)
                task.add_done_callback(self._forking.discard)
            else:
                await start

    def _start_preparation(
        self, environment: RunEnvironment, pod: Pod, container: Container
    ) -> None:
        """Prepare the run's packages and code, as an init container does it in a pod."""
        container.started_at = self._clock()
        container.running = True

        async def prepare() -> None:
            code, message = await environment.prepare()
            if container.running:
                container.running = False
                reason = "Error" if code else "Completed"
                self._end(pod, container, code, reason, message, self._clock())
                self._changed.set()

        task = asyncio.create_task(prepare())
        self._preparing.add(task)
        task.add_done_callback(self._preparing.discard)

    def _deadline(self, manifest: Manifest, pod: Pod) -> datetime | None:
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

    async def _stop(self, pod: Pod, grace_seconds: float) -> None:
        for container in pod.containers:
            container.restart_at = None
            if not container.running and not container.starting:
                continue
            if container.stop_sent is not None and container.stop_sent <= grace_seconds:
                continue
            if container.name == ENVIRONMENT_CONTAINER:
                # Another pod may wait for the same; the end of the run ends it.
                container.running = False
                self._end(pod, container, KILLED, "Error", "", self._clock())
                self._changed.set()
                continue
            container.stop_sent = grace_seconds
            await self._processes.stop(
                pod.process(container),
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

    def _write_status(self, manifest: Manifest, pod: Pod) -> None:
        known_ready = pod.uid in self._ready
        status = pod_status(manifest, pod, known_ready=known_ready, now=self._clock())
        current = self._manifest(pod.uid)
        if current is not None and current.get("status") != status:
            self._store.write_status(object_ref(current), status)


def _preparation() -> Container:
    """Return the container that prepares a pod; it is in no manifest of this machine."""
    return Container({"name": ENVIRONMENT_CONTAINER}, init=True)


def _restarts(manifest: Manifest, container: Container, code: int) -> bool:
    """Return whether an ended container is restarted, by its pod's restart policy."""
    policy = manifest["spec"].get("restartPolicy") or "Always"
    if container.init:
        return code != 0 and policy != "Never"
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def _resident_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
