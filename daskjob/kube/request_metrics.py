"""The protocol of metrics about requests to an API server. Imports nothing but ``typing``."""

from __future__ import annotations

from typing import Protocol


class RequestMetrics(Protocol):
    """Counts requests and broken watches; calls must be quick and never fail."""

    def request(self, verb: str, kind: str, code: int, seconds: float) -> None:
        """Count a request: ``get``, ``Pod``, 200; code 0 if there was no response."""
        ...

    def watch_restarted(self, kind: str) -> None:
        """Count a watch that broke: by an error, a 410, or silence."""
        ...
