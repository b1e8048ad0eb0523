"""The JSON of the API server: objects, pages of lists, lines of watches."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from daskjob.core.manifests import DEEPEST_LEVELS, Manifest, is_too_deep
from daskjob.kube.errors import MALFORMED, UnexpectedObject, WatchFailed

_Decoded = TypeVar("_Decoded")


#: The types of the lines of a watch.
ADDED, MODIFIED, DELETED, BOOKMARK = "ADDED", "MODIFIED", "DELETED", "BOOKMARK"
_TYPES = frozenset({ADDED, MODIFIED, DELETED, BOOKMARK})

#: Levels of nested mappings and lists that are read. The specs allow half of that, so they notice
#: the values cut off here.
READ_LEVELS = 2 * DEEPEST_LEVELS
#: A revision of etcd is a number of 63 bits; this is every one that any etcd can reach.
_VERSION = re.compile("[0-9]{1,18}")
#: A string, whose brackets do not count, or a bracket.
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]')


@dataclass(frozen=True, slots=True)
class RawPage:
    """One page of a list, with its objects not yet decoded."""

    items: list[msgspec.Raw]
    #: The resourceVersion of the list: the same on all its pages.
    version: int
    #: The ``continue`` token of the next page; empty: this is the last one.
    proceed: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a watch, with only the metadata decoded; a bookmark has no uid."""

    type: str
    version: int
    namespace: str
    name: str
    uid: str
    object: msgspec.Raw


class _HeadMetadata(msgspec.Struct):
    name: str = ""
    namespace: str | None = None
    uid: str = ""
    resourceVersion: str = ""  # noqa: N815 - Kubernetes' names


class _Head(msgspec.Struct):
    metadata: _HeadMetadata


class _ListMetadata(msgspec.Struct):
    resourceVersion: str = ""  # noqa: N815 - Kubernetes' names
    proceed: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListMetadata
    items: list[msgspec.Raw] | None = None


class _Line(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Failure(msgspec.Struct):
    code: int | None = None
    message: str | None = None


_LIST = msgspec.json.Decoder(_List)
_LINE = msgspec.json.Decoder(_Line)
_HEAD = msgspec.json.Decoder(_Head)
_FAILURE = msgspec.json.Decoder(_Failure)
_OBJECT: msgspec.json.Decoder[Manifest] = msgspec.json.Decoder(dict[str, Any])
_A_LINE = "a line of a watch"


def read_object(data: bytes | msgspec.Raw) -> Manifest:
    """Return an object without values that are nested too deeply to be read.

    Raises
    ------
    UnexpectedObject
        It is not JSON of an object.
    """
    found = decoded(_OBJECT, data, "an object")
    if is_too_deep(found, READ_LEVELS):
        found = decoded(_OBJECT, flattened(data), "an object")
    return found


def read_page(data: bytes, plural: str) -> RawPage:
    """Return a page of a list of objects.

    Raises
    ------
    UnexpectedObject
        It is not JSON of a list.
    """
    found = decoded(_LIST, data, f"a list of {plural}")
    version = version_number(found.metadata.resourceVersion)
    return RawPage(found.items or [], version, found.metadata.proceed)


def read_line(data: bytes) -> Line:
    """Return a line of a watch.

    Raises
    ------
    WatchFailed
        It is an ERROR event: the watch cannot continue.
    UnexpectedObject
        It is not JSON of a line, or of an unknown type.
    """
    found = decoded(_LINE, data, _A_LINE)
    if found.type == "ERROR":
        status = decoded(_FAILURE, found.object, _A_LINE)
        raise WatchFailed(status.code or 0, status.message or "no reason given")
    head = decoded(_HEAD, found.object, _A_LINE).metadata
    if found.type not in _TYPES:
        raise UnexpectedObject(f"not an event of a watch: {found.type}")
    version = version_number(head.resourceVersion)
    namespace = head.namespace or "default"
    return Line(found.type, version, namespace, head.name, head.uid, found.object)


def decoded(
    decoder: msgspec.json.Decoder[_Decoded], data: bytes | msgspec.Raw, what: str
) -> _Decoded:
    """Return the decoded JSON, even if other fields are nested too deeply.

    Every answer of the API server is decoded here: whatever it is, the error is one of ours.

    Raises
    ------
    UnexpectedObject
        It is not JSON of ``what``.
    """
    try:
        try:
            return decoder.decode(data)
        except RecursionError:
            return decoder.decode(flattened(data))
    except MALFORMED as error:
        raise UnexpectedObject(f"not {what}: {error}") from error


def flattened(data: bytes | msgspec.Raw) -> bytes:
    """Return JSON in which values nested too deeply to be read are replaced by null.

    A user may write ten thousand brackets into a field that is preserved as is. Without this, the
    list with that object could not be read, and no other job would make progress.
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


def version_number(version: str) -> int:
    """Return a resourceVersion as etcd's revision number; 0 if it is not a number."""
    return int(version) if _VERSION.fullmatch(version) else 0
