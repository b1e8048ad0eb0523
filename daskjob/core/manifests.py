"""Manifests: Kubernetes objects as plain dictionaries, and helpers to read them.

``Manifest`` is the one place where ``dict[str, Any]`` is allowed: pod templates are passed through
unchanged, including fields that this code does not know (design §2.1).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from daskjob.core.caching import cached, shared

Manifest: TypeAlias = dict[str, Any]

#: Maximum nesting of mappings and lists. No field of Kubernetes needs a quarter of that; recursive
#: code in Python fails somewhere below 1,000.
DEEPEST_LEVELS = 100
#: Times of later years are unreadable: a limit that is added to one would be no time.
_LATEST_YEAR = 2200
#: Maximum digits of a number in user-written text.
_LONGEST_NUMBER = 9


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """A reference to one object; ``uid`` is the precondition of every write to it."""

    kind: str
    namespace: str
    name: str
    uid: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Key:
    """The object of a pass: of one of our kinds, by name, of any uid."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def metadata(manifest: Manifest) -> Manifest:
    """Return the object's metadata, empty where it has none."""
    found = manifest.get("metadata")
    return found if isinstance(found, dict) else {}


def object_ref(manifest: Manifest) -> ObjectRef:
    """Return the reference to an object that a backend returned."""
    meta = metadata(manifest)
    return ObjectRef(
        kind=str(manifest.get("kind", "")),
        namespace=shared(str(meta.get("namespace") or "default")),
        name=str(meta.get("name", "")),
        uid=str(meta.get("uid", "")),
    )


def controller(manifest: Manifest) -> Manifest:
    """Return the reference to the object's controller owner, empty where it has none.

    Labels never decide the owner of an object: only the owner's uid does (design §4.8).
    """
    owners = metadata(manifest).get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), {})


def controller_uid(manifest: Manifest) -> str:
    """Return the uid of the object's controller owner, empty where it has none."""
    return str(controller(manifest).get("uid", ""))


def parse_time(text: object) -> datetime | None:
    """Return an aware time from RFC 3339 text; ``None`` for absent, empty or unreadable text."""
    return _parsed(text) if isinstance(text, str) and text else None


@cached(512)
def _parsed(text: str) -> datetime | None:
    # Cached: the pods of a job are created and change together, so most of their times are equal.
    try:
        parsed = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    if not 1 < parsed.year <= _LATEST_YEAR:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def format_time(moment: datetime | None) -> str | None:
    """Return RFC 3339 text in whole seconds with ``Z`` (the format of metav1.Time), or ``None``."""
    if moment is None:
        return None
    # Half the time of strftime, and a status has a dozen of them.
    return moment.astimezone(UTC).isoformat(timespec="seconds")[:19] + "Z"


def whole_seconds(moment: datetime) -> datetime:
    """Return the time in the precision of a status: in whole seconds, rounded down."""
    return moment.replace(microsecond=0)


def is_too_deep(value: object, levels: int = DEEPEST_LEVELS) -> bool:
    """Return whether a value is nested deeper than ``levels``, without recursion."""
    layer = [value]
    for _ in range(levels):
        layer = [inner for outer in layer for inner in _inside(outer)]
        if not layer:
            return False
    return True


def _inside(value: object) -> Iterable[object]:
    """Return the mappings and lists directly inside a mapping or list."""
    held: Iterable[object] = ()
    if isinstance(value, dict):
        held = value.values()
    elif isinstance(value, list):
        held = value
    return [inner for inner in held if isinstance(inner, dict | list)]


def whole_number(text: str) -> int | None:
    """Return the number in an annotation or an argument; ``None`` where there is none.

    ``str.isdigit`` accepts text that ``int`` rejects: ``²``, and 5,000 digits.
    """
    if len(text) > _LONGEST_NUMBER or not (text.isascii() and text.isdigit()):
        return None
    return int(text)


def fingerprint(value: object) -> str:
    """Return 16 hex digits that are equal for equal JSON values, in any order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def merge_patch(old: Manifest, new: Manifest) -> Manifest:
    """Return the JSON merge patch (RFC 7386) from the old mapping to the new one."""
    patch: Manifest = {key: None for key in old if old[key] is not None and new.get(key) is None}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            below = merge_patch(before, value)
            patch |= {key: below} if below else {}
        elif value is not None and value != before:
            patch[key] = value
    return patch


def mapping(value: object) -> Manifest:
    """Return the value where it is a mapping; empty where it is not."""
    return value if isinstance(value, dict) else {}


def mappings(value: object) -> list[Manifest]:
    """Return the mappings of a list; empty where it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def integer(value: object) -> int | None:
    """Return the value where it is a whole number; ``None`` where it is not."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
