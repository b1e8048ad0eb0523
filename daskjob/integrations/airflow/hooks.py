"""Hooks: clients of jobs and clusters, from a ``kubernetes`` connection of Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook, KubernetesHook

from daskjob.integrations.airflow.connections import Connection
from daskjob.integrations.airflow.lookup import found_connection, found_connection_async

if TYPE_CHECKING:
    from daskjob import AsyncJobClient, ClusterClient, JobClient


class DaskJobHook(KubernetesHook):
    """The jobs of the cluster of a connection, for code that blocks.

    It takes the arguments of ``KubernetesHook``. Unlike that, it reads no kubeconfig before the
    first request, and runs a plugin with credentials only when one is needed.
    """

    def access(self) -> Connection:
        """Return where the cluster is.

        Raises
        ------
        WrongConnection
            The connection's fields exclude each other, or one cannot be read.
        """
        return found_connection(self.conn_id, _given(self))

    def get_client(self, namespace: str = "") -> JobClient:
        """Return the jobs of a namespace, by default that of the connection."""
        from daskjob import JobClient

        found = self.access()
        return JobClient(
            namespace or found.namespace,
            credentials=found.credentials(),
            notify=self.log.warning,
        )

    def get_cluster_client(self, namespace: str = "") -> ClusterClient:
        """Return the clusters of a namespace, by default that of the connection."""
        from daskjob import ClusterClient

        found = self.access()
        return ClusterClient(namespace or found.namespace, credentials=found.credentials())


class AsyncDaskJobHook(AsyncKubernetesHook):
    """The jobs of the cluster of a connection, for triggers."""

    async def access(self) -> Connection:
        """Return where the cluster is; as ``DaskJobHook.access``."""
        return await found_connection_async(self.conn_id, _given(self))

    async def get_client(self, namespace: str = "") -> AsyncJobClient:
        """Return the jobs of a namespace, by default that of the connection."""
        from daskjob import AsyncJobClient

        found = await self.access()
        return AsyncJobClient(
            namespace or found.namespace,
            credentials=found.credentials(),
            notify=self.log.warning,
        )


def job_client(hook: Any, namespace: str = "") -> JobClient:
    """Return the jobs of any hook of Kubernetes: those of GKE and EKS make their own client."""
    if hasattr(hook, "get_client"):
        found: JobClient = hook.get_client(namespace)
        return found
    from daskjob import JobClient

    return JobClient.from_client(hook.get_conn(), namespace or hook.get_namespace() or "")


def cluster_client(hook: Any, namespace: str = "") -> ClusterClient:
    """Return the clusters of any hook of Kubernetes."""
    if hasattr(hook, "get_cluster_client"):
        found: ClusterClient = hook.get_cluster_client(namespace)
        return found
    from daskjob import ClusterClient

    return ClusterClient.from_client(hook.get_conn(), namespace or hook.get_namespace() or "")


async def async_job_client(hook: Any, namespace: str) -> AsyncJobClient:
    """Return the jobs of any asynchronous hook of Kubernetes."""
    if hasattr(hook, "get_client"):
        found: AsyncJobClient = await hook.get_client(namespace)
        return found
    from daskjob import AsyncJobClient

    # Only its configuration is used, which stays after its end.
    async with hook.get_conn() as client:
        return AsyncJobClient.from_client(client, namespace)


def _given(hook: KubernetesHook) -> dict[str, Any]:
    return {
        "in_cluster": hook.in_cluster,
        "kube_config_path": hook.config_file,
        "kube_config": hook.config_dict,
        "cluster_context": hook.cluster_context,
        "disable_verify_ssl": hook.disable_verify_ssl,
    }
