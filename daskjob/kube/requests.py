"""One request to the API server, and whether it may be repeated after a failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from daskjob.core.manifests import ObjectRef
from daskjob.kube.resources import Resource, Selection, resource_of

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
_METADATA_ONLY = "application/json;as={};g=meta.k8s.io;v=v1"

#: The maximum number of tries of a request.
TRIES = 4

#: The HTTP methods of Kubernetes' verbs.
_METHODS = {
    "get": "GET",
    "list": "GET",
    "watch": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
}
_WRITES = frozenset({"create", "update", "patch", "delete"})
#: A second create would fail because the name is taken, a second update by conflict with the first.
_NOT_REPEATABLE = frozenset({"create", "update"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request."""

    #: Kubernetes' verb, as roles name it.
    verb: str
    resource: Resource
    path: str
    #: The object or list, for messages.
    subject: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = JSON
    #: Whether the response has only the metadata of the objects.
    metadata_only: bool = False
    #: Whether it writes the status subresource.
    of_status: bool = False
    tries: int = TRIES

    @classmethod
    def about(
        cls,
        verb: str,
        ref: ObjectRef,
        *,
        subresource: str = "",
        body: object = None,
        content_type: str = JSON,
        metadata_only: bool = False,
    ) -> Request:
        """Return a request about one object."""
        resource = resource_of(ref.kind)
        name = "" if verb == "create" else ref.name
        return cls(
            verb,
            resource,
            resource.path(ref.namespace, name, subresource),
            str(ref),
            body=None if body is None else msgspec.json.encode(body),
            content_type=content_type,
            metadata_only=metadata_only,
            of_status=subresource == "status",
        )

    @classmethod
    def over(cls, verb: str, selection: Selection, query: Mapping[str, str]) -> Request:
        """Return a list or watch request, which is sent only once."""
        return cls(
            verb,
            selection.resource,
            selection.path,
            f"{verb} of {selection.resource.plural}",
            {**query, **selection.query},
            metadata_only=selection.metadata_only,
            tries=1,
        )

    @property
    def method(self) -> str:
        """The HTTP method."""
        return _METHODS[self.verb]

    @property
    def creating(self) -> bool:
        """Whether it creates an object."""
        return self.verb == "create"

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice has the same effect as sending it once."""
        return self.verb not in _NOT_REPEATABLE

    @property
    def writes(self) -> bool:
        """Whether it is a write that may be withheld; see ``Resource.urgent``."""
        return self.verb in _WRITES and not self.resource.urgent

    @property
    def in_line(self) -> bool:
        """Whether it waits for its turn; see ``Resource.urgent``.

        The API server's flow control also has a separate priority level for Leases.
        """
        return not self.resource.urgent

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers."""
        accept = JSON
        if self.metadata_only:
            form = "PartialObjectMetadata" + ("List" if self.verb == "list" else "")
            accept = _METADATA_ONLY.format(form)
        # Compressing lists would take both sides longer than sending them.
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        return headers if self.body is None else {**headers, "Content-Type": self.content_type}
