"""What the cache keeps of an object, and how it is decoded.

Ten thousand pods of 6 KB each would be half a gigabyte of dictionaries. So the cache keeps only the
facts of a pod that passes read, only the metadata of a Service or ConfigMap, and an object of our
own kinds as bytes, without managedFields and tools' copies, until it is read. The types below list
the decoded fields; the decoder skips the others without creating Python objects for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict, cast

import msgspec

from daskjob.backends.kubernetes.watching.kinds import Watched
from daskjob.core import names
from daskjob.core.caching import cached_by_identity, shared
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.core.pods import PodFacts, pod_facts
from daskjob.kube.decoding import (
    BOOKMARK,
    DELETED,
    decoded,
    read_line,
    read_object,
    read_page,
    version_number,
)
from daskjob.kube.errors import UnexpectedObject

#: Annotations in which tools keep a copy of the object, as large as the object itself.
_TOOLS_COPIES = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "kopf.zalando.org/last-handled-configuration",
)


@dataclass(frozen=True, slots=True)
class Item:
    """An object as the cache holds it; immutable, and replaced by newer ones."""

    ref: ObjectRef
    #: Its resourceVersion: larger is newer, for one object and for all of a kind.
    version: int
    #: The controller owner; empty where there is none.
    owner_kind: str = ""
    owner_uid: str = ""
    #: Value of the label ``dask.org/cluster-name``; empty where there is none.
    cluster: str = ""
    #: The cluster that a group's or an autoscaler's spec names, or a job's ``clusterRef``.
    cluster_ref: str = ""
    #: Whether it has a deletionTimestamp.
    deleting: bool = False
    #: The JSON of an object of our four kinds, without managedFields and tools' copies; empty for
    #: other kinds.
    data: bytes = b""
    #: The facts of a pod.
    pod: PodFacts | None = None

    @property
    def manifest(self) -> Manifest | None:
        """The manifest of an object of our four kinds, decoded on demand.

        Raises ``UnexpectedObject`` if it is not JSON of an object.
        """
        return _manifest(self.data) if self.data else None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    items: list[Item]
    #: The resourceVersion of the list, the same on all its pages.
    version: int
    #: The ``continue`` token of the next page; empty: this is the last.
    proceed: str


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a watch: a changed or deleted object, or a bookmark."""

    version: int
    #: The object as it is now; ``None``: deleted, a bookmark, or already known.
    item: Item | None = None
    #: The deleted object.
    gone: ObjectRef | None = None


#: Returns whether this version of the object of a uid, or a newer one, is already known.
Known = Callable[[str, int], bool]


def never_known(_uid: str, _version: int) -> bool:
    """Return False: no version is known."""
    return False


class _Owner(TypedDict, total=False):
    apiVersion: str
    kind: str
    name: str
    uid: str
    controller: bool | None
    blockOwnerDeletion: bool | None


class _Metadata(TypedDict, total=False):
    name: str
    namespace: str | None
    uid: str
    resourceVersion: str
    generation: int | None
    creationTimestamp: str | None
    deletionTimestamp: str | None
    deletionGracePeriodSeconds: int | None
    labels: dict[str, str] | None
    annotations: dict[str, str] | None
    ownerReferences: list[_Owner] | None
    finalizers: list[str] | None


class _Bare(TypedDict, total=False):
    metadata: _Metadata


#: The text of an absent field.
_ABSENT = msgspec.Raw(b"")


class _Own(msgspec.Struct, omit_defaults=True):
    apiVersion: str = ""  # noqa: N815 - Kubernetes' names
    kind: str = ""
    metadata: _Metadata = {}
    spec: msgspec.Raw = _ABSENT
    status: msgspec.Raw = _ABSENT


class _Reference(msgspec.Struct):
    name: str = ""


class _WithReference(msgspec.Struct):
    """The spec of a job, as far as it names a cluster."""

    clusterRef: _Reference  # noqa: N815 - Kubernetes' names


class _WithName(msgspec.Struct):
    """The spec of a group or an autoscaler, as far as it names a cluster."""

    cluster: str


class _Variable(TypedDict, total=False):
    name: str
    value: str | None


class _Container(TypedDict, total=False):
    name: str
    env: list[_Variable] | None


class _Image(TypedDict, total=False):
    reference: str | None


class _Volume(TypedDict, total=False):
    name: str
    image: _Image | None


class _PodSpec(TypedDict, total=False):
    nodeName: str | None
    restartPolicy: str | None
    activeDeadlineSeconds: int | None
    containers: list[_Container] | None
    volumes: list[_Volume] | None


class _StateDetail(TypedDict, total=False):
    reason: str | None
    message: str | None
    exitCode: int | None
    startedAt: str | None
    finishedAt: str | None
    containerID: str | None


class _State(TypedDict, total=False):
    waiting: _StateDetail | None
    running: _StateDetail | None
    terminated: _StateDetail | None


class _ContainerStatus(TypedDict, total=False):
    name: str
    state: _State | None
    lastState: _State | None
    ready: bool | None
    restartCount: int | None
    containerID: str | None


class _Condition(TypedDict, total=False):
    type: str
    status: str
    reason: str | None
    message: str | None
    lastTransitionTime: str | None


class _PodStatus(TypedDict, total=False):
    phase: str | None
    reason: str | None
    message: str | None
    startTime: str | None
    podIP: str | None
    conditions: list[_Condition] | None
    containerStatuses: list[_ContainerStatus] | None
    initContainerStatuses: list[_ContainerStatus] | None


class _Pod(TypedDict, total=False):
    metadata: _Metadata
    spec: _PodSpec
    status: _PodStatus | None


_POD: msgspec.json.Decoder[Manifest] = msgspec.json.Decoder(_Pod)
_BARE: msgspec.json.Decoder[Manifest] = msgspec.json.Decoder(_Bare)
_OWN = msgspec.json.Decoder(_Own)
_WITH_REFERENCE = msgspec.json.Decoder(_WithReference)
_WITH_NAME = msgspec.json.Decoder(_WithName)


class ItemDecoder:
    """Decodes the API server's JSON of one kind into items.

    Raises ``UnexpectedObject`` if it is not JSON of that kind.
    """

    def __init__(self, kind: Watched) -> None:
        self._kind = kind
        self._what = f"a {kind.kind}"
        self._item = self._other
        if kind.kind == "Pod":
            self._item = self._pod
        elif not kind.metadata_only:
            self._item = self._own

    def item(self, data: bytes | msgspec.Raw) -> Item:
        """Return the item of an object."""
        item = self._item(data)
        if not item.ref.uid:
            raise UnexpectedObject(f"not a {self._kind.kind}: it has no uid")
        return item

    def page(self, data: bytes) -> Page:
        """Return a page of a list."""
        found = read_page(data, self._kind.resource.plural)
        return Page(
            items=[self.item(raw) for raw in found.items],
            version=found.version,
            proceed=found.proceed,
        )

    def change(self, line: bytes, known: Known = never_known) -> Change:
        """Return the change in a line of a watch.

        A deleted or known object is decoded no further than its metadata: the watch also reports
        each write of our own, whose response already updated the cache.

        Raises
        ------
        WatchFailed
            It is an ERROR event: the watch cannot continue.
        """
        found = read_line(line)
        version = found.version
        if found.type == BOOKMARK:
            return Change(version)
        if not found.uid:
            raise UnexpectedObject(f"not a {self._kind.kind}: it has no uid")
        if found.type == DELETED:
            gone = ObjectRef(self._kind.kind, found.namespace, found.name, found.uid)
            return Change(version, gone=gone)
        return Change(version, None if known(found.uid, version) else self.item(found.object))

    def _other(self, data: bytes | msgspec.Raw) -> Item:
        return self._of(decoded(_BARE, data, self._what).get("metadata") or {})

    def _pod(self, data: bytes | msgspec.Raw) -> Item:
        found = decoded(_POD, data, self._what)
        return self._of(found.get("metadata") or {}, pod=pod_facts(found))

    def _own(self, data: bytes | msgspec.Raw) -> Item:
        found = decoded(_OWN, data, self._what)
        for annotation in _TOOLS_COPIES:
            (found.metadata.get("annotations") or {}).pop(annotation, None)
        # Items of a list lack these.
        found.apiVersion, found.kind = self._kind.resource.api_version, self._kind.kind
        cluster_ref = _cluster_ref(found.kind, found.spec)
        data = msgspec.json.encode(found)
        return self._of(cast("Manifest", found.metadata), cluster_ref=cluster_ref, data=data)

    def _of(
        self,
        meta: Manifest,
        *,
        cluster_ref: str = "",
        data: bytes = b"",
        pod: PodFacts | None = None,
    ) -> Item:
        owner = _controller(meta)
        return Item(
            ref=pod.ref if pod else _reference(self._kind.kind, meta),
            version=version_number(meta.get("resourceVersion", "")),
            owner_kind=shared(owner.get("kind", "")),
            owner_uid=shared(owner.get("uid", "")),
            cluster=shared((meta.get("labels") or {}).get(names.LABEL_CLUSTER_NAME, "")),
            cluster_ref=cluster_ref,
            deleting=bool(meta.get("deletionTimestamp")),
            data=data,
            pod=pod,
        )


@cached_by_identity
def _manifest(data: bytes) -> Manifest:
    return read_object(data)


def is_terminating(data: bytes) -> bool:
    """Return whether an object still exists, by the response to its deletion.

    The response is a Status or the last state (a Service) if it is gone, or the terminating object:
    in its grace period, or held by a finalizer. A pod without a node has neither.
    """
    try:
        meta = decoded(_BARE, data, "an object").get("metadata") or {}
    except UnexpectedObject:
        return False
    held = meta.get("deletionGracePeriodSeconds") or meta.get("finalizers")
    return bool(meta.get("deletionTimestamp") and held)


def _controller(meta: Manifest) -> Manifest:
    for owner in meta.get("ownerReferences") or ():
        if owner.get("controller"):
            return dict(owner)
    return {}


def _cluster_ref(kind: str, spec: msgspec.Raw) -> str:
    """Return the name of the cluster that a spec refers to; empty if none."""
    try:
        if kind == names.Kind.JOB:
            return decoded(_WITH_REFERENCE, spec, "a spec").clusterRef.name
        if kind in (names.Kind.GROUP, names.Kind.AUTOSCALER):
            return decoded(_WITH_NAME, spec, "a spec").cluster
    except UnexpectedObject:
        # It is missing or not a name, which the readers of specs report.
        pass
    return ""


def _reference(kind: str, meta: Manifest) -> ObjectRef:
    return ObjectRef(
        kind, shared(meta.get("namespace") or "default"), meta.get("name", ""), meta.get("uid", "")
    )
