"""The page of the command line, from the commands themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from daskjob.submit.cli import cli
from daskjob.submit.settings.table import SETTINGS
from scripts.reference.markdown import code, prose, table

#: In help texts: the paragraph below keeps its line breaks.
_KEPT = "\b"


def commands_page() -> str:
    """Return all commands as Markdown, in the order of ``daskjob --help``."""
    return "\n\n".join(_of(cli, click.Context(cli, info_name="daskjob"), depth=2))


def _of(group: click.Group, context: click.Context, *, depth: int) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, parent=context, info_name=name)
        yield from _command(command, inner, depth)
        if isinstance(command, click.Group):
            yield from _of(command, inner, depth=depth + 1)


def _command(command: click.Command, context: click.Context, depth: int) -> Iterator[str]:
    yield f"{'#' * depth} {context.command_path}"
    words = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"```text\n{words}\n```"
    yield from _help(inspect.cleandoc(command.help or "").split("\f")[0])
    options = [param for param in command.get_params(context) if isinstance(param, click.Option)]
    fields = {setting.field for setting in SETTINGS.values()}
    settings = [option for option in options if option.name in fields]
    if len(settings) < len(SETTINGS) // 2:
        settings = []
    own = [option for option in options if option not in settings]
    yield table(["option", "meaning"], [_row(each, context) for each in own if not each.hidden])
    if settings:
        flags = ", ".join(code(option.opts[-1]) for option in settings)
        yield f"All [settings of jobs](settings.md) are options too: {flags}."


def _row(option: click.Option, context: click.Context) -> tuple[str, str]:
    record = option.get_help_record(context)
    assert record is not None
    written, text = record
    names = ", ".join(code(name.strip()) for name in re.split(r", (?=-)| / ", written))
    return names, prose(text)


def _help(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n{2,}", text):
        if not paragraph.startswith(_KEPT):
            yield prose(" ".join(paragraph.split()))
            continue
        lines = paragraph.removeprefix(_KEPT).strip("\n").splitlines()
        shown = [line for line in lines if not line.startswith(" ")]
        if shown and all(line.startswith(" ") for line in lines[len(shown) :]):
            yield prose(" ".join(shown))
            lines = lines[len(shown) :]
        yield "```text\n" + inspect.cleandoc("\n".join(["", *lines])) + "\n```"
