"""Sets up the process of a container: its files, pipes and command, and its log and message."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from daskjob.backends.local.config import Config, config_of
from daskjob.backends.local.deaths import Deaths
from daskjob.backends.local.forks import Forks
from daskjob.backends.local.log_file import PipedLog, RunLogs
from daskjob.backends.local.pod_state import Container, Pod
from daskjob.backends.local.processes import Command
from daskjob.backends.local.run_environment import RunEnvironment
from daskjob.backends.local.run_folder import RunFolder
from daskjob.backends.local.script_output import ScriptOutput
from daskjob.backends.local.termination_message import termination_message
from daskjob.backends.local.translate import (
    ContainerProcess,
    Machine,
    container_process,
    deaths_file,
)
from daskjob.backends.local.uncaught import uncaught, uncaught_file
from daskjob.backends.local.volumes import mounts
from daskjob.backends.store import ObjectStore
from daskjob.core import names
from daskjob.core.manifests import Manifest, object_ref
from daskjob.core.pods import PodFacts, pod_facts


class ContainerSetup:
    """Prepares the processes of a run's containers."""

    def __init__(
        self,
        store: ObjectStore,
        folder: RunFolder,
        machine: Machine,
        scratch: Path,
        *,
        logs: RunLogs,
        stdin: bool,
        output: ScriptOutput | None,
        script_environment: Callable[[Mapping[str, str]], Mapping[str, str]],
        environment: RunEnvironment | None,
    ) -> None:
        self._store = store
        #: What pods find beside what their Python has; ``None``: nothing.
        self._environment = environment
        self._folder = folder
        self._machine = machine
        self._logs = logs
        self._forks = Forks(machine.dask_python)
        self._scratch = scratch
        #: The pipes to the logs of processes that run.
        self._piped: dict[str, PipedLog] = {}
        self._stdin = stdin
        #: Copies the script's output; without it, the script writes its log itself.
        self._output = output
        #: Completes the environment of the script's process.
        self._script_environment = script_environment

    def prepare(self, manifest: Manifest, pod: Pod, container: Container) -> list[Command]:
        """Make what the process of a container finds, and return what to start, its command last.

        Raises
        ------
        OSError, ValueError
            The container cannot be started.
        """
        message_file = _message_file(pod, container)
        message_file.unlink(missing_ok=True)
        config = self._config(manifest)
        machine = self._machine
        if self._environment is not None:
            found = self._environment
            machine = replace(machine, packages=found.packages, code=found.code)
        paths = mounts(container.manifest, manifest, pod.scratch, machine, config)
        process = container_process(container.manifest, manifest, machine, paths, message_file)
        _write_programs(process)
        if not process.argv:
            raise ValueError("there is neither a command nor args, and images are not used here")
        container.memory_limit_bytes = process.memory_limit_bytes
        if pod_facts(manifest).component == names.Component.WORKER:
            container.deaths = container.deaths or Deaths(deaths_file(message_file))
        parent = self._forks.parent_for(process)
        command = self._command(manifest, pod, container, process)
        return [command] if parent is None else [parent, command]

    def message(self, manifest: Manifest | None, pod: Pod, container: Container, code: int) -> str:
        """Return the termination message of a container; its pod may be gone."""
        log = self._log(manifest, container) if manifest else Path(os.devnull)
        return termination_message(
            container.manifest,
            code,
            written_to=_message_file(pod, container),
            log=log,
            pending=self._logs.pending(log),
            cwd=self._machine.cwd,
            recorded=self._recorded(manifest, container),
        )

    def _recorded(self, manifest: Manifest | None, container: Container) -> str:
        """Return the exception that ended a script, as its own process recorded it."""
        attempt = (pod_facts(manifest).attempt if manifest else None) or 0
        return uncaught(uncaught_file(self._scratch, str(attempt)), container.pid)

    def finish_log(self, process: str) -> None:
        """Copy the rest of the output of a process that has ended to its log."""
        piped = self._piped.pop(process, None)
        if piped is not None:
            piped.finish()

    def finish_logs(self) -> None:
        """Copy what all processes that have ended left of their output to the logs."""
        for process in list(self._piped):
            self.finish_log(process)

    def _command(
        self, manifest: Manifest, pod: Pod, container: Container, process: ContainerProcess
    ) -> Command:
        facts = pod_facts(manifest)
        name = pod.process(container)
        log = self._log(manifest, container)
        env = process.env
        declared = {variable.get("name") for variable in container.manifest.get("env") or ()}
        if facts.component == names.Component.SCHEDULER and "TMPDIR" not in declared:
            # It imports the agent's text from a temporary file, and Python caches that beside it.
            env = {**env, "TMPDIR": str(pod.scratch)}
        is_script = runs_script(facts, container)
        # A later attempt would find only the rest of it: nothing, or half a line.
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
            fork=self._forks.arguments(replace(process, env=env)),
        )

    def _pipe(self, process: str, pod: Pod, container: Container, log: Path) -> Path:
        """Return the pipe to a log; the log itself where there are no pipes."""
        pipe = pod.scratch / f"{container.name}.log"
        try:
            self._piped[process] = PipedLog(pipe, self._logs.log(log))
        except OSError:
            return log
        return pipe

    def _config(self, manifest: Manifest) -> Config:
        """Return the ConfigMaps and Secrets that a pod finds.

        They are those of the file, and the ConfigMap that a pass creates of ``job.files``.
        """
        namespace = object_ref(manifest).namespace
        created = [item for item in self._store.all() if item.get("kind") == "ConfigMap"]
        return Config({**config_of(created, namespace).data, **self._machine.config.data})

    def _log(self, manifest: Manifest, container: Container) -> Path:
        facts = pod_facts(manifest)
        main = facts.main.name if facts.main else ""
        name = "" if container.name == main else container.name
        return self._folder.log(facts.ref.name, name)


def runs_script(facts: PodFacts, container: Container) -> bool:
    """Return whether a container is the main one of a runner."""
    is_runner = facts.component == names.Component.RUNNER
    return is_runner and facts.main is not None and facts.main.name == container.name


def _message_file(pod: Pod, container: Container) -> Path:
    return pod.scratch / f"{container.name}.message"


def _write_programs(process: ContainerProcess) -> None:
    for path, text in process.programs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
