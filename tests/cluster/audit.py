"""Requests to the API server: exact counts from its audit log."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DECISION = "authorization.k8s.io/decision"


@dataclass(frozen=True, slots=True)
class Request:
    """A request that the API server received."""

    user: str
    verb: str
    #: ``pods``, ``pods/status``; a path for a request about no resource.
    resource: str
    namespace: str
    name: str
    #: The status code of the response; 0 until there is one.
    code: int
    user_agent: str
    #: Its time, as sortable text (RFC 3339 with microseconds).
    received: str
    uri: str
    #: Whether authorization allowed it, whatever admission or a quota decided.
    allowed: bool = True

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        parts = self.uri.partition("?")[0].split("/")
        return parts[2] if parts[1:2] == ["apis"] and len(parts) > 2 else ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource} {self.name}"

    @property
    def writes(self) -> bool:
        """Whether it may change something."""
        return self.verb in ("create", "update", "patch", "delete", "deletecollection")


class AuditLog:
    """The audit log of an API server."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def end(self) -> int:
        """Return the current end of the log."""
        return self.path.stat().st_size if self.path.exists() else 0

    def since(self, position: int) -> list[Request]:
        """Return every request that was logged from a position on, each once, in order."""
        found: dict[str, Request] = {}
        for entry in self._entries(position):
            # A watch has two entries: when it starts, and when it ends.
            found.setdefault(str(entry["auditID"]), _request(entry))
        return sorted(found.values(), key=lambda request: request.received)

    def each(self) -> Iterator[Request]:
        """Yield all logged requests; a watch is yielded twice."""
        return map(_request, self._entries(0))

    def _entries(self, position: int) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        with self.path.open("rb") as log:
            log.seek(position)
            for line in log:
                # The last line may be incomplete.
                if line.endswith(b"\n"):
                    yield json.loads(line)


def _request(entry: dict[str, Any]) -> Request:
    about = entry.get("objectRef") or {}
    resource = "/".join(filter(None, (about.get("resource"), about.get("subresource"))))
    uri = str(entry.get("requestURI", ""))
    return Request(
        user=str((entry.get("user") or {}).get("username", "")),
        verb=str(entry.get("verb", "")),
        resource=resource or uri.partition("?")[0],
        namespace=str(about.get("namespace", "")),
        name=str(about.get("name", "")),
        code=int((entry.get("responseStatus") or {}).get("code", 0)),
        user_agent=str(entry.get("userAgent", "")),
        received=str(entry.get("requestReceivedTimestamp", "")),
        uri=uri,
        allowed=(entry.get("annotations") or {}).get(_DECISION) != "forbid",
    )


def counted(requests: Iterable[Request]) -> Counter[tuple[str, str, str]]:
    """Return how often each user sent each verb to each resource."""
    return Counter((request.user, request.verb, request.resource) for request in requests)


def table(requests: Iterable[Request]) -> str:
    """Return the counts as text, the most frequent first."""
    rows = [("REQUESTS", "USER", "VERB", "RESOURCE")]
    rows += [(str(n), *key) for key, n in counted(requests).most_common()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    )
