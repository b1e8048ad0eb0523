"""Dask's automatic scaling, which keeps the workers while the scheduler does not answer."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Mapping
from typing import Any

from distributed.deploy import Adaptive
from distributed.deploy.spec import SpecCluster
from distributed.scheduler import Scheduler

from daskjob.core.errors import UnknownArgument, WrongArgument
from daskjob.core.similar_names import did_you_mean

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


def check_adapt(given: Mapping[str, Any]) -> None:
    """Reject what Dask's scaling would ignore, or would follow without an end.

    Raises
    ------
    UnknownArgument
        It has no such argument; a class of the user's own may have any.
    WrongArgument
        No number of workers is within the bounds.
    """
    if given.get("Adaptive") is Adaptivity:
        known = _known()
        for name in given:
            if name not in known:
                raise UnknownArgument(f"adapt has no argument {name!r}{did_you_mean(name, known)}")
    low = _bound("minimum", given.get("minimum"), 0)
    high = _bound("maximum", given.get("maximum"), math.inf)
    if high < low:
        raise WrongArgument(f"maximum={high} is less than minimum={low}")


def _bound(name: str, given: Any, default: float) -> Any:
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, int | float) or not given >= 0:
        raise WrongArgument(f"{name} must be a number from 0 on; found {given!r}")
    return given


def _known() -> list[str]:
    # The scheduler's are passed on to it.
    functions = (SpecCluster.adapt, Adaptive.__init__, Scheduler.workers_to_close)
    found = {name for one in functions for name in inspect.signature(one).parameters}
    return sorted(found - {"self", "args", "kwargs", "cluster"})
