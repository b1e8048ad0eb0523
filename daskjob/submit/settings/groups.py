"""Settings of additional worker groups: those of the workers, each under the group's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daskjob.core.names import DEFAULT_GROUP, GROUP_PATTERN, GROUP_RULE
from daskjob.core.spec.cluster import RESERVED_WORD
from daskjob.submit.settings.declaration import Setting
from daskjob.submit.settings.nearest import did_you_mean


@dataclass(frozen=True, slots=True)
class Group:
    """An additional group: what differs from the default group, by key of the setting."""

    name: str
    settings: Mapping[str, Any]

    def __str__(self) -> str:
        shown = ",".join(f"{key}={value}" for key, value in self.settings.items())
        return f"{self.name}:{shown}" if shown else self.name


@dataclass(frozen=True, slots=True)
class Groups:
    """``NAME:workers=2,memory=8Gi``, or a table of tables."""

    known: Mapping[str, Setting]
    metavar: str = "NAME:KEY=VALUE[,...]"
    example: str = '{big = {workers = 2, memory = "32Gi"}}'

    def joined(self, low: Mapping[str, Group], high: Mapping[str, Group]) -> Mapping[str, Group]:
        """Return the groups of two places, each with the settings of both."""
        return {name: self._both(name, low, high) for name in (*low, *high)}

    def _both(self, name: str, low: Mapping[str, Group], high: Mapping[str, Group]) -> Group:
        both: dict[str, Any] = dict(low[name].settings if name in low else {})
        for key, value in (high[name].settings if name in high else {}).items():
            both[key] = self.known[key].joined(both[key], value) if key in both else value
        return Group(name, both)

    def read(self, value: object) -> Mapping[str, Group]:
        """Return the groups of flags, or of a table, by name."""
        if isinstance(value, Mapping):
            return {str(name): self._group(str(name), table) for name, table in value.items()}
        flags = value if isinstance(value, list | tuple) else [value]
        groups = [self._flag(flag) for flag in flags]
        return {group.name: group for group in groups}

    def _flag(self, flag: object) -> Group:
        name, _, rest = str(flag).partition(":")
        table: dict[str, object] = {}
        for part in filter(None, rest.split(",")):
            key, sign, text = part.partition("=")
            if not sign:
                raise ValueError(f"{flag!r}: {part!r}: write {self.metavar}")
            table[key] = text
        return self._group(name, table)

    def _group(self, name: str, table: object) -> Group:
        if not GROUP_PATTERN.fullmatch(name) or len(name) > 63:
            raise ValueError(f"{name!r}: write a name of {GROUP_RULE}")
        if name == DEFAULT_GROUP or RESERVED_WORD in name:
            raise ValueError(f"{name!r}: write another name: this one is reserved")
        if not isinstance(table, Mapping):
            raise ValueError(f"{name}: write a table of settings")
        return Group(name, dict(self._setting(name, key, item) for key, item in table.items()))

    def _setting(self, name: str, key: object, item: object) -> tuple[str, Any]:
        declared = self.known.get(str(key))
        if declared is None:
            raise ValueError(f"{name}: {key!r}: {did_you_mean(str(key), self.known)}")
        try:
            return declared.key, declared.kind.read(item)
        except ValueError as error:
            raise ValueError(f"{name}: {key}: {item!r}: {error}") from None
