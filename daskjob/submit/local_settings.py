"""What the settings of a script mean for a run on this machine: mostly the same as on a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from daskjob.core.manifests import Manifest
from daskjob.submit.environment.given import given_by
from daskjob.submit.environment.wanted import Given
from daskjob.submit.inline_metadata import ScriptText
from daskjob.submit.settings.items import is_elsewhere
from daskjob.submit.settings.merge import Merged, merged
from daskjob.submit.settings.sources import flags_layer
from daskjob.submit.settings.table import LOCAL, SETTINGS, UNREPORTED, Settings
from daskjob.submit.settings_places import script_places

#: What runs instead of what a setting names.
_INSTEAD = {"image": "this Python runs instead", "code": "the files of this machine run instead"}


@dataclass(frozen=True, slots=True)
class SettingsHere:
    """The settings of a run, and a note on those that have no effect in it."""

    settings: Settings
    notes: tuple[str, ...] = ()

    @property
    def given(self) -> Given:
        """What they say about packages."""
        found = given_by(self.settings)
        # The pods' Secret; here, uv and pip have the user's own login.
        return replace(found, indexes=replace(found.indexes, secret=""))


def settings_here(
    script: ScriptText,
    flags: Mapping[str, object],
    *,
    environ: Mapping[str, str],
    profile: str = "",
) -> SettingsHere:
    """Return the settings of flags, the script's own table, profiles, the project and the user.

    Raises
    ------
    WrongSettings
        One of these is wrong.
    """
    places = script_places(script, environ)
    all_of_them = merged([*places.layers(profile), flags_layer(flags)])
    own = places.user.origin if places.user else ""
    return SettingsHere(_with_threads(all_of_them.settings), tuple(_notes(all_of_them, own)))


def _with_threads(settings: Settings) -> Settings:
    """Return settings whose workers have a thread for each of their CPUs."""
    if not settings.cpu or settings.threads:
        return settings
    from daskjob.submit.settings.kinds import whole_cpus

    return replace(settings, threads=whole_cpus(settings.cpu))


def _notes(found: Merged, user: str) -> list[str]:
    """Return a note on settings of clusters; those that only the user's defaults have are known."""
    names = [
        f"{key} ({_INSTEAD[key]})" if key in _INSTEAD else key
        for key in SETTINGS
        if key in found.origins
        and key not in (*LOCAL, *UNREPORTED)
        and set(found.origins[key]) != {user}
        and not (key == "code" and not is_elsewhere(found.settings.code or ""))
    ]
    return [f"not on this machine: {', '.join(names)}"] if names else []


def workers_notes(settings: Settings, processors: int) -> list[str]:
    """Return a note on the number of workers, if it is a cluster's and not this machine's.

    They all run, since a script may wait for this number.
    """
    count = settings.workers or 0
    if count <= 2 * processors:
        return []
    few = f"{processors} processor" + "s" * (processors != 1)
    return [
        f"the settings ask for {count} workers, which share {few} here: --workers N starts fewer"
    ]


def add_settings(manifest: Manifest, settings: Settings, processors: int) -> None:
    """Set the fields of a script's job that are settings and no options of a run, in place.

    Those of ``set`` come last, and are left to the caller.
    """
    spec = manifest["spec"]
    for key in LOCAL:
        setting = SETTINGS[key]
        value = getattr(settings, setting.field)
        if setting.plain and value is not None:
            spec.setdefault(setting.path.removeprefix("spec."), value)
    if bounds := settings.adapt:
        # More workers than processors would only share them.
        maximum = max(min(bounds.maximum, processors), bounds.minimum, 1)
        scaling = {"minimum": bounds.minimum, "maximum": maximum}
        spec["cluster"]["spec"]["worker"]["autoscaling"] = scaling
