"""The places of settings: flags, the script, ``pyproject.toml``, Dask's configuration.

Each is a layer of raw values; ``settings.merge`` reads and merges them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daskjob.core.errors import DaskJobError
from daskjob.submit.settings.dask_config import NAME
from daskjob.submit.settings.nearest import did_you_mean
from daskjob.submit.settings.table import DEFAULTS, SETTINGS

_PROFILES = "profiles"
#: Of a script and a project: the profile to use unless a flag names one.
_PROFILE = "profile"


class WrongSettings(DaskJobError):
    """Settings that cannot be used: wrong usage, and nothing was started."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The values of one place, as it has them."""

    #: What messages and origins call the place.
    origin: str
    values: Mapping[str, object]
    #: Whether they are flags: each is its own origin, and all settings may be given.
    flags: bool = False
    #: Of the arguments of a function: what a setting is called there, by its key.
    names: Mapping[str, str] | None = None


def flags_layer(given: Mapping[str, object]) -> Layer:
    """Return the layer of the flags of a command, by key of the setting."""
    return Layer("flag", given, flags=True)


def arguments_layer(given: Mapping[str, object], names: Mapping[str, str]) -> Layer:
    """Return the layer of a function's arguments, by key of the setting.

    ``names`` are its own arguments, by the key of their setting; others are in ``settings``.
    """
    return Layer("settings", given, flags=True, names=names)


def default_layer() -> Layer:
    """Return the layer of a script's defaults."""
    return Layer("default", DEFAULTS)


@dataclass(frozen=True, slots=True)
class Places:
    """The tables of the places that are files."""

    script: Layer | None = None
    project: Layer | None = None
    user: Layer | None = None

    def layers(self, profile: str = "") -> list[Layer]:
        """Return the layers from the least to the most important one.

        Raises
        ------
        WrongSettings
            There is no profile of this name.
        """
        chosen = profile or self._default_profile()
        profiles = self.profile_layers(chosen) if chosen else []
        below = [_plain(layer) for layer in (self.user, self.project) if layer]
        return [*below, *profiles, *([_plain(self.script)] if self.script else [])]

    def profile_layers(self, profile: str) -> list[Layer]:
        """Return the layers of a profile.

        Raises
        ------
        WrongSettings
            There is no profile of this name.
        """
        found = list(self._profiles(profile))
        if found:
            return found
        places = [layer for layer in (self.user, self.project) if layer]
        known = {name for layer in places for name in _profiles_of(layer)}
        where = f"write it as [tool.daskjob.profiles.{profile}] in pyproject.toml"
        hint = did_you_mean(profile, known) if known else where
        raise WrongSettings(f"there is no profile {profile!r}; {hint}")

    def _default_profile(self) -> str:
        for layer in (self.script, self.project, self.user):
            found = layer.values.get(_PROFILE) if layer else None
            if found is not None:
                return str(found)
        return ""

    def _profiles(self, name: str) -> Iterator[Layer]:
        for layer in (self.user, self.project):
            found = _profiles_of(layer).get(name) if layer else None
            if layer and found is not None:
                values = _table(found, f"profile {name} of {layer.origin}")
                yield Layer(f"profile {name} of {layer.origin}", values)


def _profiles_of(layer: Layer) -> Mapping[str, object]:
    found = layer.values.get(_PROFILES)
    return found if isinstance(found, Mapping) else {}


def _plain(layer: Layer) -> Layer:
    """Return the settings of a layer, without its profiles."""
    names = (_PROFILES, _PROFILE)
    return Layer(layer.origin, {k: v for k, v in layer.values.items() if k not in names})


def script_layer(table: object, name: str) -> Layer | None:
    """Return the layer of ``[tool.daskjob]`` in a script; ``None`` without one."""
    if table is None:
        return None
    origin = f"[tool.daskjob] of {name}"
    return Layer(origin, _table(table, origin))


def project_layer(folder: Path) -> Layer | None:
    """Return the layer of the nearest ``pyproject.toml``, in a folder or above it.

    Raises
    ------
    WrongSettings
        The file cannot be read, or is not TOML.
    """
    path = nearest_project(folder)
    if path is None:
        return None
    import tomllib

    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WrongSettings(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise WrongSettings(f"{path} is not UTF-8 text, as TOML is") from error
    except tomllib.TOMLDecodeError as error:
        raise WrongSettings(f"{path} is not TOML: {error}") from error
    tools = found.get("tool")
    table = tools.get(NAME) if isinstance(tools, dict) else None
    return None if table is None else Layer(str(path), _table(table, f"[tool.daskjob] of {path}"))


def nearest_project(folder: Path) -> Path | None:
    """Return the nearest ``pyproject.toml``, in a folder or above it."""
    absolute = folder.absolute()
    paths = [place / "pyproject.toml" for place in (absolute, *absolute.parents)]
    return next((path for path in paths if path.is_file()), None)


def user_layer(config: Mapping[str, Any]) -> Layer | None:
    """Return the layer of Dask's configuration: its files, and ``DASK_DASKJOB__…`` variables."""
    found = config.get(NAME)
    if found is None:
        return None
    origin = "daskjob of Dask's configuration"
    # Dask itself takes "_" and "-" in a key as the same.
    table = {_dashed(key): value for key, value in _table(found, origin).items()}
    if isinstance(table.get(_PROFILES), Mapping):
        profiles: Any = table[_PROFILES]
        table[_PROFILES] = {
            name: {_dashed(key): item for key, item in profile.items()}
            if isinstance(profile, Mapping)
            else profile
            for name, profile in profiles.items()
        }
    return Layer(origin, table)


def _dashed(key: object) -> str:
    return str(key).replace("_", "-")


def _table(found: object, origin: str) -> Mapping[str, object]:
    if not isinstance(found, Mapping):
        raise WrongSettings(f'{origin}: write a table of settings, such as memory = "4Gi"')
    return {str(key): value for key, value in found.items()}


def known_keys(*, flags: bool) -> list[str]:
    """Return the keys of the settings that a place may have."""
    return [key for key, setting in SETTINGS.items() if flags or not setting.flag_only]
