"""What is kept of an object that the API server tells of, and how its bytes become that.

No I/O here. Ten thousand pods of 6 KB each would be half a gigabyte of dictionaries. Of a pod
only the facts are kept that a pass reads, of a Service or ConfigMap that it is there, of our own
kinds everything but what others wrote beside it: as bytes, until somebody reads them. The types
below say which fields are decoded; the decoder skips the others without making anything of them.
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
    """Makes items of the bytes in which the API server speaks of one kind.

    Raises ``UnexpectedObject`` for what is no JSON of that kind.
    """

    def __init__(self, kind: Watched) -> None:
        self._kind = kind
        self._item = self._other
        if kind.kind == "Pod":
            self._item = self._pod
        elif not kind.metadata_only:
            self._item = self._own

    def item(self, data: bytes | msgspec.Raw) -> Item:
        """Return the item of an object."""
        try:
            item = self._item(data)
        except msgspec.MsgspecError as error:
            raise UnexpectedObject(f"not a {self._kind.kind}: {error}") from error
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

    def change(self, line: bytes, known: Known = nothing_known) -> Change:
        """Return what a line of a watch tells.

        Most of an object is not even looked at where it went, or is known: the watch tells of each
        write of our own, too, whose answer told as much.

        Raises
        ------
        WatchFailed
            The line says that the watch cannot go on.
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
        return self._of(decoded(_BARE, data).get("metadata") or {})

    def _pod(self, data: bytes | msgspec.Raw) -> Item:
        found = decoded(_POD, data)
        return self._of(found.get("metadata") or {}, pod=pod_facts(found))

    def _own(self, data: bytes | msgspec.Raw) -> Item:
        found = decoded(_OWN, data)
        for annotation in _TOOLS_COPIES:
            (found.metadata.get("annotations") or {}).pop(annotation, None)
        # Objects of a list come without these.
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


def still_there(data: bytes) -> bool:
    """Say whether an object is still there, of what its deletion was answered with.

    The answer is a Status where it is gone, or the object as it was (a Service), or the object as
    it goes: in its grace period, or held by a finalizer. A pod that no node runs has neither.
    """
    try:
        meta = decoded(_BARE, data).get("metadata") or {}
    except msgspec.MsgspecError:
        return False
    held = meta.get("deletionGracePeriodSeconds") or meta.get("finalizers")
    return bool(meta.get("deletionTimestamp") and held)


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
