"""Operators that create and delete a DaskCluster which several tasks share.

::

    cluster = CreateDaskClusterOperator(task_id="cluster", n_workers=4)
    delete = DeleteDaskClusterOperator(task_id="delete", cluster=cluster.output)
    cluster.as_setup() >> work >> delete.as_teardown(setups=cluster)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from daskjob.core.errors import DaskJobError, NotFound
from daskjob.core.manifests import Manifest, mapping, metadata
from daskjob.core.messages import cut
from daskjob.core.names import Kind
from daskjob.integrations.airflow import errors
from daskjob.integrations.airflow.access import ClusterAccess
from daskjob.integrations.airflow.arguments import NAMES, WrongArguments, explained
from daskjob.integrations.airflow.link_text import LINK_KEY
from daskjob.integrations.airflow.links import DaskDashboardLink
from daskjob.integrations.airflow.task import Task
from daskjob.submit.generations import Identity, annotations_of, labels_of, name_of

if TYPE_CHECKING:
    from daskjob import ClusterClient
    from daskjob.submit.clusters.cluster import Cluster


class _ClusterOperator(ClusterAccess, BaseOperator):
    """The connection of both operators."""

    template_fields: Sequence[str] = (
        "cluster",
        "namespace",
        "kubernetes_conn_id",
        "cluster_context",
    )
    ui_color = "#fdf2e4"

    def __init__(
        self,
        *,
        cluster: Any = None,
        namespace: str | None = None,
        kubernetes_conn_id: str | None = "kubernetes_default",
        in_cluster: bool | None = None,
        config_file: str | None = None,
        cluster_context: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cluster = cluster
        self.namespace = namespace
        self.kubernetes_conn_id = kubernetes_conn_id
        self.in_cluster = in_cluster
        self.config_file = config_file
        self.cluster_context = cluster_context

    @contextmanager
    def _client(self) -> Iterator[ClusterClient]:
        from daskjob.integrations.airflow.hooks import cluster_client

        with errors.airflow_errors(), cluster_client(self.hook, self.namespace or "") as client:
            yield client


class CreateDaskClusterOperator(_ClusterOperator):
    """Create a DaskCluster, once for a task, and wait until it runs.

    ``cluster`` is a DaskCluster as a dictionary; without it, the other arguments make one, as
    ``daskjob cluster create`` does. It returns ``name``, ``namespace``, ``scheduler_address`` and
    ``dashboard_url``. ``idle_timeout_seconds`` deletes a cluster that no teardown has deleted.
    """

    template_fields: Sequence[str] = (*_ClusterOperator.template_fields, "name", "image", "env")
    operator_extra_links = (DaskDashboardLink(),)

    def __init__(
        self,
        *,
        name: str | None = None,
        image: str | None = None,
        n_workers: int | None = None,
        adapt: tuple[int, int] | None = None,
        worker_resources: Mapping[str, object] | None = None,
        env: Mapping[str, str] | None = None,
        settings: Mapping[str, object] | None = None,
        startup_timeout_seconds: int = 600,
        idle_timeout_seconds: int | None = 86400,
        **kwargs: Any,
    ) -> None:
        with explained(CreateDaskClusterOperator, kwargs):
            super().__init__(**kwargs)
        self.name = name
        self.image = image
        self.n_workers = n_workers
        self.adapt = adapt
        self.worker_resources = worker_resources
        self.env = env
        self.settings = settings
        self.startup_timeout_seconds = startup_timeout_seconds
        self.idle_timeout_seconds = idle_timeout_seconds
        self.known_dashboard = ""
        self.judge_arguments()

    def execute(self, context: Any) -> dict[str, str]:
        """Create it, or find that of an earlier try."""
        task = Task(context)
        self.judge_arguments(rendered=True)
        with self._client() as client:
            created = client.create(self._manifest(task))
            task.push("cluster_name", created.name)
            self.log.info("cluster %s in namespace %s", created.name, created.ref.namespace)
            try:
                ready = client.wait(created, timeout_seconds=self.startup_timeout_seconds)
            except BaseException as error:
                self._give_up(task, client, created, error)
                raise
        return self._published(task, ready)

    def _give_up(
        self, task: Task, client: ClusterClient, cluster: Cluster, error: BaseException
    ) -> None:
        """Delete a cluster that the next try does not wait for: nobody else would.

        Airflow runs no teardown of a setup that has failed.
        """
        final = isinstance(error, DaskJobError) and isinstance(
            errors.as_airflow_error(error), AirflowFailException
        )
        if task.leaves_job() and not final:
            self.log.info("cluster %s stays: the next try waits for it", cluster.name)
            return
        with suppress(DaskJobError):
            client.delete(cluster)
            self.log.info("cluster %s is deleted: it did not become ready", cluster.name)

    def _published(self, task: Task, cluster: Cluster) -> dict[str, str]:
        found = {
            "name": cluster.name,
            "namespace": cluster.ref.namespace,
            "scheduler_address": cluster.status.scheduler_address,
            "dashboard_url": cluster.status.dashboard_url,
        }
        self.known_dashboard = found["dashboard_url"]
        for key in ("scheduler_address", "dashboard_url"):
            task.push(key, found[key])
        task.push(LINK_KEY, self.known_dashboard)
        return found

    def _manifest(self, task: Task) -> Manifest:
        from daskjob.submit.cli.documents import check_document
        from daskjob.submit.cluster_job.cluster import cluster_of_manifest, cluster_of_settings
        from daskjob.submit.cluster_job.image import environment_versions
        from daskjob.submit.settings.merge import merged
        from daskjob.submit.settings.sources import arguments_layer, default_layer

        if self.cluster and mapping(self.cluster).get("kind") != Kind.CLUSTER:
            raise WrongArguments(
                f"task {self.task_id}: cluster: {cut(repr(self.cluster), 80)} is not allowed; "
                "write a dictionary with kind: DaskCluster"
            )
        given = mapping(self.cluster)
        label = self.name or str(metadata(given).get("name") or self.task_id)
        identity = task.identity(label)
        name = name_of(identity, given)
        flags, idle = arguments_layer(self._flags(), NAMES), self.idle_timeout_seconds
        if self.cluster:
            named = {**given, "metadata": {"name": "cluster", **metadata(given)}}
            check_document(named)
            found = cluster_of_manifest(named, name, merged([flags]), idle_seconds=idle)
        else:
            layers = merged([default_layer(), flags])
            versions = environment_versions(os.environ)
            found = cluster_of_settings(name, layers, versions=versions, idle_seconds=idle)
        return _of_task(found.manifest, identity)

    def _flags(self) -> dict[str, object]:
        given: dict[str, object] = {
            "image": self.image,
            "workers": self.n_workers,
            "adapt": f"{self.adapt[0]}:{self.adapt[1]}" if self.adapt else None,
            "env": self.env,
            "namespace": self.namespace,
            **(self.worker_resources or {}),
        }
        known = {key: value for key, value in given.items() if value not in (None, {}, "")}
        return {**(self.settings or {}), **known}


class DeleteDaskClusterOperator(_ClusterOperator):
    """Delete a DaskCluster; one that is gone is no error.

    ``cluster`` is its name, or what ``CreateDaskClusterOperator`` returns (``create.output``).
    """

    def __init__(self, *, cluster: Any, **kwargs: Any) -> None:
        with explained(_ClusterOperator, kwargs):
            super().__init__(cluster=cluster, **kwargs)
        self.judge_arguments()

    def execute(self, context: Any) -> None:
        """Delete it."""
        del context
        self.judge_arguments(rendered=True)
        found = self.cluster
        name = str(found.get("name") or "") if isinstance(found, Mapping) else str(found or "")
        if isinstance(found, Mapping) and not self.namespace:
            self.namespace = str(found.get("namespace") or "")
        if not name:
            self.log.info("no cluster was created")
            return
        with self._client() as client, suppress(NotFound):
            client.delete(client.get(name))
            self.log.info("cluster %s is deleted", name)


def _of_task(cluster: Manifest, identity: Identity) -> Manifest:
    """Return a cluster that each try of a task finds as its own."""
    from daskjob.submit.clusters.cluster import ANNOTATION_CREATION

    meta = metadata(cluster)
    labels = {**mapping(meta.get("labels")), **labels_of(identity)}
    annotations = {
        **mapping(meta.get("annotations")),
        **annotations_of(identity),
        ANNOTATION_CREATION: identity.digest,
    }
    return {**cluster, "metadata": {**meta, "labels": labels, "annotations": annotations}}
