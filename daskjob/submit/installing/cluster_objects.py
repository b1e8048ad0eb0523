"""Objects of any kind that the chart renders, at an API server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daskjob.core.errors import ApiError, NotFound, Permission
from daskjob.core.manifests import Manifest, mappings, metadata
from daskjob.kube.api import Api
from daskjob.kube.errors import NoSuchResource
from daskjob.kube.requests import Request
from daskjob.kube.resources import Resource

#: The owner of the fields that are applied.
FIELD_MANAGER = "daskjob-install"
_APPLY = "application/apply-patch+yaml"
_CLUSTER_SCOPED = frozenset(
    {"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "Node"}
)
_PLURALS = {"NetworkPolicy": "networkpolicies"}


@dataclass(frozen=True, slots=True, order=True)
class ObjectId:
    """An object, of any uid."""

    api_version: str
    kind: str
    #: Empty for an object of the whole cluster.
    namespace: str
    name: str

    @classmethod
    def of(cls, manifest: Manifest) -> ObjectId:
        """Return the identity of a manifest."""
        meta = metadata(manifest)
        kind = str(manifest["kind"])
        namespace = "" if kind in _CLUSTER_SCOPED else str(meta.get("namespace") or "")
        return cls(str(manifest["apiVersion"]), kind, namespace, str(meta["name"]))

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {where}{self.name}"

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def resource(self) -> Resource:
        """The kind as the API names it."""
        plural = _PLURALS.get(self.kind, f"{self.kind.lower()}s")
        return Resource(self.kind, self.api_version, plural)

    def permission(self, verb: str) -> Permission:
        """Return the permission that a request for this object needs."""
        return Permission(verb, self.resource.plural, self.group, self.namespace)


class ClusterObjects:
    """Reads, applies and deletes objects of any kind."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def get(self, wanted: ObjectId) -> Manifest | None:
        """Return an object; ``None``: it does not exist.

        Raises
        ------
        NoSuchResource
            The cluster does not know its kind.
        """
        try:
            return await self._sent("get", wanted)
        except NotFound:
            return None

    async def exists(self, wanted: ObjectId) -> bool:
        """Return whether an object exists; its kind need not."""
        try:
            return await self.get(wanted) is not None
        except NoSuchResource:
            return False

    async def apply(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        """Apply an object on the server's side; fields that others have set are taken over."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        if dry_run:
            query["dryRun"] = "All"
        wanted = ObjectId.of(manifest)
        return await self._sent("patch", wanted, manifest, query=query, content_type=_APPLY)

    async def patch(self, wanted: ObjectId, operations: list[Manifest]) -> Manifest:
        """Change an object by a JSON patch."""
        query = {"fieldManager": FIELD_MANAGER}
        return await self._sent(
            "patch", wanted, operations, query=query, content_type="application/json-patch+json"
        )

    async def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        """Create an object."""
        query = {"dryRun": "All"} if dry_run else {}
        return await self._sent("create", ObjectId.of(manifest), manifest, query=query)

    async def delete(self, wanted: ObjectId, *, foreground: bool = False) -> bool:
        """Delete an object; return whether it existed."""
        policy = "Foreground" if foreground else "Background"
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}
        try:
            await self._sent("delete", wanted, options)
        except (NotFound, NoSuchResource):
            return False
        return True

    async def list(
        self,
        api_version: str,
        kind: str,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
    ) -> list[Manifest]:
        """Return the objects of a kind, of one namespace or of all; none of an unknown kind."""
        resource = ObjectId(api_version, kind, "", "").resource
        selectors = {"labelSelector": labels, "fieldSelector": fields}
        request = Request(
            "list",
            resource,
            resource.path(namespace or None),
            f"list of {resource.plural}",
            namespace or None,
            {name: value for name, value in selectors.items() if value},
        )
        try:
            found = object_of(await self._api.send(request), request)
        except NoSuchResource:
            return []
        return [
            {**item, "apiVersion": api_version, "kind": kind}
            for item in mappings(found.get("items"))
        ]

    async def may(self, permission: Permission) -> bool:
        """Return whether the user has a permission."""
        resource, _, subresource = permission.resource.partition("/")
        attributes = {
            "verb": permission.verb,
            "group": permission.group,
            "resource": resource,
            "subresource": subresource,
            "namespace": permission.namespace,
        }
        review = await self.review(
            "authorization.k8s.io/v1", "SelfSubjectAccessReview", {"resourceAttributes": attributes}
        )
        return bool(review["status"].get("allowed"))

    async def review(self, api_version: str, kind: str, spec: Manifest) -> Manifest:
        """Ask a question that is answered at once, and is no object that is stored."""
        wanted = ObjectId(api_version, kind, "", "")
        body = {"apiVersion": api_version, "kind": kind, "spec": spec}
        return await self._sent("create", wanted, body)

    async def _sent(
        self,
        verb: str,
        wanted: ObjectId,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Manifest:
        name = "" if verb == "create" else wanted.name
        request = Request(
            verb,
            wanted.resource,
            wanted.resource.path(wanted.namespace or None, name),
            str(wanted),
            wanted.namespace or None,
            query or {},
            body=None if body is None else json.dumps(body).encode(),
            content_type=content_type,
        )
        return object_of(await self._api.send(request), request)


def object_of(body: bytes, request: Request) -> dict[str, Any]:
    """Return the object in a response.

    Raises
    ------
    ApiError
        It has none: something else than an API server has answered.
    """
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ApiError(
            f"{request.subject}: the response is no JSON object, so it is not from an API server: "
            "check the server of your kubeconfig, and whether a proxy in between wants a login"
        )
    return found
