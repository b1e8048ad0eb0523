"""The ``daskjob`` command. Only what a command needs is imported when it is called.

``daskjob --help`` and completion answer within 0.3 s of CPU, so this module imports click alone;
``tests/cli/test_imports.py`` pins that.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from daskjob import __version__

#: Command → module that holds it, and what ``--help`` says of it.
_COMMANDS = {
    "run": ("run", "Run a script, or a DaskJob manifest, on this machine."),
    "list": ("jobs", "List the jobs that ran here."),
    "status": ("jobs", "Show how a job stands."),
    "logs": ("jobs", "Print the log of a job's runner, scheduler or worker."),
    "why": ("jobs", "Say why a job is as it is, and what to do next."),
    "report": ("jobs", "Show what a job's cluster did: tasks, times, memory."),
    "cancel": ("jobs", "Stop a job that runs here."),
    "delete": ("jobs", "Delete jobs that ran here, with their logs."),
    "validate": ("manifests", "Check manifests; every mistake is told at once."),
    "render": ("manifests", "Print the objects that a manifest, or a script, makes."),
    "completion": ("completion", "Print what makes a shell complete daskjob's commands."),
    "version": ("completion", "Print the versions of daskjob and of what it runs on."),
}


class LazyCommands(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of a job's life."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; one that is only listed is not imported."""
        if cmd_name not in _COMMANDS:
            return None
        del ctx
        module, _ = _COMMANDS[cmd_name]
        found = importlib.import_module(f"daskjob.submit.cli.{module}")
        command: click.Command = getattr(found, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing one of them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Return the command to call; for an unknown one, say which may be meant."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in _COMMANDS:
            import difflib

            near = difflib.get_close_matches(name, _COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            if name.endswith((".py", ".yaml", ".yml")):
                hint = f" To run it: daskjob run {name}"
            ctx.fail(f"there is no command {name!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyCommands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", message="daskjob %(version)s")
def cli() -> None:
    """Run Dask jobs to a truthful end.

    Replace `python my_script.py` by `daskjob run my_script.py` to give it workers, progress,
    retries, deadlines, a diagnosis, and an exit code that can be trusted.
    """


def main() -> None:
    """Run the command line; every error that daskjob raises on purpose ends it with its words."""
    from daskjob.submit.cli.errors import guarded

    sys.exit(guarded(cli))
