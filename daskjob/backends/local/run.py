"""One job from its first to its last process on this machine.

``LocalRun`` owns the job's folder and lock, its ports and its processes. When ``run`` returns or
raises, none of the processes remains.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from daskjob.backends.local.arrivals import ArrivalRecorder
from daskjob.backends.local.asked_changes import apply_asked
from daskjob.backends.local.backend import LocalBackend
from daskjob.backends.local.config import Config, config_of
from daskjob.backends.local.killed_run import killed, lost_message
from daskjob.backends.local.known_runs import folders_of
from daskjob.backends.local.kubelet import Kubelet
from daskjob.backends.local.last_tasks import Wait
from daskjob.backends.local.log_file import RunLogs
from daskjob.backends.local.ports import LOOPBACK, reserve
from daskjob.backends.local.processes import FirstSignal, Processes
from daskjob.backends.local.retention import Limits, limits_from, prune, shorten
from daskjob.backends.local.run_environment import Packages, RunCode, RunEnvironment, wanted_by
from daskjob.backends.local.run_folder import RunFolder, new_folder, run_marker
from daskjob.backends.local.scratch import named_by_workers, temporary_directory
from daskjob.backends.local.scratch_mark import SCRATCH_PREFIX
from daskjob.backends.local.script_cluster import ScriptCluster
from daskjob.backends.local.script_output import ScriptOutput
from daskjob.backends.local.startable import absent_scripts, check_startable
from daskjob.backends.local.state_root import exclusive
from daskjob.backends.local.translate import Machine, unsupported
from daskjob.backends.local.worker_start import expected_workers
from daskjob.backends.passes import SerialPasses
from daskjob.core import names
from daskjob.core.dask import DaskState
from daskjob.core.desired.pods import dashboard_url
from daskjob.core.desired.service import dashboard_port
from daskjob.core.errors import ApiError, Conflict, FieldError, Invalid
from daskjob.core.manifests import Key, Manifest, format_time, object_ref, whole_seconds
from daskjob.core.pods import pod_facts
from daskjob.core.policies.cancel import cancel_message
from daskjob.core.reasons import Reason
from daskjob.core.spec import ClusterSpec, DaskJob, parse
from daskjob.core.status import JobStatus, job_status_from

#: How often the run checks whether another process asked it to cancel.
CANCEL_LOOK_SECONDS = 0.2
#: How often the folder gets a sign of life; the last one dates the death of a killed run.
LIFE_SECONDS = 2.0
#: How often the run checks whether the script asked for other workers.
REQUEST_LOOK_SECONDS = 0.1
#: How long the objects of an ended job may take to terminate before they are killed.
CLEANUP_SECONDS = 120.0
#: Kubernetes' own, without vowels: Python warns about a keyword that follows a digit.
SUFFIX_CHARACTERS = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a run, for display."""

    status: JobStatus
    dask: DaskState | None
    #: The log of the runner of the current, or last, attempt; it may not exist yet.
    log: Path | None
    attempt: int
    desired_workers: int
    ready_workers: int
    dashboard_url: str = ""
    #: What has happened before the processes start, such as an installation.
    activities: tuple[str, ...] = ()


def prepare_run(
    manifest: Manifest,
    *,
    root: Path,
    cwd: Path,
    environment: Mapping[str, str],
    variables: Mapping[str, str],
    config: Sequence[Manifest] = (),
    python: str = sys.executable,
    dask_python: str = sys.executable,
    packages: Packages | None = None,
) -> LocalRun:
    """Return a run of a valid manifest, with its folder; no process is started yet.

    ``variables`` has the values of environment variables that the manifest only names; ``config``
    are the ConfigMaps and Secrets beside it; ``python`` runs the script, ``dask_python`` the rest;
    ``packages`` are those of ``spec.environment``, where they were installed before.

    Raises
    ------
    Invalid
        The manifest is invalid, or asks for something that a machine can never do.
    Conflict
        A job of this name is already running here.
    InvalidLimit
        A limit in the environment is not a number, or not a size.
    """
    limits = limits_from(environment)
    prepared = _prepared(manifest)
    job = parse(DaskJob, prepared)
    _check_for_this_machine(job)
    held = config_of(config, job.meta.namespace)
    check_startable(job, held, environment)
    _check_name_is_free(root, job.meta.name)
    lacking = unsupported(job)
    notes = ["not on this machine: " + "; ".join(lacking)] if lacking else []
    notes += absent_scripts(job, cwd)
    folder = _make_folder(root, job, notes, size=len(json.dumps(prepared)))
    given = Given(environment, variables, held, python, dask_python, packages)
    return LocalRun(prepared, folder, cwd=cwd, given=given, notes=notes, limits=limits)


@dataclass(frozen=True, slots=True)
class Given:
    """What the user gives to the processes of a run."""

    environment: Mapping[str, str]
    #: The values of variables that the manifest only names.
    variables: Mapping[str, str]
    #: The ConfigMaps and Secrets of the job's file.
    config: Config
    #: The Python of the script, and that of the scheduler and the workers.
    python: str
    dask_python: str
    #: The packages of ``spec.environment``, if they were installed before.
    packages: Packages | None = None


def _make_folder(root: Path, job: DaskJob, notes: list[str], *, size: int) -> RunFolder:
    """Return the run's folder; a temporary one where the state directory cannot be used."""
    try:
        return new_folder(root, job.meta.name, job.meta.uid, size=size)
    except OSError as error:
        temporary = Path(tempfile.mkdtemp(prefix="daskjob-"))
        notes.append(
            f"the state directory {root} cannot be used ({error.strerror or error}); "
            f"logs go to {temporary}, and later commands will not find the job"
        )
        return new_folder(temporary, job.meta.name, job.meta.uid, size=size)


class LocalRun:
    """A job on this machine; ``prepare_run`` creates it."""

    def __init__(
        self,
        manifest: Manifest,
        folder: RunFolder,
        *,
        cwd: Path,
        given: Given,
        notes: list[str],
        limits: Limits,
    ) -> None:
        self._limits = limits
        self._logs = RunLogs(limits.log_bytes)
        self._manifest = manifest
        self.job: DaskJob = parse(DaskJob, manifest)
        self.folder = folder
        #: Notes for the user before the job starts, one sentence each.
        self.notes = notes
        self._given = given
        self._cwd = cwd
        self._cancelled = False
        self._cancelled_by = ""
        self._backend: LocalBackend | None = None
        self._kubelet: Kubelet | None = None
        self._processes: Processes | None = None
        #: Copies what the script prints; the screen, if any, is its sink.
        self.output = ScriptOutput(self._logs.log)
        self._first_signal: FirstSignal = "TERM"
        self._last: Manifest = self._manifest
        self._environment: RunEnvironment | None = None
        #: Folders in which workers write since the script named them.
        self._directories: set[Path] = set()

    @property
    def key(self) -> Key:
        """The job's key."""
        return Key(names.Kind.JOB, self.job.meta.namespace, self.job.meta.name)

    @property
    def manifest(self) -> Manifest:
        """The job with its current status."""
        if self._backend is not None:
            found = self._backend.store.get(self.key)
            if found is not None:
                self._last = found
        return self._last

    @property
    def troubles(self) -> list[str]:
        """Problems outside the job itself: logs or a status that could not be written."""
        found = list(self._backend.troubles) if self._backend else []
        found += self._kubelet.log_errors if self._kubelet else []
        found += [self._environment.note] if self._environment and self._environment.note else []
        return list(dict.fromkeys([*found, *self._logs.errors]))

    def cancel(self, first: FirstSignal = "TERM", *, by: str = "") -> None:
        """Cancel the job: its runner gets a signal and its grace period; ``by`` is who did it."""
        if not self._cancelled:
            self._first_signal = first
            if self._kubelet is not None:
                self._kubelet.first_signal = first
        self._cancelled = True
        if self._environment is not None:
            self._environment.cancel()
        self._cancelled_by = self._cancelled_by or by
        job = self._backend.store.get(self.key) if self._backend else None
        if self._backend and job is not None and not job["spec"].get("cancel"):
            note = {names.ANNOTATION_CANCELLED_BY: self._cancelled_by} if self._cancelled_by else {}
            change = {"metadata": {"annotations": note}, "spec": {"cancel": True}}
            self._backend.store.patch(object_ref(job), change)

    def kill(self) -> None:
        """Cancel the job without any grace period."""
        self.cancel()
        if self._kubelet is not None:
            self._kubelet.at_once = True
            self._kubelet.wake()

    @property
    def last_tasks(self) -> Wait | None:
        """The wait for tasks after the end of the script; ``None``: there is none."""
        return self._backend.last_tasks if self._backend else None

    @property
    def is_cancelled(self) -> bool:
        """Whether the job was asked to end."""
        return self._cancelled

    @property
    def given_up_tasks(self) -> int:
        """The number of fire_and_forget tasks that did not finish in time after the script."""
        return self._backend.given_up if self._backend else 0

    def script_pid(self) -> int | None:
        """Return the process of the script, which leads its group; ``None`` if none runs."""
        return self._kubelet.script_pid() if self._kubelet else None

    def restore_when_lost(self, attributes: list[Any] | None) -> None:
        """Have the terminal's attributes restored, should this process be killed."""
        if self._processes is not None:
            self._processes.restore_when_lost(attributes)

    def snapshot(self) -> Snapshot:
        """Return the state of the run."""
        status = job_status_from(self.manifest.get("status"))
        backend = self._backend
        pods = [p for p in backend.store.all() if p.get("kind") == "Pod"] if backend else []
        facts = [pod_facts(pod) for pod in pods]
        workers = [pod for pod in facts if pod.component == names.Component.WORKER and pod.alive]
        runners = [pod for pod in facts if pod.component == names.Component.RUNNER]
        newest = max(runners, key=lambda pod: pod.attempt or 0, default=None)
        known = [attempt.number for attempt in status.attempts[-1:]]
        attempt = newest.attempt or 0 if newest else (known[0] if known else status.attempt)
        dask = list(backend.dask.values()) if backend else []
        cluster = self.job.cluster
        return Snapshot(
            status=status,
            dask=dask[-1] if dask else None,
            log=self.folder.log(names.runner_name(self.job.meta.name, attempt)),
            attempt=attempt,
            desired_workers=_desired_workers(cluster, backend) if cluster else 0,
            ready_workers=sum(1 for pod in workers if pod.ready),
            dashboard_url=status.dashboard_url or self._dashboard_url(),
            activities=self._environment.activities if self._environment else (),
        )

    def _dashboard_url(self) -> str:
        """Return the URL that the status will have: it is known before the scheduler starts."""
        cluster, meta = self.job.cluster, self.job.meta
        if cluster is None or self._backend is None:
            return ""
        port = dashboard_port(cluster.service)
        platform, scheduler = self._backend.platform, cluster.scheduler
        return dashboard_url(platform, self.job.cluster_name, meta.namespace, scheduler, port)

    async def run(self) -> Manifest:
        """Run the job to its end and return it with its terminal status.

        Raises
        ------
        ApiError
            This machine cannot provide the ports or processes.
        """
        scratch = self._make_scratch()
        with contextlib.suppress(OSError):
            self.folder.remember_scratch(scratch)
        try:
            with self._registered(), reserve(2) as ports:
                comm, dashboard = (f"{LOOPBACK}:{port}" for port in ports.ports)
                backend = LocalBackend(
                    self.folder,
                    comm,
                    dashboard,
                    memory_bytes=machine_memory_bytes(),
                    is_script=names.ANNOTATION_SCRIPT in self.job.meta.annotations,
                )
                ports.make_way(*ports.ports)
                await self._run(backend, comm, dashboard, scratch)
        except OSError as error:
            raise ApiError(f"this machine cannot start the job: {error}") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            for named in named_by_workers(self.job.cluster, self._given.variables):
                shutil.rmtree(self._cwd / named / scratch.name, ignore_errors=True)
            for directory in self._directories:
                shutil.rmtree(directory, ignore_errors=True)
            self.folder.remove_scratch()
            with contextlib.suppress(OSError):
                self.folder.release_reserve()
            self._logs.close()
        return self._last

    def _make_scratch(self) -> Path:
        try:
            return temporary_directory(
                self.job.cluster,
                {**self._given.environment, **self._given.variables},
                self._cwd,
                prefix=f"{SCRATCH_PREFIX}{self.job.meta.name}-",
            )
        except OSError as error:
            raise ApiError(f"there is no place for temporary files: {error}") from error

    def tidy(self) -> None:
        """Shorten the logs of the ended run, and remove the oldest runs above the limits."""
        for log in self.folder.logs.glob("*.log"):
            with contextlib.suppress(OSError):
                shorten(log, self._limits.log_bytes)
        with contextlib.suppress(OSError):
            prune(self.folder.path.parent, self._limits)

    @contextlib.contextmanager
    def _registered(self) -> Iterator[None]:
        """Hold the job's folder, and with it its name: no two jobs of a name run concurrently.

        Raises
        ------
        Conflict
            A job of this name was started at the same moment.
        """
        root = self.folder.path.parent
        with contextlib.ExitStack() as held:
            with contextlib.ExitStack() as registering:
                with contextlib.suppress(OSError):
                    registering.enter_context(exclusive(root))
                try:
                    _check_name_is_free(root, self.job.meta.name)
                except Conflict:
                    self.folder.remove()
                    raise
                held.enter_context(self.folder.held())
                with contextlib.suppress(OSError):
                    # From now on the name is taken for others.
                    self.folder.write_job(self._manifest)
            yield

    async def _run(self, backend: LocalBackend, comm: str, dashboard: str, scratch: Path) -> None:
        self._backend = backend
        memory = machine_memory_bytes()
        cluster = ScriptCluster(
            self.job, self._manifest, scratch, cwd=self._cwd, memory_bytes=memory
        )
        self._directories = cluster.directories
        self._environment = self._environment_of(scratch)
        passes = SerialPasses(backend)
        async with Processes(run_marker(self.job.meta.uid)) as processes:
            self._processes = processes
            await processes.remove_when_lost(scratch)
            self._kubelet = Kubelet(
                backend.store,
                processes,
                self.folder,
                scratch,
                self._machine(comm, dashboard, scratch),
                backend.clock,
                logs=self._logs,
                stdin=not _is_terminal(0),
                output=self.output,
                script_environment=partial(cluster.environment, comm=comm, dashboard=dashboard),
                environment=self._environment,
            )
            self._kubelet.first_signal = self._first_signal
            backend.kubelet = self._kubelet
            backend.on_last_tasks = lambda: self.output.on_change()
            created = backend.store.create(self._manifest)
            backend.save_job(object_ref(created))
            if self._cancelled:
                self.cancel(self._first_signal)
            background = [
                asyncio.create_task(self._kubelet.run(), name="kubelet"),
                asyncio.create_task(backend.watch_schedulers(), name="schedulers"),
                asyncio.create_task(self._watch_for_cancellation(), name="cancellation"),
                asyncio.create_task(self._watch_for_changes(cluster), name="changes"),
                asyncio.create_task(self._watch_for_requests(cluster), name="requests"),
            ]
            logs = partial(self.folder.logs.glob, "*.log")
            recorder = ArrivalRecorder(self.folder.arrivals, logs)
            arrivals = asyncio.create_task(recorder.run(), name="arrivals")
            try:
                await self._until_over(passes, background, processes)
            finally:
                background.append(arrivals)
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)
                self._include_grace(backend)
                await backend.close()
                await processes.close(grace_seconds=0)
                if self._environment is not None:
                    await self._environment.close()
                self._kubelet.finish_logs()
                recorder.look()
                self.output.finish()
                self._last = self.manifest

    def _include_grace(self, backend: LocalBackend) -> None:
        """Let a cancelled job end when its script has: the verdict comes before the signals."""
        job = backend.store.get(self.key)
        status = job_status_from(job.get("status")) if job else JobStatus()
        if job is None or not status.finished or status.reason != Reason.CANCELLED:
            return
        ended = {"endTime": format_time(whole_seconds(backend.clock()))}
        backend.store.write_status(object_ref(job), {**job["status"], **ended})
        backend.save_job(object_ref(job))

    async def _until_over(
        self, passes: SerialPasses, background: list[asyncio.Task[None]], processes: Processes
    ) -> None:
        """Run passes until the job is over; an exception in a background task ends the run.

        So does the loss of the supervisor, at once: no pass can start or stop a process any more.
        """
        loop = asyncio.create_task(passes.run(self._over), name="passes")
        loss = asyncio.create_task(processes.loss(), name="loss")
        try:
            await asyncio.wait([loop, loss, *background], return_when=asyncio.FIRST_COMPLETED)
            for task in (loop, *background):
                if task.done():
                    task.result()
        finally:
            for ended in (loop, loss):
                ended.cancel()
            await asyncio.gather(loop, loss, return_exceptions=True)
        if not loss.cancelled():
            await self._end_lost(loss.result())

    async def _end_lost(self, how: str) -> None:
        """Write the end of a job whose supervisor ended, unless it has one already."""
        backend = self._backend
        job = backend.store.get(self.key) if backend else None
        status = job_status_from(job.get("status")) if job else None
        if backend is None or job is None or status is None or status.finished:
            return
        reason, message = Reason.RUNNER_LOST, lost_message(how)
        if job["spec"].get("cancel"):
            reason, message = Reason.CANCELLED, cancel_message(self._cancelled_by)
        ended = killed(status, backend.clock(), message, reason)
        await backend.write_status(object_ref(job), ended.to_manifest())

    def _over(self) -> bool:
        """Return whether the job has ended and its dependents are deleted."""
        backend = self._backend
        if backend is None:
            return False
        found = backend.store.get(self.key)
        if found is None:
            return True
        self._last = found
        status = job_status_from(found.get("status"))
        if not status.finished:
            return False
        overdue = status.end_time and (backend.clock() - status.end_time).total_seconds()
        if overdue and overdue > CLEANUP_SECONDS:
            return True
        policy = self.job.policy
        deletion = policy.on_success if status.succeeded else policy.on_failure
        for item in backend.store.all():
            if item.get("kind") == "Pod":
                facts = pod_facts(item)
                kept = deletion != "DeleteCluster" and facts.component != names.Component.RUNNER
                if facts.alive and not kept:
                    return False
            elif item.get("kind") == names.Kind.CLUSTER and deletion == "DeleteCluster":
                return False
        return True

    async def _watch_for_cancellation(self) -> None:
        shown = 0.0
        while True:
            if time.monotonic() - shown > LIFE_SECONDS:
                shown = time.monotonic()
                self.folder.show_life()
            if (by := self.folder.cancelled_by()) is not None:
                self.cancel("INT", by=by or f"daskjob cancel {self.job.meta.name}")
            await asyncio.sleep(CANCEL_LOOK_SECONDS)

    async def _watch_for_changes(self, script: ScriptCluster) -> None:
        """Change the job as other processes ask: suspend, resume, scale."""
        while True:
            apply_asked(self.folder, partial(self._change, script))
            await asyncio.sleep(CANCEL_LOOK_SECONDS)

    def _change(self, script: ScriptCluster, spec: Manifest) -> None:
        """Merge a patch into the spec of the job; the passes do the rest.

        Raises
        ------
        Conflict
            The job has ended, or its script scales its workers.
        """
        backend = self._backend
        job = backend.store.get(self.key) if backend else None
        if backend is None or job is None or job_status_from(job.get("status")).finished:
            raise Conflict(f"{self.job.meta.name} has ended")
        cluster = backend.store.get(
            Key(names.Kind.CLUSTER, self.key.namespace, self.job.cluster_name)
        )
        count = script.take_count(spec, cluster)
        self.job = parse(DaskJob, backend.store.patch(object_ref(job), {"spec": spec}) or job)
        if cluster and count is not None:
            # Also where the script has set another number since the last one.
            backend.store.patch(object_ref(cluster), {"spec": {"worker": {"replicas": count}}})
        backend.save_job(object_ref(job))

    async def _watch_for_requests(self, script: ScriptCluster) -> None:
        """Give the script the workers that it asks for."""
        while True:
            await asyncio.sleep(REQUEST_LOOK_SECONDS)
            key = Key(names.Kind.CLUSTER, self.key.namespace, self.job.cluster_name)
            cluster = self._backend.store.get(key) if self._backend else None
            request = script.new_request(cluster) if cluster else None
            if cluster and request and self._backend:
                patch = script.worker_patch(request)
                leaving = await self._backend.reshape(cluster, patch, is_new=request.is_new)
                script.answer(cluster, request, leaving)

    def _environment_of(self, scratch: Path) -> RunEnvironment | None:
        """Return what the pods of the run get beside what their Python has; ``None``: nothing."""
        job, given = self.job, self._given
        if not job.environment.wanted and job.code is None:
            return None
        # What was passed for the script, such as a login for an index, is for the installer too.
        environment = {**given.environment, **given.variables}
        packages = given.packages or Packages(
            wanted_by(job, given.config), python=given.python, environment=environment
        )
        code = RunCode(job, given.config, environment=environment, scratch=scratch)
        return RunEnvironment(packages, code)

    def _machine(self, comm: str, dashboard: str, scratch: Path) -> Machine:
        cluster = self.job.cluster
        return Machine(
            comm=comm,
            dashboard=dashboard,
            environment=dict(self._given.environment),
            variables=self._given.variables,
            config=self._given.config,
            python=self._given.python,
            dask_python=self._given.dask_python,
            cwd=self._cwd,
            memory_bytes=machine_memory_bytes(),
            workers=_most_workers(cluster) if cluster else 1,
            scratch=scratch,
            code_paths=self.job.code.paths if self.job.code else (),
            expected_workers=expected_workers(cluster) if cluster else 0,
            is_script=names.ANNOTATION_SCRIPT in self.job.meta.annotations,
        )


def _desired_workers(cluster: ClusterSpec, backend: LocalBackend | None) -> int:
    """Return the number of worker pods that all groups should have now: scripts may scale them."""
    items = backend.store.all() if backend else ()
    groups = [item for item in items if item.get("kind") == names.Kind.GROUP]
    if not groups:
        return cluster.desired_workers
    return sum(int(group["spec"]["worker"].get("replicas", 1)) for group in groups)


def _most_workers(cluster: ClusterSpec) -> int:
    """Return the number of workers that share the memory.

    Autoscaled workers count up to the number of processors.
    """
    processors = os.cpu_count() or 1
    return sum(
        max(group.replicas, min(group.autoscaling.maximum, processors))
        if group.autoscaling
        else group.replicas
        for group in cluster.all_groups
    )


def _prepared(manifest: Manifest) -> Manifest:
    """Return the manifest as a new object of this machine: with a name and a uid, no status."""
    job: Manifest = copy.deepcopy(manifest)
    job.pop("status", None)
    meta = job.get("metadata")
    if not isinstance(meta, dict):
        return job
    for key in ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "generation"):
        meta.pop(key, None)
    prefix = meta.get("generateName")
    if not meta.get("name") and isinstance(prefix, str):
        meta["name"] = prefix + random_suffix()
    meta["uid"] = str(uuid.uuid4())
    meta.setdefault("namespace", "default")
    return job


def random_suffix() -> str:
    """Return five random characters, as Kubernetes appends them to a generated name."""
    return "".join(secrets.choice(SUFFIX_CHARACTERS) for _ in range(5))


def _check_for_this_machine(job: DaskJob) -> None:
    errors = []
    if job.cluster_ref:
        allowed = "there are no clusters on this machine to refer to: use spec.cluster"
        errors.append(FieldError("spec.clusterRef", job.cluster_ref, allowed))
    if job.managed_by != names.MANAGED_BY:
        allowed = f"only {names.MANAGED_BY} runs jobs on this machine"
        errors.append(FieldError("spec.managedBy", job.managed_by, allowed))
    if errors:
        raise Invalid(f"DaskJob {job.meta.name}", errors)


def _check_name_is_free(root: Path, name: str) -> None:
    for folder in folders_of(root, name):
        if folder.is_live():
            raise Conflict(
                f"a job {name!r} is already running on this machine. "
                f"Wait for it, cancel it (daskjob cancel {name}), or choose another --name."
            )


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return True


def machine_memory_bytes() -> int:
    """Return the memory available to processes: the machine's, or its control group's."""
    total = int(psutil.virtual_memory().total)
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limit = int(Path(path).read_text())
        except (OSError, ValueError):
            continue
        total = min(total, limit)
    return total
