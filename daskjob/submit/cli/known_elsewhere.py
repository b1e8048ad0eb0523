"""Commands and options that users know from Python, Dask, kubectl or docker, and what to write."""

from __future__ import annotations

import click

_COMMANDS = {
    **dict.fromkeys(("get", "ps", "ls", "jobs"), "list"),
    **dict.fromkeys(("describe", "show", "info"), "status"),
    **dict.fromkeys(("apply", "create", "start", "exec"), "run"),
    **dict.fromkeys(("rm", "remove"), "delete"),
    **dict.fromkeys(("kill", "stop"), "cancel"),
    **dict.fromkeys(("check", "lint"), "validate"),
    **dict.fromkeys(("template", "convert"), "render"),
    **dict.fromkeys(("upgrade", "setup"), "install"),
    **{"explain": "why", "help": "--help", "uninstall": "install --uninstall"},
}

_PYTHON = "an option of Python goes after python: daskjob run python {option} my_script.py"
_WORKERS = "the number of workers is -w N"
_FILES = "name the files without an option"
#: By command and option.
_OPTIONS = {
    "run": {
        **dict.fromkeys(("-u", "-O", "-i", "-I", "-E", "-s", "-S", "-B"), _PYTHON),
        **dict.fromkeys(("-W", "-X", "-P", "-b", "-v"), _PYTHON),
        **dict.fromkeys(("-n", "-j", "-p", "--n-workers", "--nworkers", "--n_workers"), _WORKERS),
        **dict.fromkeys(("--num-workers", "--jobs", "--replicas"), _WORKERS),
        **dict.fromkeys(
            ("-d", "--detach", "--background"),
            "for a run in the background: nohup daskjob run my_script.py &",
        ),
        "--image": "a run on this machine uses no images; --python chooses the environment",
        "--dry-run": "daskjob render prints what would be created",
        "-f": "a manifest needs no option: daskjob run job.yaml",
        "--filename": "a manifest needs no option: daskjob run job.yaml",
    },
    "validate": dict.fromkeys(("-f", "--filename", "-r", "-R"), _FILES),
    "render": {
        **dict.fromkeys(("-f", "--filename"), _FILES),
        "--timeout": "the longest time of a job is --deadline",
    },
    "logs": {
        "--lines": "the number of last lines is --tail N",
        "--since-time": "--since takes a time, too",
        **dict.fromkeys(("-p", "--previous"), "the log of an earlier attempt is --attempt N"),
        **dict.fromkeys(("-c", "--container"), "--pod names a pod; a pod has one log"),
    },
    "delete": dict.fromkeys(("-f", "-y", "--yes"), "--force also deletes running jobs"),
    "status": dict.fromkeys(
        ("-f", "--follow"), "each change is --watch; daskjob logs -f follows the output"
    ),
}


def command_hint(name: str) -> str:
    """Return what to write instead of a command that does not exist; empty if it is unknown."""
    known = _COMMANDS.get(name.lower())
    return f" Write: daskjob {known}" if known else ""


def explained(error: click.ClickException) -> click.ClickException:
    """Return an error of usage with what to write, where that is known."""
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return error
    hint = _OPTIONS.get(error.ctx.info_name or "", {}).get(error.option_name)
    if hint is None:
        return error
    option = error.option_name
    return click.UsageError(f"No such option {option!r}; {hint.format(option=option)}", error.ctx)
