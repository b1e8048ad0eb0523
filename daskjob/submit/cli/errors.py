"""How the command line ends: with an exit code, and with words instead of a traceback."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback

import click


def guarded(command: click.Command) -> int:
    """Run a command, see its output written, and return its exit code (design §5.5)."""
    code = _called(command)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _unheard()
    except OSError as error:
        told = _told(error) if code == 0 else code
        _unheard()
        return told
    return code


def _called(command: click.Command) -> int:
    try:
        result = command.main(prog_name="daskjob", standalone_mode=False)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SystemExit:
        # So completion ends; else it is how click takes a reader of our output that has gone.
        if "_DASKJOB_COMPLETE" in os.environ:
            raise
        return _unheard()
    except BrokenPipeError:
        return _unheard()
    except Exception as error:
        return _told(error)
    return result if isinstance(result, int) else 0


def _unheard() -> int:
    """Write nothing more, since nobody reads it, and end as a process in a pipe does."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return 128 + signal.SIGPIPE


def _told(error: Exception) -> int:
    """Print an error: the words of one that was raised on purpose, the trace of any other."""
    from daskjob.core.errors import DaskJobError
    from daskjob.core.exit_codes import ExitCode

    if isinstance(error, DaskJobError):
        click.echo(f"daskjob: {error}", err=True)
    elif isinstance(error, OSError) and error.strerror:
        # What this machine refuses: a full disk, a folder that may not be read.
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"daskjob: {where}{error.strerror}", err=True)
    else:
        traceback.print_exception(error)
        click.echo("daskjob: this is a mistake of daskjob's own; please report it.", err=True)
    return int(ExitCode.DASKJOB)
