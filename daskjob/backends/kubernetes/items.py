"""What is kept of an object that the API server tells of, and how its bytes become that.

No I/O here. Ten thousand pods of 6 KB each would be half a gigabyte of dictionaries. Of a pod
only the facts are kept that a pass reads, of a Service or ConfigMap that it is there, of our own
kinds everything but what others wrote beside it: as bytes, until somebody reads them. The types
below say which fields are decoded; the decoder skips the others without making anything of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar, cast

import msgspec

from daskjob.backends.kubernetes.resources import Resource
from daskjob.core import names
from daskjob.core.caching import cached_by_identity, shared
from daskjob.core.errors import ApiError
from daskjob.core.manifests import DEEPEST_LEVELS, Manifest, ObjectRef, is_too_deep
from daskjob.core.pods import PodFacts, pod_facts

_Decoded = TypeVar("_Decoded")

#: Annotations as large as the object itself, written by tools for themselves.
_TOOLS_COPIES = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "kopf.zalando.org/last-handled-configuration",
)


@dataclass(frozen=True, slots=True)
class Item:
    """An object as the cache holds it; never changed, only followed by a newer one."""

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
    #: The JSON of an object of one of our four kinds, but for managedFields and tools' copies of
    #: it; empty for others.
    data: bytes = b""
    #: The facts of a pod.
    pod: PodFacts | None = None

    @property
    def manifest(self) -> Manifest | None:
        """An object of one of our four kinds, as it is read while passes look at it.

        Raises ``UnexpectedObject`` for what is no JSON of an object.
        """
        return _manifest(self.data) if self.data else None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    items: list[Item]
    #: The moment of which the whole list tells, all its pages alike.
    version: int
    #: What to ask for the next page with; empty: this is the last.
    proceed: str


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a watch: an object that changed or went, or only how far the watch has come."""

    version: int
    #: The object as it is now; ``None``: it went, or the line tells nothing new.
    item: Item | None = None
    #: The object that went.
    gone: ObjectRef | None = None


#: Says whether an object of this uid is known as it was at a version, or as it was later.
Known = Callable[[str, int], bool]


def nothing_known(_uid: str, _version: int) -> bool:
    """Say that all is news."""
    return False


class UnexpectedObject(ApiError):
    """What came is nothing that the API server says of objects of this kind."""


class WatchFailed(ApiError):
    """The server says within a watch that it cannot go on; ``code`` is its reason."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(code, words)
        self.code = code
        self.words = words

    def __str__(self) -> str:
        return f"the watch ended with {self.code}: {self.words}"


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


class _HeadMetadata(msgspec.Struct):
    name: str = ""
    namespace: str | None = None
    uid: str = ""
    resourceVersion: str = ""  # noqa: N815 - Kubernetes' names


class _Head(msgspec.Struct):
    metadata: _HeadMetadata


class _Bare(TypedDict, total=False):
    metadata: _Metadata


#: The text of a field that is not there.
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


class _PodSpec(TypedDict, total=False):
    nodeName: str | None
    restartPolicy: str | None
    activeDeadlineSeconds: int | None
    containers: list[_Container] | None


class _StateDetail(TypedDict, total=False):
    reason: str | None
    message: str | None
    exitCode: int | None
    startedAt: str | None
    finishedAt: str | None


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


class _ListMetadata(msgspec.Struct):
    resourceVersion: str = ""  # noqa: N815 - Kubernetes' names
    proceed: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListMetadata
    items: list[msgspec.Raw] | None = None


class _Line(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Failure(TypedDict, total=False):
    code: int | None
    message: str | None


#: So many mappings and lists within each other are read; the specs allow half of that, so what is
#: cut off is noticed there.
READ_LEVELS = 2 * DEEPEST_LEVELS
#: A string, in which brackets mean nothing, or a bracket.
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]')

_LIST = msgspec.json.Decoder(_List)
_LINE = msgspec.json.Decoder(_Line)
_HEAD = msgspec.json.Decoder(_Head)
_FAILURE = msgspec.json.Decoder(_Failure)
_POD: msgspec.json.Decoder[Manifest] = msgspec.json.Decoder(_Pod)
_BARE: msgspec.json.Decoder[Manifest] = msgspec.json.Decoder(_Bare)
_OWN = msgspec.json.Decoder(_Own)
_WHOLE: msgspec.json.Decoder[Manifest] = msgspec.json.Decoder(dict[str, Any])
_WITH_REFERENCE = msgspec.json.Decoder(_WithReference)
_WITH_NAME = msgspec.json.Decoder(_WithName)


class ItemDecoder:
    """Makes items of the bytes in which the API server speaks of one kind.

    Raises ``UnexpectedObject`` for what is no JSON of that kind.
    """

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._item = self._other
        if resource.kind == "Pod":
            self._item = self._pod
        elif not resource.metadata_only:
            self._item = self._own

    def item(self, data: bytes | msgspec.Raw) -> Item:
        """Return the item of an object."""
        try:
            item = self._item(data)
        except msgspec.MsgspecError as error:
            raise UnexpectedObject(f"not a {self._resource.kind}: {error}") from error
        if not item.ref.uid:
            raise UnexpectedObject(f"not a {self._resource.kind}: it has no uid")
        return item

    def page(self, data: bytes) -> Page:
        """Return a page of a list."""
        try:
            found = _decoded(_LIST, data)
        except msgspec.MsgspecError as error:
            raise UnexpectedObject(f"not a list of {self._resource.plural}: {error}") from error
        return Page(
            items=[self.item(raw) for raw in found.items or ()],
            version=_number(found.metadata.resourceVersion),
            proceed=found.metadata.proceed,
        )

    def change(self, line: bytes, known: Known = nothing_known) -> Change:
        """Return what a line of a watch tells.

        Most of an object is not even looked at where it went, or is known: the watch tells of each
        write of our own, too, whose answer told as much.

        Raises
        ------
        WatchFailed
            The line says that the watch cannot go on.
        """
        try:
            found = _decoded(_LINE, line)
            if found.type == "ERROR":
                raise self._failure(found.object)
            head = _HEAD.decode(found.object).metadata
        except msgspec.MsgspecError as error:
            raise UnexpectedObject(f"not a line of a watch: {error}") from error
        version = _number(head.resourceVersion)
        if found.type == "BOOKMARK":
            return Change(version)
        if not head.uid:
            raise UnexpectedObject(f"not a {self._resource.kind}: it has no uid")
        match found.type:
            case "ADDED" | "MODIFIED":
                return Change(
                    version, None if known(head.uid, version) else self.item(found.object)
                )
            case "DELETED":
                namespace = head.namespace or "default"
                gone = ObjectRef(self._resource.kind, namespace, head.name, head.uid)
                return Change(version, gone=gone)
        raise UnexpectedObject(f"not an event of a watch: {found.type}")

    def _failure(self, data: msgspec.Raw) -> ApiError:
        try:
            status = _FAILURE.decode(data)
        except msgspec.MsgspecError as error:
            return UnexpectedObject(f"not a line of a watch: {error}")
        return WatchFailed(status.get("code") or 0, status.get("message") or "no reason given")

    def _other(self, data: bytes | msgspec.Raw) -> Item:
        return self._of(_decoded(_BARE, data).get("metadata") or {})

    def _pod(self, data: bytes | msgspec.Raw) -> Item:
        found = _decoded(_POD, data)
        return self._of(found.get("metadata") or {}, pod=pod_facts(found))

    def _own(self, data: bytes | msgspec.Raw) -> Item:
        found = _decoded(_OWN, data)
        for annotation in _TOOLS_COPIES:
            (found.metadata.get("annotations") or {}).pop(annotation, None)
        # Objects of a list come without these.
        found.apiVersion, found.kind = self._resource.api_version, self._resource.kind
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
            ref=pod.ref if pod else _reference(self._resource.kind, meta),
            version=_number(meta.get("resourceVersion", "")),
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
    try:
        found = _WHOLE.decode(data)
        if is_too_deep(found, READ_LEVELS):
            raise RecursionError
        return found
    except RecursionError:
        return _WHOLE.decode(flattened(data))
    except msgspec.MsgspecError as error:
        raise UnexpectedObject(f"not an object of ours: {error}") from error


def still_there(data: bytes) -> bool:
    """Say whether an object is still there, of what its deletion was answered with.

    The answer is a Status where it is gone, or the object as it was (a Service), or the object as
    it goes: in its grace period, or held by a finalizer. A pod that no node runs has neither.
    """
    try:
        meta = _decoded(_BARE, data).get("metadata") or {}
    except msgspec.MsgspecError:
        return False
    held = meta.get("deletionGracePeriodSeconds") or meta.get("finalizers")
    return bool(meta.get("deletionTimestamp") and held)


def _decoded(decoder: msgspec.json.Decoder[_Decoded], data: bytes | msgspec.Raw) -> _Decoded:
    try:
        return decoder.decode(data)
    except RecursionError:
        return decoder.decode(flattened(data))


def flattened(data: bytes | msgspec.Raw) -> bytes:
    """Return JSON without what is nested deeper than can be read; null stands there instead.

    Anybody may write ten thousand brackets into a field that is kept whole. Without this nobody
    could read the list in which that object stands, and every other job would stand still.
    """
    kept: list[bytes] = []
    text = bytes(data)
    depth = begin = 0
    for token in _TOKEN.finditer(text):
        mark = text[token.start()]
        if mark in b"[{":
            depth += 1
            if depth == READ_LEVELS + 1:
                kept += [text[begin : token.start()], b"null"]
        elif mark in b"]}":
            if depth == READ_LEVELS + 1:
                begin = token.end()
            depth -= 1
    return b"".join([*kept, text[begin:]])


def _controller(meta: Manifest) -> Manifest:
    for owner in meta.get("ownerReferences") or ():
        if owner.get("controller"):
            return dict(owner)
    return {}


def _cluster_ref(kind: str, spec: msgspec.Raw) -> str:
    """Return the name of the cluster that the spec of one of our kinds names; empty: of none."""
    try:
        if kind == names.Kind.JOB:
            return _WITH_REFERENCE.decode(spec).clusterRef.name
        if kind in (names.Kind.GROUP, names.Kind.AUTOSCALER):
            return _WITH_NAME.decode(spec).cluster
    except msgspec.MsgspecError:
        # It is not there, or is no name: the readers of specs tell of that.
        pass
    return ""


def _reference(kind: str, meta: Manifest) -> ObjectRef:
    return ObjectRef(
        kind, shared(meta.get("namespace") or "default"), meta.get("name", ""), meta.get("uid", "")
    )


def _number(version: str) -> int:
    """Return a resourceVersion as the number that it is in etcd; 0 where it is none."""
    return int(version) if version.isdigit() else 0
