"""Dask's automatic scaling, which keeps the workers while the scheduler does not answer."""

from __future__ import annotations

import logging
from typing import Any

from distributed.deploy import Adaptive

logger = logging.getLogger("daskjob")


class Adaptivity(Adaptive):  # type: ignore[misc]
    """Scales a cluster by its load; Dask's own logs a traceback every second where this waits."""

    _is_silent = False

    async def target(self) -> int:
        """Return the wanted number of workers; without an answer, the present one."""
        try:
            wanted = int(await super().target())
        except OSError as error:
            self._lost(error)
            return len(self.plan)
        self._is_silent = False
        return wanted

    async def workers_to_close(self, target: int) -> list[Any]:
        """Return workers to close; none without an answer."""
        try:
            return list(await super().workers_to_close(target))
        except OSError as error:
            self._lost(error)
            return []

    def _lost(self, error: OSError) -> None:
        if not self._is_silent:
            logger.warning(
                "%s is not scaled, since its scheduler does not answer: %s",
                self.cluster.name,
                error,
            )
        self._is_silent = True
