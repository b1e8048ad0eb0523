"""How the command line ends: with an exit code, and with words instead of a traceback."""

from __future__ import annotations

import os
import sys
import traceback

import click


def guarded(command: click.Command) -> int:
    """Run a command and return its exit code (design §5.5)."""
    try:
        result = command.main(standalone_mode=False)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone; what cannot be told is not told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        return _told(error)
    return result if isinstance(result, int) else 0


def _told(error: Exception) -> int:
    """Print an error: the words of one that was raised on purpose, the trace of any other."""
    from daskjob.core.errors import DaskJobError
    from daskjob.core.exit_codes import ExitCode

    if isinstance(error, DaskJobError):
        click.echo(f"daskjob: {error}", err=True)
    else:
        traceback.print_exception(error)
        click.echo("daskjob: this is a mistake of daskjob's own; please report it.", err=True)
    return int(ExitCode.DASKJOB)
