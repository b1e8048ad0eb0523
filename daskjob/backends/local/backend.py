"""The backend of this machine: an object store, processes for pods, and the scheduler's agent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import resources

from daskjob.backends.agent_answers import TIMEOUT_SECONDS, NoAnswer, whole_state
from daskjob.backends.background import BackgroundTasks
from daskjob.backends.in_memory import InMemoryBackend
from daskjob.backends.local.agent_client import AgentClient
from daskjob.backends.local.full_disk import not_written
from daskjob.backends.local.history import HistoryFile
from daskjob.backends.local.kubelet import Kubelet
from daskjob.backends.local.last_tasks import (
    EndedScript,
    LastTasks,
    Wait,
    until_finished,
    with_finished,
)
from daskjob.backends.local.run_folder import RunFolder
from daskjob.backends.local.worker_numbers import WorkerNumbers, number_of
from daskjob.backends.local.worker_start import WorkerStart, worker_counts
from daskjob.core import names
from daskjob.core.dask import DaskState, TaskCounts, dask_state
from daskjob.core.decision import Event, Retire
from daskjob.core.desired.pods import dashboard_prefix
from daskjob.core.manifests import (
    Key,
    Manifest,
    ObjectRef,
    controller_uid,
    format_time,
    metadata,
    object_ref,
    whole_seconds,
)
from daskjob.core.observed import Observed, ObservedJob, Platform
from daskjob.core.pods import ContainerFacts, PodFacts, pod_facts
from daskjob.core.spec.pod import PodTemplate
from daskjob.core.status import Progress, job_status_from

logger = logging.getLogger(__name__)

#: How often a scheduler is polled: until it answers, until its workers have registered, and then,
#: when every request takes time from its tasks.
STARTING_SECONDS = 0.1
JOINING_SECONDS = 0.25
RUNNING_SECONDS = 1.0
#: Status writes are cheap here, and the user watches.
QUIET_SECONDS = 8
#: Consecutive requests without an answer before the scheduler's demand counts as unknown.
PATIENCE = 3
#: How long workers that have run no task may take to hand over the data that they were sent.
RESHAPE_SECONDS = 2.0
#: Exit codes from here on are those of processes that a signal has ended.
SIGNALLED = 129
#: How long workers that are replaced at once may take to end: their plugins' teardown.
LEAVE_SECONDS = 1
#: How often it is checked whether they are gone, and how long they are waited for.
GONE_LOOK_SECONDS = 0.01
GONE_SECONDS = 5.0
#: The time of a retirement is bounded by the agent; this is for the way there and back.
SLACK_SECONDS = 5.0


class LocalBackend(InMemoryBackend):
    """The backend of one run on this machine."""

    def __init__(
        self,
        folder: RunFolder,
        comm: str,
        dashboard: str,
        *,
        memory_bytes: int = 0,
        is_script: bool = False,
    ) -> None:
        agent = resources.files("daskjob").joinpath("agent.py").read_text()
        platform = Platform(
            agent=agent,
            pods_prepare=False,
            comm=comm,
            dashboard=dashboard,
            istio_excluded=False,
            quiet_seconds=QUIET_SECONDS,
            memory_bytes=memory_bytes,
        )
        super().__init__(lambda: datetime.now(UTC), platform)
        self.store.slow_to_delete = {"Pod"}
        self.folder = folder
        self.kubelet: Kubelet | None = None
        #: Problems with the run's folder, reported once to the user; the job continues.
        self.troubles: list[str] = []
        #: The wait for tasks after the end of the script; ``None``: there is none.
        self.last_tasks: Wait | None = None
        #: Promised tasks that were given up.
        self.given_up = 0
        #: Unfinished promised tasks, with their attempt; also those of a wait that was broken off.
        self._promised = (0, 0)
        #: Called when such a wait begins, and when it has ended.
        self.on_last_tasks: Callable[[], None] = lambda: None
        self._dashboard = dashboard
        self._silences = 0
        self._saved_counts = (0, 0, 0, 0)
        self._history = HistoryFile(folder.history_file)
        self._start = WorkerStart()
        self._background = BackgroundTasks()
        #: The questions without an answer.
        self._pending: set[str] = set()
        #: Whether workers have numbers as names; those of each group.
        self._is_script = is_script
        self._numbers: dict[str, WorkerNumbers] = {}
        #: Pods that are about to end: new ones, of the same names, wait for it.
        self._leaving: list[ObjectRef] = []
        #: Held until the agent knows that they are gone.
        self._replacing = asyncio.Lock()

    async def observe(self, key: Key) -> Observed | None:
        """Return the observed state, with the time of the runner's last output."""
        observed = await super().observe(key)
        if not isinstance(observed, ObservedJob):
            return observed
        attempt, promised = self._promised
        if promised and attempt == observed.status.attempt:
            observed = replace(observed, promised_tasks=promised)
        runner = observed.runner(observed.status.attempt)
        if runner is None or observed.job.policy.stall_deadline_seconds is None:
            return observed
        with contextlib.suppress(OSError):
            written = self.folder.log(runner.ref.name).stat().st_mtime
            return replace(observed, last_log_at=datetime.fromtimestamp(written, UTC))
        return observed

    async def write_status(self, ref: ObjectRef, status: Manifest) -> None:
        """Write a status; save a job's in its folder too."""
        await super().write_status(ref, status)
        if ref.kind == names.Kind.JOB:
            self.save_job(ref)

    def save_job(self, ref: ObjectRef) -> None:
        """Write the job to its folder; if that fails, report it once and continue."""
        job = self.store.found(ref)
        if job is None:
            return
        try:
            self.folder.write_job(job)
        except OSError as error:
            self._not_written("the job's status", error)

    async def emit(self, ref: ObjectRef, events: Iterable[Event]) -> None:
        """Keep events; save a job's in its folder too."""
        events = tuple(events)
        await super().emit(ref, events)
        for event in events if ref.kind == names.Kind.JOB else ():
            record = {
                "time": format_time(event.at or self.clock()),
                "type": "Warning" if event.warning else "Normal",
                "reason": event.reason,
                "message": event.message,
            }
            try:
                self.folder.append_event(record)
            except OSError as error:
                self._not_written("events", error)

    def _save_progress(self, tasks: TaskCounts) -> None:
        """Save the counts for other commands: in the status they are up to 30 s old."""
        counts = (tasks.total, tasks.done, tasks.processing, tasks.erred)
        if not tasks.total or counts == self._saved_counts:
            return
        self._saved_counts = counts
        jobs = [item for item in self.store.all() if item.get("kind") == names.Kind.JOB]
        progress = Progress(*counts, updated_at=whole_seconds(self.clock()))
        for job in jobs:
            # A full disk is reported by the status.
            with contextlib.suppress(OSError):
                self.folder.write_progress(self.attempt_of(object_ref(job)), progress)

    def _record(self, state: DaskState) -> None:
        """Record a scheduler's answer in the history of the run."""
        for item in self.store.all():
            if item.get("kind") == names.Kind.JOB:
                self._history.see(self.clock(), self.attempt_of(object_ref(item)), state)

    def _not_written(self, what: str, error: OSError) -> None:
        folder = self.folder.path
        self._trouble(not_written(f"{what} in {folder}", folder.parent, error))

    async def create(self, owner: Key, manifest: Manifest) -> None:
        """Create an object; the workers of a script get numbers as names."""
        if self._is_script and _is(manifest, names.Component.WORKER):
            async with self._replacing:
                await self._until_gone()
            manifest = self._numbered(manifest)
        await super().create(owner, manifest)

    def _numbered(self, pod: Manifest) -> Manifest:
        workers = [item for item in self._pods() if _is(item, names.Component.WORKER)]
        clusters = [item for item in self.store.all() if item.get("kind") == names.Kind.CLUSTER]
        marks = metadata(clusters[0]).get("annotations") or {} if clusters else {}
        attempt = int(marks.get(names.ANNOTATION_ATTEMPT) or 0)
        return self._numbers_of(controller_uid(pod)).numbered(pod, workers, attempt)

    def _numbers_of(self, group_uid: str | None) -> WorkerNumbers:
        return self._numbers.setdefault(group_uid or "", WorkerNumbers())

    async def _until_gone(self) -> None:
        """Wait until the pods that are leaving are gone: a bounded time."""
        for _ in range(int(GONE_SECONDS / GONE_LOOK_SECONDS)):
            self._leaving = [ref for ref in self._leaving if self.store.found(ref) is not None]
            if not self._leaving:
                return
            await asyncio.sleep(GONE_LOOK_SECONDS)
        self._leaving = []

    async def reshape(
        self, cluster: Manifest, worker: Manifest, *, is_new: bool = False
    ) -> frozenset[str]:
        """Merge a patch into the workers of a DaskCluster; return the addresses of those that end.

        By their update strategy, workers of another template are replaced a few at a time. Where
        they have nothing to do and no data, they are replaced at once here: a script waits for
        them. ``is_new``: for another cluster of the script, whose workers are named from 0 on.
        """
        ref, before = object_ref(cluster), cluster["spec"]["worker"]
        renewed = _pod_spec(before, worker) != before.get("spec")
        surplus = self._workers() if renewed else self._too_many(worker.get("replicas"))
        known, leaving = await self._free(surplus)
        if is_new:
            for numbers in self._numbers.values():
                numbers.restart()
        async with self._replacing:
            # Without a pause: a pass would replace the workers by others of the old kind.
            self.store.patch(ref, {"spec": {"worker": worker}})
            for pod, grace in leaving.items():
                self._leaving.append(pod)
                self.store.patch(pod, {"spec": {"terminationGracePeriodSeconds": grace}})
                self.store.delete(pod)
            await self._until_gone()
            if leaving:
                # From here on, workers of these names are the new ones.
                await self._name_leaving([])
        ended = {address for pod, address in known.items() if renewed or pod in leaving}
        return frozenset(ended)

    def _workers(self) -> list[Manifest]:
        """Return the worker pods that are not about to end."""
        pods = [pod for pod in self._pods() if _is(pod, names.Component.WORKER)]
        return [pod for pod in pods if not metadata(pod).get("deletionTimestamp")]

    def _too_many(self, replicas: object) -> list[Manifest]:
        """Return the workers above a number: the newest, as in a LocalCluster."""
        if not isinstance(replicas, int) or not self._is_script:
            return []
        return sorted(self._workers(), key=lambda pod: _number(number_of(pod)))[replicas:]

    async def _free(
        self, pods: list[Manifest]
    ) -> tuple[dict[ObjectRef, str], dict[ObjectRef, int]]:
        """Return the addresses of the workers in these pods, and which pods may go at once.

        With the grace period of each.
        """
        scheduler = self._scheduler()
        refs = {self._dask_name(pod): object_ref(pod) for pod in pods}
        if not pods or scheduler is None:
            return {}, dict.fromkeys(refs.values(), 0)
        agent = self._agent(scheduler)
        try:
            state = await whole_state(agent.get, "state")
        except NoAnswer:
            # Before its first answer, no worker has registered.
            return {}, {} if scheduler.ready else dict.fromkeys(refs.values(), 0)
        known = {refs[w.name]: w.address for w in state.workers if w.name in refs}
        if state.tasks.processing or state.tasks.waiting:
            return known, {}
        retired: set[str] = set()
        if known:
            # Retired first: the agent counts workers as lost that go without notice.
            body = {"workers": sorted(known.values()), "timeout": RESHAPE_SECONDS}
            try:
                answer = await agent.post("retire", body, RESHAPE_SECONDS + SLACK_SECONDS)
            except NoAnswer:
                return known, {}
            retired = set(answer.get("retired") or ())
        free = {ref for ref in refs.values() if ref not in known or known[ref] in retired}
        # Those that are not known may register at this moment, without time to announce their end.
        await self._name_leaving([name for name, ref in refs.items() if ref in free])
        return known, dict.fromkeys(free, LEAVE_SECONDS)

    async def _name_leaving(self, workers: list[str]) -> None:
        """Name the workers that are about to be stopped to the agent: none of them is lost."""
        scheduler = self._scheduler()
        if scheduler is not None:
            with contextlib.suppress(NoAnswer):
                body: Manifest = {"workers": workers}
                await self._agent(scheduler).post("leaving", body, TIMEOUT_SECONDS)

    def _dask_name(self, pod: Manifest) -> str:
        return number_of(pod) if self._is_script else str(metadata(pod)["name"])

    def _trouble(self, message: str) -> None:
        if message not in self.troubles:
            self.troubles.append(message)

    # The scheduler

    async def watch_schedulers(self) -> None:
        """Poll the run's scheduler until cancelled.

        Its answers show which pods are ready, and the counts of tasks.
        """
        while True:
            await asyncio.sleep(await self._ask_scheduler())

    async def _ask_scheduler(self) -> float:
        """Ask once; return the seconds until the next request."""
        scheduler = self._scheduler()
        if scheduler is None or scheduler.main is None or not scheduler.main.running:
            self._ready(set())
            return STARTING_SECONDS
        try:
            state = await whole_state(self._agent(scheduler).get, "state")
        except NoAnswer:
            self._silences += 1
            if not scheduler.ready:
                self._ready(set())
            elif self._silences >= PATIENCE:
                self.not_answered(scheduler.owner_uid)
            return STARTING_SECONDS
        self._silences = 0
        if self._scheduler_uid() != scheduler.ref.uid:
            return STARTING_SECONDS
        state = self._with_pod_names(state)
        known = {worker.name for worker in state.workers}
        workers = [pod_facts(item) for item in self._pods() if _is(item, names.Component.WORKER)]
        ready = {w.ref.uid for w in workers if _is_registered(w.ref.name, known)}
        self._ready({scheduler.ref.uid, *ready})
        changed = self.dask.get(scheduler.owner_uid, DaskState()) != state
        self.answered(scheduler.owner_uid, state)
        self._record(state)
        # Clients pass only now that the scheduler is known to be ready.
        await self._hold_clients(scheduler)
        if changed:
            self._save_progress(state.tasks)
            self.changed()
        return RUNNING_SECONDS if len(ready) == len(workers) else JOINING_SECONDS

    def _with_pod_names(self, state: DaskState) -> DaskState:
        """Return a state whose workers have the names of their pods, as everywhere but in Dask."""
        if not self._is_script:
            return state
        pods = {number_of(pod): str(metadata(pod)["name"]) for pod in self._workers()}
        named = (replace(each, name=pods.get(each.name, each.name)) for each in state.workers)
        return replace(state, workers=tuple(named))

    async def _hold_clients(self, scheduler: PodFacts) -> None:
        """Correct for how many workers the script's first client waits, until it passes.

        Report the workers without which it does.
        """
        if not self._start.is_pending(scheduler):
            return
        expected, failed = worker_counts(self.store.all())
        with contextlib.suppress(NoAnswer):
            answer = await self._agent(scheduler).post(
                "expect", {"workers": expected}, SLACK_SECONDS
            )
            message = self._start.message(scheduler, answer, failed)
            if message:
                self._trouble(message)
                await self._emit_on_job(Event("WorkersMissing", message, warning=True))

    async def _emit_on_job(self, event: Event) -> None:
        for item in self.store.all():
            if item.get("kind") == names.Kind.JOB:
                await self.emit(object_ref(item), [event])

    def _ready(self, uids: set[str]) -> None:
        if self.kubelet is not None:
            self.kubelet.set_ready(uids)

    def _pods(self) -> list[Manifest]:
        return [item for item in self.store.all() if item.get("kind") == "Pod"]

    def _scheduler(self) -> PodFacts | None:
        pods = [item for item in self._pods() if _is(item, names.Component.SCHEDULER)]
        facts = [pod_facts(pod) for pod in pods]
        return next((pod for pod in facts if not pod.deleting), None)

    def _scheduler_uid(self) -> str:
        scheduler = self._scheduler()
        return scheduler.ref.uid if scheduler else ""

    def _agent(self, scheduler: PodFacts) -> AgentClient:
        pod = self.store.found(scheduler.ref) or {}
        template = PodTemplate(spec=pod.get("spec") or {})
        return AgentClient(self._dashboard, scheduler.token, dashboard_prefix(template))

    # Questions beside the passes: a pass that waited would hold back the end of the runner,
    # deadlines and Ctrl-C, for as long as a busy worker keeps its scheduler waiting.

    async def collect_report(self, job: ObjectRef, scheduler: PodFacts) -> None:
        """Ask the agent of the scheduler for its report; the answer triggers the next passes."""
        work = self._collect(job, scheduler, self.attempt_of(job))
        self._ask_once(f"report {scheduler.ref.uid}", work)

    async def retire(self, group: ObjectRef, retire: Retire) -> None:
        """Ask the scheduler to move workers' data away; the answer triggers the next passes.

        Further requests of the group are ignored until then.
        """
        self._ask_once(f"retire {group.uid}", self._retire(group, retire))

    @property
    def is_asking(self) -> bool:
        """Whether an answer to a question is pending."""
        return bool(self._pending)

    def _ask_once(self, question: str, work: Coroutine[object, object, None]) -> None:
        """Start a question, unless it is pending."""
        if question in self._pending:
            work.close()
            return
        self._pending.add(question)
        task = self._background.start(work)
        task.add_done_callback(lambda _: self._pending.discard(question))

    async def _collect(self, job: ObjectRef, scheduler: PodFacts, attempt: int) -> None:
        """Collect the agent's report, after the last tasks; all of it goes to the run's folder."""
        report: Manifest | None = None
        agent = self._agent(scheduler)
        try:
            last = await self._finish_tasks(job, agent, attempt)
            short, full, state = await asyncio.gather(
                agent.get("report"), agent.get("report?full=1"), agent.get("state")
            )
            self.answered(scheduler.owner_uid, dask_state(state))
            report = with_finished(short, last.finished)
            full = with_finished(full, last.finished)
            self.folder.write("report.json", full)
        except NoAnswer as error:
            logger.info("no report of the scheduler: %s", error)
        except OSError as error:
            self._not_written("the report", error)
        finally:
            self.collected(scheduler, report, attempt)

    async def _finish_tasks(self, job: ObjectRef, agent: AgentClient, attempt: int) -> LastTasks:
        """Wait for the last tasks of a script that has ended by itself."""
        runner = self._runner(attempt)
        if runner is None or runner.main is None or not _ended_by_itself(runner):
            return LastTasks()
        script = EndedScript(
            succeeded=runner.last_exited_with_0,
            seconds=_seconds(runner.main),
            must_end=lambda: self._must_end(job),
            waiting=lambda wait: self._waiting(wait, attempt),
        )
        try:
            last = await until_finished(agent, script)
            self._promised, self.given_up = (attempt, last.dropped), last.given_up
            return last
        finally:
            if self.last_tasks is not None:
                self.last_tasks = None
                self.on_last_tasks()

    def _waiting(self, wait: Wait, attempt: int) -> None:
        self._promised = (attempt, wait.pending)
        begins, self.last_tasks = self.last_tasks is None, wait
        if begins:
            self.on_last_tasks()

    def _must_end(self, ref: ObjectRef) -> bool:
        """Return whether a job was cancelled or suspended, or its deadline has passed."""
        job = self.store.found(ref)
        if job is None or job["spec"].get("cancel") or job["spec"].get("suspend"):
            return True
        limit, started = job["spec"].get("activeDeadlineSeconds"), None
        if isinstance(limit, int):
            started = job_status_from(job.get("status")).start_time
        return started is not None and self.clock() >= started + timedelta(seconds=limit)

    def _runner(self, attempt: int) -> PodFacts | None:
        pods = [pod_facts(pod) for pod in self._pods() if _is(pod, names.Component.RUNNER)]
        return next((pod for pod in pods if pod.attempt == attempt), None)

    async def _retire(self, group: ObjectRef, retire: Retire) -> None:
        answer: Manifest | None = None
        body = {"workers": sorted(retire.addresses), "timeout": retire.timeout_seconds}
        try:
            if retire.scheduler is not None:
                bound = retire.timeout_seconds + SLACK_SECONDS
                answer = await self._agent(retire.scheduler).post("retire", body, bound)
        except NoAnswer as error:
            logger.info("%s: its scheduler did not retire workers: %s", group.name, error)
        finally:
            self.retired(group, retire, answer)

    async def close(self) -> None:
        """End all questions."""
        await self._background.end()


def _is(pod: Manifest, component: names.Component) -> bool:
    labels = metadata(pod).get("labels") or {}
    return bool(labels.get(names.LABEL_COMPONENT) == component)


def _ended_by_itself(runner: PodFacts) -> bool:
    """Return whether nothing stopped a runner; LocalCluster ends at once with a killed script."""
    if runner.stop_reason or runner.main is None or not runner.main_ended:
        return False
    return (runner.main.exit_code or 0) < SIGNALLED


def _pod_spec(before: Manifest, patch: Manifest) -> object:
    """Return the pod spec of workers after a merge patch."""
    return {**before["spec"], **patch["spec"]} if "spec" in patch else before.get("spec")


def _number(name: str) -> int:
    return int(name) if name.isdecimal() else 0


def _seconds(container: ContainerFacts) -> float:
    """Return how long an ended container ran."""
    if container.started_at is None or container.finished_at is None:
        return 0.0
    return (container.finished_at - container.started_at).total_seconds()


def _is_registered(pod: str, workers: set[str]) -> bool:
    return pod in workers or any(name.startswith(f"{pod}-") for name in workers)
