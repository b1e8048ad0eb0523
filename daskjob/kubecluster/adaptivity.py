"""What ``adapt`` returns: the bounds of a group that the operator scales."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from typing import Any

logger = logging.getLogger("daskjob")


class Adaptivity:
    """The automatic scaling of one worker group.

    It may be awaited, until the API server has the bounds. It works without that.
    """

    def __init__(
        self,
        group: str,
        minimum: int,
        maximum: int,
        *,
        stop: Callable[[str], Any],
        writing: asyncio.Future[Any] | None = None,
    ) -> None:
        self.worker_group = group
        self.minimum = minimum
        self.maximum = maximum
        self._stop = stop
        self._writing = writing
        self._is_awaited = False
        if writing is not None:
            writing.add_done_callback(self._written)

    def stop(self) -> Any:
        """Stop to scale the group; it keeps its workers."""
        return self._stop(self.worker_group)

    def __await__(self) -> Generator[Any, None, Adaptivity]:
        self._is_awaited = True
        if self._writing is not None:
            yield from self._writing.__await__()
        return self

    def _written(self, writing: asyncio.Future[Any]) -> None:
        """Log an error that nothing awaits."""
        if self._is_awaited or writing.cancelled():
            return
        if (error := writing.exception()) is not None:
            logger.warning("group %s is not scaled automatically: %s", self.worker_group, error)

    def __repr__(self) -> str:
        return (
            f"Adaptivity(worker_group={self.worker_group!r}, minimum={self.minimum}, "
            f"maximum={self.maximum})"
        )
