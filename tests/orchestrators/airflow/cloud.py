"""An operator as for a cloud whose hooks make their own clients: outside of DAG files."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook, KubernetesHook

from daskjob.integrations.airflow import DaskJobOperator, DaskJobTrigger


class CloudTrigger(DaskJobTrigger):
    """With an asynchronous hook that knows nothing of daskjob."""

    def make_hook(self) -> Any:
        return AsyncKubernetesHook(conn_id=self.kubernetes_conn_id)


class CloudOperator(DaskJobOperator):
    """With a hook that knows nothing of daskjob."""

    trigger_cls = CloudTrigger

    @cached_property
    def hook(self) -> Any:
        return KubernetesHook(conn_id=self.kubernetes_conn_id)
