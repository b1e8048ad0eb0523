"""The shape of the run's workers that the script asks for: ``Client(n_workers=3)``.

``daskjob/in_script`` runs in the script's process. It finds here, in one environment variable, what
the run has and what it may change, and writes what it asks for to a file. The run reads the file
and patches the DaskCluster: everything else follows from the passes. Then it writes which workers
are about to end: the script waits for the others.

A request may have values of variables, so the file is for its owner only, and is removed as it is
read: it is there for about a tenth of a second, in a folder that ends with the run.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import daskjob
from daskjob.backends.local.inherited import Inherited, at_start, inherited_from
from daskjob.backends.local.uncaught import VARIABLE as UNCAUGHT_VARIABLE
from daskjob.backends.local.uncaught import uncaught_file
from daskjob.core import names
from daskjob.core.command_line import option, without_options, words
from daskjob.core.errors import Conflict
from daskjob.core.manifests import Manifest, mapping, metadata
from daskjob.core.quantity import format_bytes, parse_bytes
from daskjob.core.spec import DaskJob

#: The folder that the script's process finds its part in, by path: its Python may lack daskjob.
IN_SCRIPT = Path(daskjob.__file__).parent / "in_script"
SETTINGS_VARIABLE = "DASKJOB_CLUSTER"
#: dask's own delay before it removes idle workers (distributed.adaptive: interval × wait-count).
SCALE_DOWN_DELAY_SECONDS = 3


@dataclass(frozen=True, slots=True)
class ScriptRequest:
    """What the script asks for; ``None`` stands for the run's own."""

    workers: int | None = None
    threads: int | None = None
    #: Bytes; 0: no limit.
    memory: int | None = None
    #: Without a limit: the number of workers that share the machine's memory. It stays while a
    #: cluster scales, as in Dask.
    share: int | None = None
    resources: tuple[tuple[str, float], ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    directory: str = ""
    #: Bounds within which the workers follow the scheduler's demand.
    adapt: tuple[int, int] | None = None
    #: What workers inherit of the script; ``None``: nothing that they lack.
    inherited: Inherited | None = None
    #: Whether it is the first of a cluster, whose workers are named from 0 on.
    is_new: bool = False
    #: By what the answer is recognized.
    id: str = ""


class ScriptCluster:
    """One run's side of it."""

    def __init__(
        self, job: DaskJob, manifest: Manifest, folder: Path, *, cwd: Path, memory_bytes: int = 0
    ) -> None:
        opened = (metadata(manifest).get("annotations") or {}).get(names.ANNOTATION_OPEN_TO_SCRIPT)
        self._is_script = opened is not None
        self._open = tuple(str(opened or "").split(",")) if opened else ()
        self._job = job
        #: The machine's.
        self._memory_bytes = memory_bytes
        self._base: Manifest = manifest["spec"].get("cluster", {}).get("spec", {}).get("worker", {})
        #: What a script that asks for no number gets.
        self._own_workers = job.cluster.worker.replicas if job.cluster else 0
        #: Not below a pod's own folder: the script must find it until its end.
        self._folder = folder
        #: Where workers start, unless the job has another folder.
        self._cwd = cwd
        #: Folders in which workers write since the script named them: the run removes them.
        self.directories: set[Path] = set()

    def environment(
        self, environment: Mapping[str, str], *, comm: str, dashboard: str
    ) -> dict[str, str]:
        """Return the environment of the script with the part that works in its process."""
        group = self._job.cluster.worker if self._job.cluster else None
        args = words(_main(self._base))
        own: dict[str, int | None] = {
            "workers": self._own_workers if group and group.autoscaling is None else None,
            "threads": _number(option(args, "--nthreads")),
            "memory": _bytes(option(args, "--memory-limit")),
        }
        settings: Manifest = {
            "address": f"tcp://{comm}",
            "dashboard": f"http://{dashboard}/status",
            "request": str(self._file(environment.get(names.ENV_ATTEMPT, "0"))),
            "connect_timeout": environment.get(names.ENV_CONNECT_TIMEOUT, ""),
            "open": self._open,
            "manifest": not self._is_script,
            "own": own,
            "machine_memory": self._memory_bytes,
            "memory": format_bytes(own["memory"] or 0).replace(" ", ""),
        }
        if self._is_script:
            settings["start"] = at_start(environment, _main(self._base), self._cwd)
        path = environment.get("PYTHONPATH", "")
        record = uncaught_file(self._folder, environment.get(names.ENV_ATTEMPT, "0"))
        return {
            **environment,
            "PYTHONPATH": f"{IN_SCRIPT}{os.pathsep}{path}" if path else str(IN_SCRIPT),
            SETTINGS_VARIABLE: json.dumps(settings),
            UNCAUGHT_VARIABLE: str(record),
        }

    def take_count(self, spec: Manifest, cluster: Manifest | None) -> int | None:
        """Let the number of workers in a patch of the job's spec be the run's own; return it.

        Raises
        ------
        Conflict
            The script has its workers scaled automatically: the number would not hold.
        """
        worker = mapping(mapping(mapping(spec.get("cluster")).get("spec")).get("worker"))
        count = worker.get("replicas")
        if not isinstance(count, int):
            return None
        name = self._job.meta.name
        if cluster and cluster["spec"].get("worker", {}).get("autoscaling"):
            raise Conflict(
                f"the workers of {name} are scaled automatically, by its script: adapt()"
            )
        self._own_workers = count
        # For the script's next cluster, which waits for its workers.
        with contextlib.suppress(OSError):
            written = self._folder / "workers.new"
            written.write_text(str(count))
            written.rename(self._folder / "workers")
        return count

    def _file(self, attempt: str) -> Path:
        return self._folder / f"cluster-{attempt}.json"

    def new_request(self, cluster: Manifest) -> ScriptRequest | None:
        """Take the request about a DaskCluster; ``None`` without one."""
        path = self._file(_attempt(cluster))
        taken = path.with_suffix(".taken")
        try:
            # Another one may be written at any moment.
            path.rename(taken)
            content = taken.read_bytes()
            taken.unlink()
        except OSError:
            return None
        return _request(content)

    def answer(self, cluster: Manifest, request: ScriptRequest, leaving: Iterable[str]) -> None:
        """Report to the script that its request was applied, and which workers are leaving."""
        path = self._file(_attempt(cluster)).with_suffix(".done")
        temporary = path.with_suffix(".answer")
        # Without an answer, the script waits for the number of workers only.
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps({"id": request.id, "leaving": sorted(leaving)}))
            temporary.rename(path)

    def worker_patch(self, request: ScriptRequest) -> Manifest:
        """Return the merge patch of a DaskCluster's ``spec.worker`` for a request."""
        patch: Manifest = {"autoscaling": self._base.get("autoscaling")}
        if request.adapt is not None:
            least, most = request.adapt
            patch["autoscaling"] = {
                "minimum": least,
                "maximum": max(most, 1),
                "scaleDownDelaySeconds": SCALE_DOWN_DELAY_SECONDS,
            }
        elif patch["autoscaling"] is None:
            own = self._own_workers
            patch["replicas"] = own if request.workers is None else request.workers
        if self._is_script:
            if request.directory:
                # Inside the folder that the script names, so that it can be removed as a whole.
                directory = Path(request.directory) / self._folder.name
                self.directories.add(directory)
                request = replace(request, directory=str(directory))
            containers = list(self._base["spec"]["containers"])
            containers[0] = _container(containers[0], self._with_memory(request))
            # Idle workers of another shape are replaced; those with data hand it over first.
            patch |= {"spec": {"containers": containers}, "updateStrategy": "Retire"}
        return patch

    def _with_memory(self, request: ScriptRequest) -> ScriptRequest:
        """Return a request with the limit that follows from its share of the machine's memory."""
        if request.memory is not None or not request.share or not self._memory_bytes:
            return request
        return replace(request, memory=self._memory_bytes // request.share)


def _attempt(cluster: Manifest) -> str:
    return str((metadata(cluster).get("annotations") or {}).get(names.ANNOTATION_ATTEMPT, "0"))


def _main(worker: Manifest) -> Manifest:
    containers = (worker.get("spec") or {}).get("containers") or [{}]
    return containers[0] if isinstance(containers[0], dict) else {}


def _container(container: Manifest, request: ScriptRequest) -> Manifest:
    """Return the worker's container with the options of a request."""
    args, added = list(container["args"]), {}
    # A changed command line replaces the workers, so what is asked for and there stays.
    if request.threads not in (None, _number(option(args, "--nthreads"))):
        added["--nthreads"] = str(request.threads)
    if request.memory not in (None, _bytes(option(args, "--memory-limit"))):
        added["--memory-limit"] = str(request.memory)
    if request.resources:
        added["--resources"] = " ".join(f"{name}={amount:g}" for name, amount in request.resources)
    if request.directory:
        added["--local-directory"] = request.directory
    args = without_options(args, tuple(added))
    args += [word for pair in added.items() for word in pair]
    env = [{"name": name, "value": value.replace("$", "$$")} for name, value in request.env]
    changed = {**container, "args": args}
    if request.inherited:
        changed = request.inherited.container(changed)
    if env:
        changed["env"] = [*(changed.get("env") or ()), *env]
    return changed


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _bytes(text: str) -> int | None:
    try:
        return parse_bytes(text)
    except ValueError:
        return None


def _request(content: bytes) -> ScriptRequest | None:
    """Return the request in a file; ``None`` for anything else: a script may write anywhere."""
    try:
        raw = json.loads(content)
        adapt = raw.get("adapt")
        return ScriptRequest(
            workers=raw.get("workers"),
            threads=raw.get("threads"),
            memory=raw.get("memory"),
            share=int(raw["share"]) if raw.get("share") else None,
            resources=tuple((str(k), float(v)) for k, v in (raw.get("resources") or {}).items()),
            env=tuple((str(k), str(v)) for k, v in (raw.get("env") or {}).items()),
            directory=str(raw.get("directory") or ""),
            adapt=(int(adapt[0]), int(adapt[1])) if adapt else None,
            inherited=inherited_from(raw.get("inherited")),
            is_new=bool(raw.get("new")),
            id=str(raw.get("id") or ""),
        )
    except (ValueError, TypeError, AttributeError, LookupError):
        return None
