"""The operator that runs a DaskJob as a task."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.common.compat.sdk import BaseOperator, conf
from airflow.sdk.exceptions import AirflowTaskTimeout

from daskjob.core.errors import NotFound as JobNotFound
from daskjob.core.manifests import Manifest, metadata
from daskjob.core.status import JobStatus
from daskjob.integrations.airflow import errors
from daskjob.integrations.airflow.arguments import explained
from daskjob.integrations.airflow.conclusion import Conclusion
from daskjob.integrations.airflow.deferral import Deferral
from daskjob.integrations.airflow.following import Follower, Line, Seen, Stop
from daskjob.integrations.airflow.hopeless import OPERATOR_SECONDS, hopeless
from daskjob.integrations.airflow.job_arguments import JobArguments
from daskjob.integrations.airflow.lineage import Facets
from daskjob.integrations.airflow.link_text import LINK_KEY, dashboard_link
from daskjob.integrations.airflow.links import DaskDashboardLink
from daskjob.integrations.airflow.summary import Progress, summary_of
from daskjob.integrations.airflow.task import Task, detached
from daskjob.submit.generations import Generation, Step, start_generation
from daskjob.submit.jobs import Job, JobRef

if TYPE_CHECKING:
    from daskjob.submit.client.sync_client import JobClient
    from daskjob.submit.local import LocalJobs

#: Between two updates of the XCom ``daskjob`` of a running job.
XCOM_SECONDS = 15.0
_CHOICES = {
    "on_finish_action": ("keep_job", "delete_job", "delete_succeeded_job"),
    "on_kill_action": ("cancel_job", "delete_job", "keep_job"),
    "on_worker_shutdown": ("detach", "cancel"),
    "on_conflict": ("reattach", "replace", "fail"),
}


class DaskJobOperator(JobArguments, Deferral, BaseOperator):
    """Run a DaskJob as a task: started once whatever crashes, and cancelled with the task.

    Exactly one of these says what runs: ``job``, a DaskJob as a dictionary or as YAML;
    ``job_file``, its file, rendered as a template; ``script``, a Python file beside the DAG, sent
    with the modules that it imports, or the text of a program; ``image`` with ``args``.

    Parameters
    ----------
    args
        Arguments of the script; without a script, the command of the image.
    image, n_workers, adapt, worker_resources, env, labels, annotations
        As the options of ``daskjob submit``; they also change a manifest. ``adapt`` is the least
        and the largest number of workers, ``worker_resources`` has ``cpu``, ``memory``, ``gpu``.
    settings
        All other settings, by their key in ``docs/settings.md``: ``{"threads": 2}``.
    name
        The beginning of the job's name; by default that of the manifest, or of the task.
    local
        Run the job on the machine of the worker, without a Kubernetes.
    durable
        A retry follows the job of the try before it if that still runs; ``False``: each try
        starts a job of its own.
    deferrable
        Wait in the triggerer instead of in a worker.
    startup_timeout_seconds, ttl_seconds_after_finished
        Fields of the job, unless its manifest has them. ``execution_timeout`` is its deadline.
    operator_timeout_seconds
        How long daskjob's operator may take to pick the job up before the task fails.
    dashboard_url
        How browsers reach dashboards: ``https://dask.example.org/{namespace}/{cluster}/status``.
    wait_for_completion
        ``False``: the task succeeds once the job is submitted; a ``DaskJobSensor`` waits for it.
    get_logs, log_tail_on_failure, log_events_on_failure
        Show the job's log; without that, this many lines of a job that failed; show its reason.
    on_finish_action
        ``keep_job``, ``delete_job``, or ``delete_succeeded_job``: what becomes of an ended job.
    on_kill_action
        ``cancel_job``, ``delete_job``, or ``keep_job``, if the task is ended before its job.
    on_worker_shutdown
        ``detach``: a worker that shuts down leaves the job to the task's next try, if there is one;
        ``cancel``: it does what ``on_kill_action`` says.
    on_conflict
        What to do about an active job of the task with another spec: ``reattach`` to it,
        ``replace`` it, or ``fail``.
    """

    template_fields: Sequence[str] = (
        "job",
        "job_file",
        "script",
        "args",
        "env",
        "image",
        "name",
        "namespace",
        "labels",
        "annotations",
        "settings",
        "kubernetes_conn_id",
        "cluster_context",
    )
    #: Empty: an extension here would make Airflow read each argument with this ending as a file.
    template_ext: Sequence[str] = ()
    template_fields_renderers: ClassVar[dict[str, str]] = {"job": "yaml", "script": "py"}
    operator_extra_links = (DaskDashboardLink(),)
    ui_color = "#fdf2e4"
    external_id_key = "daskjob"

    def __init__(
        self,
        *,
        job: Manifest | str | None = None,
        job_file: str | None = None,
        image: str | None = None,
        args: Sequence[str] | None = None,
        script: str | None = None,
        env: Mapping[str, str] | None = None,
        n_workers: int | None = None,
        adapt: tuple[int, int] | None = None,
        worker_resources: Mapping[str, object] | None = None,
        settings: Mapping[str, object] | None = None,
        name: str | None = None,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        kubernetes_conn_id: str | None = "kubernetes_default",
        in_cluster: bool | None = None,
        config_file: str | None = None,
        cluster_context: str | None = None,
        local: bool = False,
        durable: bool = True,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        startup_timeout_seconds: int | None = 600,
        operator_timeout_seconds: float = OPERATOR_SECONDS,
        get_logs: bool = True,
        log_tail_on_failure: int = 100,
        log_events_on_failure: bool = True,
        dashboard_url: str = "",
        on_finish_action: str = "keep_job",
        on_kill_action: str = "cancel_job",
        on_worker_shutdown: str = "detach",
        on_conflict: str = "reattach",
        ttl_seconds_after_finished: int | None = 86400,
        **kwargs: Any,
    ) -> None:
        with explained(DaskJobOperator, kwargs):
            super().__init__(**kwargs)
        self.job = job
        self.job_file = job_file
        self.image = image
        self.args = args
        self.script = script
        self.env = env
        self.n_workers = n_workers
        self.adapt = adapt
        self.worker_resources = worker_resources
        self.settings = settings
        self.name = name
        self.namespace = namespace
        self.labels = labels
        self.annotations = annotations
        self.kubernetes_conn_id = kubernetes_conn_id
        self.in_cluster = in_cluster
        self.config_file = config_file
        self.cluster_context = cluster_context
        self.local = local
        self.durable = durable
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.startup_timeout_seconds = startup_timeout_seconds
        self.operator_timeout_seconds = operator_timeout_seconds
        self.get_logs = get_logs
        self.log_tail_on_failure = log_tail_on_failure
        self.log_events_on_failure = log_events_on_failure
        self.dashboard_url = dashboard_url
        self.on_finish_action = on_finish_action
        self.on_kill_action = on_kill_action
        self.on_worker_shutdown = on_worker_shutdown
        self.on_conflict = on_conflict
        self.ttl_seconds_after_finished = ttl_seconds_after_finished
        #: The address of the dashboard, for the link.
        self.known_dashboard = ""
        self._follower: Follower | None = None
        for field, allowed in _CHOICES.items():
            if getattr(self, field) not in allowed:
                raise ValueError(
                    f"{field}: {getattr(self, field)!r} is not allowed; write one of "
                    f"{', '.join(allowed)}"
                )
        self.judge_arguments()

    @cached_property
    def client(self) -> JobClient | LocalJobs:
        """The jobs of the cluster, or of this machine."""
        if self.local:
            from daskjob.submit.local import LocalJobs

            return LocalJobs()
        return self.job_client()

    # A try

    def execute(self, context: Any) -> Any:
        """Start the job, or find that of an earlier try; wait for its end; return its result."""
        self._follower = Follower()
        with self._open():
            self.judge_arguments(rendered=True)
            return self._run(Task(context))

    def on_kill(self) -> None:
        """Have the wait decide what becomes of the job; this is the handler of a signal."""
        if self._follower is not None:
            self._follower.stop()

    @contextmanager
    def _open(self) -> Iterator[None]:
        """Raise errors as Airflow's; the client's connection ends with the block."""
        try:
            with errors.airflow_errors():
                yield
        finally:
            if "client" in self.__dict__:
                self.client.close()

    def _run(self, task: Task) -> Any:
        started = self._started(task)
        ref = started.job.ref
        if started.step is Step.FINISHED:
            return self._ended(task, started.job)
        if not self.wait_for_completion:
            task.push("daskjob", summary_of(started.job))
            return None
        if self.deferrable and not self.local:
            self._defer(task, ref)
        try:
            return self._ended(task, self._followed(task, ref))
        except AirflowTaskTimeout:
            self.log.error("%s is cancelled: execution_timeout is over", ref.name)
            self._end(ref)
            raise

    def _started(self, task: Task) -> Generation:
        job = self._manifest(task)
        identity = task.identity(self.name or str(metadata(job).get("name") or self.task_id))
        known, number = task.remembered() if self.durable else (None, None)
        if not self.durable:
            this = f"try {task.instance.try_number}"
            identity = replace(identity, parts=(*identity.parts, this))
        if known is not None:
            self.log.info("an earlier try had the job %s", known.name)
        started = start_generation(
            self.client,
            job,
            identity,
            number=number,
            on_conflict=self.on_conflict,
            timeout_seconds=self._timeout_seconds,
        )
        ref = started.job.ref
        task.push("job_name", ref.name)
        task.push("job_namespace", ref.namespace)
        task.remember(ref, started.number)
        self.log.info("%s", _STEPS[started.step].format(name=ref.name, namespace=ref.namespace))
        return started

    def _followed(self, task: Task, ref: JobRef) -> Job:
        """Return the job at its end; its log and its progress go to the task's log."""
        assert self._follower is not None
        progress, began, pushed_at = Progress(), time.monotonic(), -math.inf
        latest: Job | None = None
        for item in self._follower.follow(self.client, ref, log=self.get_logs):
            now = time.monotonic()
            if isinstance(item, Stop):
                self._give_up(task, ref)
            elif isinstance(item, Line):
                self.log.info("%s", item.text)
            elif isinstance(item, Seen):
                latest = item.job
                if latest.status.finished:
                    return latest
                if line := progress.line(latest, now):
                    self.log.info("%s", line)
                self._link(task, latest)
                if now - pushed_at >= XCOM_SECONDS:
                    task.push("daskjob", summary_of(latest))
                    pushed_at = now
            if latest is not None:
                self._check(latest, now - began)
        raise errors.NotFound(f"{ref.name} was deleted before it ended")

    def _check(self, job: Job, waited_seconds: float) -> None:
        """Raise if the job will never run; it is cancelled."""
        reason = hopeless(job, waited_seconds, self.operator_timeout_seconds)
        if reason is not None:
            self._end(job.ref)
            raise reason

    def _give_up(self, task: Task, ref: JobRef) -> NoReturn:
        """End this try after a signal: the job goes on if the next try follows it."""
        if self.on_worker_shutdown == "detach" and self.durable and task.leaves_job():
            raise errors.Detached(detached(ref.name))
        self.log.warning("the task was ended: %s of %s", self.on_kill_action, ref.name)
        self._end(ref)
        raise errors.Killed(f"the task was ended from outside ({self.on_kill_action} {ref.name})")

    def _end(self, ref: JobRef) -> None:
        with suppress(JobNotFound):
            if self.on_kill_action == "cancel_job":
                self.client.cancel(ref)
            elif self.on_kill_action == "delete_job":
                self.client.delete(ref, force=True)

    # The end of the job

    def _ended(self, task: Task, job: Job) -> Any:
        """Take the end of a job that was seen: return its result, or raise its failure."""
        task.push("daskjob", summary_of(job))
        return self._concluded(job.ref, job.status, job.status.result)

    def _concluded(self, ref: JobRef, status: JobStatus, result: object) -> Any:
        end = Conclusion(
            self.client,
            self.log,
            self.on_finish_action,
            tail=0 if self.get_logs else self.log_tail_on_failure,
            shows_reason=self.log_events_on_failure,
        )
        return end.of(ref, status, result)

    def _link(self, task: Task, job: Job) -> None:
        """Store the link to the dashboard as soon as there is one."""
        found = dashboard_link(job, self.dashboard_url)
        if found and found != self.known_dashboard:
            self.known_dashboard = found
            task.push(LINK_KEY, found)
            self.log.info("Dask dashboard: %s", found)

    # OpenLineage, if its provider is installed

    def get_openlineage_facets_on_start(self) -> Any:
        """Return the facets of a run that starts; ``None``: the provider is not installed."""
        return Facets(self.log).on_start(self)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return the facets of a run that ended; ``None``: the provider is not installed."""
        return Facets(self.log).on_end(self, task_instance)


_STEPS = {
    Step.CREATED: "{name} was started in namespace {namespace}",
    Step.ADOPTED: "{name} of an earlier try is running in namespace {namespace}: following it",
    Step.FINISHED: "{name} of an earlier try has succeeded: taking its result",
}
