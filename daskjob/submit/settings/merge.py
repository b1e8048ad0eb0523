"""Reading the layers of settings, and merging them: values with their origins, or all mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daskjob.core.messages import cut
from daskjob.submit.settings.declaration import Setting
from daskjob.submit.settings.nearest import did_you_mean
from daskjob.submit.settings.sources import Layer, WrongSettings, known_keys
from daskjob.submit.settings.table import SETTINGS, Settings
from daskjob.submit.settings.urls import hidden

#: A place that sets one of a pair alone replaces the other one of less important places: a flag
#: ``--workers 4`` means 4, whatever bounds the script has.
REPLACED: Mapping[str, str] = {
    "workers": "adapt",
    "adapt": "workers",
    "cpu": "threads",
    "threads": "cpu",
}


@dataclass(frozen=True, slots=True)
class Merged:
    """The settings of a job, and where each came from."""

    settings: Settings
    #: Key of the setting → the places of its value, the most important one last.
    origins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def merged(layers: Sequence[Layer]) -> Merged:
    """Return the settings of layers; later layers are more important.

    Raises
    ------
    WrongSettings
        With every mistake of every layer.
    """
    values: dict[str, Any] = {}
    origins: dict[str, tuple[str, ...]] = {}
    mistakes: list[str] = []
    for layer in layers:
        for key, other in REPLACED.items():
            if key in layer.values and other not in layer.values:
                values.pop(other, None)
                origins.pop(other, None)
        for setting, value, problem in _read(layer):
            if problem or setting is None:
                mistakes.append(problem)
                continue
            key = setting.key
            adds = setting.is_repeated and key in values
            values[key] = setting.joined(values[key], value) if adds else value
            origins[key] = (*(origins.get(key, ()) if adds else ()), _origin(layer, setting))
    if mistakes:
        raise WrongSettings("\n".join(mistakes))
    fields = {SETTINGS[key].field: value for key, value in values.items()}
    return Merged(Settings(**fields), origins)


def _read(layer: Layer) -> Iterator[tuple[Setting | None, Any, str]]:
    """Yield each setting of a layer with its value, or with what is wrong about it."""
    known = known_keys(flags=layer.flags)
    for key, value in layer.values.items():
        if key not in known:
            yield None, None, f"{layer.origin}: {_unknown(key, known)}"
            continue
        setting = SETTINGS[key]
        try:
            yield setting, setting.kind.read(value), ""
        except ValueError as error:
            yield setting, None, _mistake(layer, setting, value, str(error))


def _unknown(key: str, known: Sequence[str]) -> str:
    if key in SETTINGS:
        return f"{key!r} is for one submission; write it as the flag {SETTINGS[key].flags[-1]}"
    return f"there is no setting {key!r}; {did_you_mean(key, known)}"


def _mistake(layer: Layer, setting: Setting, value: object, message: str) -> str:
    place = _place(layer, setting)
    # The message about a list or a table names the item itself.
    shown = hidden(cut(repr(value), 80))
    return f"{place}: {message if setting.is_repeated else f'{shown}: {message}'}"


def _place(layer: Layer, setting: Setting) -> str:
    """Return what a user calls a setting of a layer."""
    if layer.flags and layer.names is None:
        return setting.flags[-1]
    return (layer.names or {}).get(setting.key) or f"{layer.origin}: {setting.key}"


def _origin(layer: Layer, setting: Setting) -> str:
    return setting.flags[-1] if layer.flags else layer.origin
