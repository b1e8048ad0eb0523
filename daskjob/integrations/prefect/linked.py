"""The line of a flow run's log that links to the dashboard of its job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from daskjob.submit.jobs import Job


@dataclass
class DashboardLine:
    """Writes the URL of Dask's dashboard, once it is known."""

    logger: Any
    _written: str = ""

    async def show(self, job: Job) -> None:
        """Write the URL, also of a scheduler that takes the place of a lost one."""
        url = job.status.dashboard_url
        if url and url != self._written:
            self._written = url
            self.logger.info("Dask's dashboard: %s", url)
