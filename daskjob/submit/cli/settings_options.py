"""The settings of jobs as options of commands, made from their table."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from daskjob.submit.settings.declaration import Setting, Topic
from daskjob.submit.settings.table import SETTINGS
from daskjob.submit.settings.urls import hidden

Decorated = TypeVar("Decorated", bound=Callable[..., object])


class SettingType(click.ParamType):  # type: ignore[type-arg]
    """The value of a setting: checked at once, and returned as it was written."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.name = setting.kind.metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text if the setting can be read from it."""
        text = str(value)
        if self.setting.key == "env" and "=" not in text:
            if text not in os.environ:
                self.fail(f"{text} is not set in this environment; write {text}=VALUE", param, ctx)
            text = f"{text}={os.environ[text]}"
        try:
            self.setting.kind.read(text)
        except ValueError as error:
            shown = "" if self.setting.is_repeated else f"{value!r}: "
            self.fail(hidden(f"{shown}{error}"), param, ctx)
        return text


def settings_options(*, leave_out: tuple[str, ...] = ()) -> Callable[[Decorated], Decorated]:
    """Add the options of all settings but some, and ``--profile``, to a command."""

    def decorate(command: Decorated) -> Decorated:
        profile = click.option("--profile", metavar="NAME", help="Use the profile of this name.")
        command = profile(command)
        for setting in reversed(list(SETTINGS.values())):
            if setting.key not in leave_out:
                command = _option(setting)(command)
        return command

    return decorate


def _option(setting: Setting) -> Callable[[Decorated], Decorated]:
    return click.option(
        *setting.flags,
        setting.field,
        type=SettingType(setting),
        metavar=setting.kind.metavar,
        multiple=setting.is_repeated,
        help=setting.help,
    )


def given_flags(given: dict[str, Any]) -> dict[str, object]:
    """Return the settings that flags set, by key; removes them from a command's arguments."""
    found: dict[str, object] = {}
    for key, setting in SETTINGS.items():
        value = given.pop(setting.field, None)
        if value not in (None, ()):
            found[key] = list(value) if setting.is_repeated else value
    return found


class SettingsCommand(click.Command):
    """A command whose help lists the settings by topic."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those of the settings under the headings of their topics."""
        fields = {setting.field: setting for setting in SETTINGS.values()}
        topics: dict[str, list[tuple[str, str]]] = {str(topic): [] for topic in Topic}
        others: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record and isinstance(param, click.Option):
                setting = fields.get(str(param.name))
                (topics[setting.topic] if setting else others).append(record)
        for heading, records in ({"Options": others} | topics).items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
