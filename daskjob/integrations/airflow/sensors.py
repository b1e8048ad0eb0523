"""The sensor that waits for a job which something else has submitted."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from airflow.providers.common.compat.sdk import BaseSensorOperator, conf

from daskjob.core.manifests import mapping
from daskjob.integrations.airflow import errors
from daskjob.integrations.airflow.access import ClusterAccess
from daskjob.integrations.airflow.arguments import explained
from daskjob.integrations.airflow.hopeless import OPERATOR_SECONDS
from daskjob.integrations.airflow.links import DaskDashboardLink
from daskjob.integrations.airflow.summary import ref_in, status_in, summary_of
from daskjob.integrations.airflow.triggers import DaskJobTrigger
from daskjob.submit.jobs import JobRef


class DaskJobSensor(ClusterAccess, BaseSensorOperator):
    """Wait until a DaskJob has ended; return its result, or fail with its failure.

    ``job_name`` and ``namespace`` are those of a job that exists: of a task with
    ``wait_for_completion=False``, they are its XComs ``job_name`` and ``job_namespace``. The sensor
    never cancels the job.
    """

    template_fields: Sequence[str] = (
        "job_name",
        "namespace",
        "kubernetes_conn_id",
        "cluster_context",
    )
    operator_extra_links = (DaskDashboardLink(),)
    ui_color = "#fdf2e4"

    def __init__(
        self,
        *,
        job_name: str,
        namespace: str | None = None,
        kubernetes_conn_id: str | None = "kubernetes_default",
        in_cluster: bool | None = None,
        config_file: str | None = None,
        cluster_context: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        get_logs: bool = False,
        **kwargs: Any,
    ) -> None:
        with explained(DaskJobSensor, kwargs):
            super().__init__(**kwargs)
        self.job_name = job_name
        self.namespace = namespace
        self.kubernetes_conn_id = kubernetes_conn_id
        self.in_cluster = in_cluster
        self.config_file = config_file
        self.cluster_context = cluster_context
        self.deferrable = deferrable
        self.get_logs = get_logs
        self.known_dashboard = ""
        self.judge_arguments()

    def execute(self, context: Any) -> Any:
        """Wait in the triggerer, or poke."""
        self.judge_arguments(rendered=True)
        if not self.deferrable:
            return super().execute(context)
        ref = self._job().ref
        self.defer(
            trigger=DaskJobTrigger(
                ref.name,
                ref.namespace,
                ref.uid,
                **self.access_arguments,
                get_logs=self.get_logs,
                deadline=time.time() + self.timeout if math.isfinite(self.timeout) else None,
                operator_timeout_seconds=OPERATOR_SECONDS,
                on_kill_action="keep_job",
            ),
            method_name="execute_complete",
        )
        return None

    def poke(self, context: Any) -> Any:
        """Return whether the job has ended, with its result."""
        from airflow.sdk import PokeReturnValue

        job = self._job()
        self.known_dashboard = job.status.dashboard_url
        context["ti"].xcom_push(key="daskjob", value=summary_of(job))
        if not job.status.finished:
            return PokeReturnValue(is_done=False)
        if not job.status.succeeded:
            raise errors.failure(job.status)
        return PokeReturnValue(is_done=True, xcom_value=job.status.result)

    def execute_complete(self, context: Any, event: dict[str, Any] | None = None) -> Any:
        """Take the event of the trigger."""
        event = event or {"status": "error", "message": "the trigger sent an empty event"}
        kind, message = str(event.get("status")), str(event.get("message") or "")
        self.known_dashboard = str(event.get("link") or "")
        if kind == "ended":
            context["ti"].xcom_push(key="daskjob", value=event["daskjob"])
            status = status_in(event)
            if not status.succeeded:
                raise errors.failure(status)
            return event.get("result")
        if kind == "timeout":
            from airflow.sdk.exceptions import AirflowSensorTimeout

            raise AirflowSensorTimeout(f"{ref_in(event).name} has not ended within the timeout")
        if kind == "gone":
            raise errors.NotFound(message)
        if kind == "error":
            raise errors.ApiError(message)
        raise errors.by_name(str(event.get("error") or ""), message, mapping(event))

    def _job(self) -> Any:
        with errors.airflow_errors():
            client = self.job_client()
            try:
                return client.get(JobRef(self.job_name, self.namespace or "", ""))
            finally:
                client.close()
