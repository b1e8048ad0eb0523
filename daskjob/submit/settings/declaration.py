"""The declaration of a setting: all that flags, tables, origins and documentation need of it.

A declaration is the default of a dataclass' field (``settings.table``), so that the static type of
a setting is that of the dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, TypeVar

from daskjob.core.caching import cached
from daskjob.submit.settings.kinds import Items, Kind, Repeated

T = TypeVar("T")

_DECLARED = "setting"


class Topic(StrEnum):
    """The headings of help and documentation."""

    WORKERS = "Workers"
    OTHERS = "Runner and scheduler"
    CODE = "Code and data"
    PACKAGES = "Packages"
    PODS = "Pods"
    LIMITS = "Retries and deadlines"
    PLACE = "Job"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting."""

    kind: Kind[Any]
    help: str
    topic: Topic
    #: The fields that it sets, from the DaskJob; for the documentation, and for plain settings.
    path: str
    #: All its flags.
    flags: tuple[str, ...]
    #: Whether it sets the field at ``path`` to its value, and nothing else.
    plain: bool = False
    #: Whether it is a flag only: about one submission, not about a script.
    flag_only: bool = False
    #: Its key in tables: ``node-selector``.
    key: str = ""

    @property
    def field(self) -> str:
        """Its name in Python."""
        return self.key.replace("-", "_")

    @property
    def is_repeated(self) -> bool:
        """Whether its flag may be given several times."""
        return isinstance(self.kind, Repeated)

    def joined(self, low: Any, high: Any) -> Any:
        """Return the value of two places; the second one is more important."""
        return self.kind.joined(low, high) if isinstance(self.kind, Repeated) else high


def setting(
    kind: Kind[T],
    text: str,
    *,
    topic: Topic,
    path: str = "",
    flags: tuple[str, ...] = (),
    plain: bool = False,
    flag_only: bool = False,
) -> T | None:
    """Return the field of a setting with one value; ``None``: not set."""
    declared = Setting(kind, text, topic, path, flags, plain, flag_only)
    found: T | None = field(default=None, metadata={_DECLARED: declared})
    return found


def settings_of_many(
    kind: Kind[T],
    text: str,
    *,
    topic: Topic,
    path: str = "",
    flags: tuple[str, ...] = (),
) -> T:
    """Return the field of a setting that is a list or a table; empty: not set."""
    declared = Setting(kind, text, topic, path, flags)
    of: Any = kind
    empty: Any = tuple if isinstance(of, Items) else dict
    found: T = field(default_factory=empty, metadata={_DECLARED: declared})
    return found


@cached(8)
def declarations(table: type[Any]) -> Mapping[str, Setting]:
    """Return the settings of a dataclass by key, in their order."""
    found = {}
    for item in fields(table):
        key, declared = item.name.replace("_", "-"), item.metadata[_DECLARED]
        found[key] = replace(declared, key=key, flags=declared.flags or (f"--{key}",))
    return found
