"""The JSON of the API server: objects, pages of lists, lines of watches."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from daskjob.core.manifests import DEEPEST_LEVELS, Manifest, is_too_deep
from daskjob.kube.errors import UnexpectedObject, WatchFailed

_Decoded = TypeVar("_Decoded")

#: The types of the lines of a watch.
ADDED, MODIFIED, DELETED, BOOKMARK = "ADDED", "MODIFIED", "DELETED", "BOOKMARK"
_TYPES = frozenset({ADDED, MODIFIED, DELETED, BOOKMARK})

#: Levels of nested mappings and lists that are read. The specs allow half of that, so they notice
#: the values cut off here.
READ_LEVELS = 2 * DEEPEST_LEVELS
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


def read_object(data: bytes | msgspec.Raw) -> Manifest:
    """Return an object without values that are nested too deeply to be read.

    Raises
    ------
    UnexpectedObject
        It is not JSON of an object.
    """
    try:
        found = _OBJECT.decode(data)
        if is_too_deep(found, READ_LEVELS):
            raise RecursionError
        return found
    except RecursionError:
        return _OBJECT.decode(flattened(data))
    except msgspec.MsgspecError as error:
        raise UnexpectedObject(f"not an object: {error}") from error


def read_page(data: bytes, plural: str) -> RawPage:
    """Return a page of a list of objects.

    Raises
    ------
    UnexpectedObject
        It is not JSON of a list.
    """
    try:
        found = decoded(_LIST, data)
    except msgspec.MsgspecError as error:
        raise UnexpectedObject(f"not a list of {plural}: {error}") from error
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
    try:
        found = decoded(_LINE, data)
        if found.type == "ERROR":
            raise _failure(found.object)
        head = _HEAD.decode(found.object).metadata
    except msgspec.MsgspecError as error:
        raise UnexpectedObject(f"not a line of a watch: {error}") from error
    if found.type not in _TYPES:
        raise UnexpectedObject(f"not an event of a watch: {found.type}")
    version = version_number(head.resourceVersion)
    namespace = head.namespace or "default"
    return Line(found.type, version, namespace, head.name, head.uid, found.object)


def _failure(data: msgspec.Raw) -> UnexpectedObject | WatchFailed:
    try:
        status = _FAILURE.decode(data)
    except msgspec.MsgspecError as error:
        return UnexpectedObject(f"not a line of a watch: {error}")
    return WatchFailed(status.code or 0, status.message or "no reason given")


def decoded(decoder: msgspec.json.Decoder[_Decoded], data: bytes | msgspec.Raw) -> _Decoded:
    """Return the decoded JSON, even if other fields are nested too deeply."""
    try:
        return decoder.decode(data)
    except RecursionError:
        return decoder.decode(flattened(data))


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
    return int(version) if version.isdigit() else 0
