"""OpenLineage, where Airflow's provider of it is installed; otherwise nothing happens."""

from __future__ import annotations

from contextlib import suppress
from typing import Any


def parent_variables(task_instance: Any) -> dict[str, str]:
    """Return the variable by which a program's own OpenLineage client finds its parent run."""
    with suppress(Exception):
        from airflow.providers.openlineage.plugins.macros import lineage_parent_id

        return {"OPENLINEAGE_PARENT_ID": str(lineage_parent_id(task_instance))}
    return {}


class Facets:
    """The facets of an operator: what ran, and how it went."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def on_start(self, operator: Any) -> Any:
        """Return what is known before the job runs; ``None`` without the provider."""
        if operator.local:
            return self._facets({"local": True})
        return self._facets({"kubernetesConnId": str(operator.kubernetes_conn_id)})

    def on_end(self, operator: Any, task_instance: Any) -> Any:
        """Return how the job ended; ``None`` without the provider."""
        found: dict[str, Any] = {}
        with suppress(Exception):
            found = task_instance.xcom_pull(task_ids=operator.task_id, key="daskjob") or {}
        return self._facets({key: value for key, value in found.items() if value is not None})

    def _facets(self, values: dict[str, Any]) -> Any:
        try:
            from airflow.providers.openlineage.extractors import OperatorLineage
            from openlineage.client.facet_v2 import RunFacet
        except ImportError:
            self._log.debug("OpenLineage is not installed")
            return None
        facet = RunFacet().with_additional_properties(**values)
        return OperatorLineage(run_facets={"daskjob": facet})
