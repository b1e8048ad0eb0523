"""The link to Dask's dashboard on the page of a task, also while it runs."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperatorLink

from daskjob.integrations.airflow.link_text import LINK_KEY


class DaskDashboardLink(BaseOperatorLink):
    """The dashboard of the job's cluster; it ends with the cluster."""

    name = "Dask dashboard"

    @property
    def xcom_key(self) -> str:
        """The key under which tasks and triggers store the link as soon as it is known."""
        return LINK_KEY

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the link that is stored already: Airflow stores it again when a try ends.

        To ask Airflow for it would log an error wherever there is none yet.
        """
        del ti_key
        return str(getattr(operator, "known_dashboard", "") or "")
