"""How an operator or a sensor reaches the cluster of its connection."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from daskjob.integrations.airflow import errors
from daskjob.integrations.airflow.arguments import RULES, check
from daskjob.integrations.airflow.lookup import found_connection

if TYPE_CHECKING:
    import logging
    from collections.abc import Sequence

    from daskjob import JobClient


class ClusterAccess:
    """The arguments of Airflow's operators of Kubernetes about their connection."""

    kubernetes_conn_id: str | None
    namespace: str | None
    in_cluster: bool | None
    config_file: str | None
    cluster_context: str | None
    if TYPE_CHECKING:
        log: logging.Logger
        task_id: str
        template_fields: Sequence[str]

    def judge_arguments(self, *, rendered: bool = False) -> None:
        """Raise ``WrongArguments`` with every mistake; ``rendered``: templates are values now."""
        with errors.airflow_errors():
            given = {name: value for name, value in vars(self).items() if name in RULES}
            check(self.task_id, given, later=() if rendered else self.template_fields)

    @cached_property
    def hook(self) -> Any:
        """The hook whose connection leads to the cluster; subclasses return that of their cloud."""
        from daskjob.integrations.airflow.hooks import DaskJobHook

        return DaskJobHook(
            conn_id=self.kubernetes_conn_id,
            in_cluster=self.in_cluster,
            config_file=self.config_file,
            cluster_context=self.cluster_context,
        )

    @property
    def access_arguments(self) -> dict[str, Any]:
        """The arguments that a trigger for the same cluster takes."""
        return {
            "kubernetes_conn_id": self.kubernetes_conn_id,
            "in_cluster": self.in_cluster,
            "config_file": self.config_file,
            "cluster_context": self.cluster_context,
        }

    def job_client(self) -> JobClient:
        """Return the jobs of the namespace; the hook is loaded only if a subclass has its own."""
        if type(self).hook is not ClusterAccess.hook:
            from daskjob.integrations.airflow.hooks import job_client

            return job_client(self.hook, self.namespace or "")
        from daskjob import JobClient

        given = {
            "in_cluster": self.in_cluster,
            "kube_config_path": self.config_file,
            "cluster_context": self.cluster_context,
        }
        found = found_connection(self.kubernetes_conn_id, given)
        return JobClient(
            self.namespace or found.namespace,
            credentials=found.credentials(),
            notify=self.log.warning,
        )
