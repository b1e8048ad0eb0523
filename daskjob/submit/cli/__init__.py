"""The ``daskjob`` command. A command's module is imported only when the command is called.

``daskjob --help`` and completion take less than 0.3 s of CPU, so this module imports only click;
``tests/cli/test_imports.py`` checks that.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from daskjob import __version__

#: Command → the module that defines it, and its line in ``--help``.
_COMMANDS = {
    "run": ("run", "Run a script or a DaskJob manifest on this machine."),
    "submit": ("submit", "Submit a script or a DaskJob manifest to a Kubernetes cluster."),
    "attach": ("submit", "Follow a job to its end; return its exit code."),
    "list": ("jobs", "List the jobs that were started here, or those of a cluster (-n, -A)."),
    "status": ("jobs", "Show the status, attempts and events of a job."),
    "logs": ("logs", "Print the log of a job's runner, scheduler or workers."),
    "wait": ("jobs", "Wait until jobs have ended; return their exit code."),
    "why": ("jobs", "Explain why a job failed or is waiting, and what to do next."),
    "events": ("changes", "Show the events of a job."),
    "dashboard": ("dashboard", "Open the dashboard of a running job."),
    "diff": ("diff", "Show what differs between two jobs, or two attempts of one."),
    "report": ("jobs", "Show the tasks, times and memory of a job's cluster."),
    "cancel": ("jobs", "Cancel running jobs."),
    "suspend": ("changes", "Stop the pods of a job until it is resumed."),
    "resume": ("changes", "Resume a suspended job."),
    "retry": ("retry", "Run a job that has ended again, as a new job."),
    "scale": ("changes", "Set the number of workers of a job."),
    "delete": ("delete", "Delete jobs with their logs and reports."),
    "cluster": ("clusters", "Create and use Dask clusters on Kubernetes, without a job."),
    "validate": ("manifests", "Check manifests and report every mistake at once."),
    "render": ("manifests", "Print the objects that a manifest or a script creates."),
    "init": ("init", "Write what a script needs into its own block: packages, settings."),
    "install": ("install", "Install, upgrade or uninstall the operator in a Kubernetes cluster."),
    "doctor": ("doctor", "Check what jobs need on this machine, or in a cluster (-n, --context)."),
    "completion": ("completion", "Print the completion script for a shell."),
    "version": ("completion", "Print the versions of daskjob, Dask and Python."),
}


class LazyCommands(click.Group):
    """A group that imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of a job's life."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported; listing commands does not import them."""
        if cmd_name not in _COMMANDS:
            return None
        del ctx
        module, _ = _COMMANDS[cmd_name]
        found = importlib.import_module(f"daskjob.submit.cli.{module}")
        command: click.Command = getattr(found, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Return the command to call; suggest a similar one for an unknown name."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in _COMMANDS:
            import difflib

            from daskjob.submit.cli.known_elsewhere import command_hint

            near = difflib.get_close_matches(name, _COMMANDS, n=1)
            hint = command_hint(name) or (f" Did you mean {near[0]!r}?" if near else "")
            if name.endswith((".py", ".ipynb", ".yaml", ".yml", ".json")):
                hint = f" To run it: daskjob run {name}"
            ctx.fail(f"there is no command {name!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyCommands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", message="daskjob %(version)s")
def cli() -> None:
    """Run Dask scripts and DaskJob manifests as jobs, on this machine or on Kubernetes.

    Replace `python my_script.py` with `daskjob run my_script.py` to get workers, progress, retries,
    deadlines, a diagnosis of failures, and a reliable exit code; `daskjob submit my_script.py` runs
    it on a cluster. The other commands work on the jobs of this machine; with -n NAMESPACE or
    --context NAME, on those of a cluster.
    """


def main() -> None:
    """Run the command line; an exception of daskjob ends it with its message, not a traceback."""
    from daskjob.submit.cli.errors import guarded

    sys.exit(guarded(cli))
