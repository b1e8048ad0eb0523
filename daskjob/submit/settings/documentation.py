"""The settings as tables of ``docs/settings.md``; a test compares the two."""

from __future__ import annotations

from collections.abc import Iterator

from daskjob.submit.settings.declaration import Setting, Topic
from daskjob.submit.settings.table import DEFAULTS, GROUP_SETTINGS, LOCAL, SETTINGS


def settings_table() -> str:
    """Return the settings as Markdown, one table for each topic."""
    return "\n".join(line for topic in Topic for line in _of(topic)).strip()


def _of(topic: Topic) -> Iterator[str]:
    yield from (f"### {topic}", "", "| key | flag | example | meaning |", "|---|---|---|---|")
    for setting in SETTINGS.values():
        if setting.topic is topic:
            flags = ", ".join(f"`{flag}`" for flag in setting.flags)
            example = setting.kind.example.replace("|", "\\|")
            yield f"| `{setting.key}` | {flags} | `{example}` | {_meaning(setting)} |"
    yield ""


def _meaning(setting: Setting) -> str:
    parts = [setting.help]
    if setting.key in DEFAULTS:
        parts.append(f"Default: `{DEFAULTS[setting.key]}`.")
    if setting.path:
        parts.append(f"Sets {_field(setting.path)}.")
    if setting.key in GROUP_SETTINGS:
        parts.append("Also in `groups`.")
    if setting.key in LOCAL:
        parts.append("Here too.")
    if setting.flag_only:
        parts.append("A flag only.")
    return " ".join(parts).replace("|", "\\|")


def _field(path: str) -> str:
    place, colon, fields = path.partition(": ")
    return f"`{fields}` of {place}" if colon and " " in place else f"`{path}`"
