"""How the command line ends: with an exit code, and with a message instead of a traceback."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence

import click


def guarded(command: click.Command) -> int:
    """Run a command, flush its output, and return its exit code (design §5.5)."""
    code = _called(command)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _broken_pipe()
    except OSError as error:
        code = _reported(error) if code == 0 else code
        _broken_pipe()
        return code
    return code


def report_failures(failures: Sequence[Exception]) -> None:
    """Print all failures but the last one, which ends the command.

    Raises
    ------
    Exception
        The last failure, if there is one.
    """
    for failure in failures[:-1]:
        click.echo(f"daskjob: {failure}", err=True)
    if failures:
        raise failures[-1]


def _called(command: click.Command) -> int:
    try:
        result = command.main(prog_name="daskjob", standalone_mode=False)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.Abort:
        return 130
    except click.ClickException as error:
        from daskjob.submit.cli.known_elsewhere import explained

        explained(error).show()
        return error.exit_code
    except SystemExit:
        # Completion ends like this; otherwise it is click's reaction to a broken pipe.
        if "_DASKJOB_COMPLETE" in os.environ:
            raise
        return _broken_pipe()
    except BrokenPipeError:
        return _broken_pipe()
    except Exception as error:
        return _reported(error)
    return result if isinstance(result, int) else 0


def _broken_pipe() -> int:
    """Discard further output, which has no reader; return the exit code of a SIGPIPE."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return 128 + signal.SIGPIPE


def _reported(error: Exception) -> int:
    """Print an error: the message of an expected one, the traceback of any other."""
    from daskjob.core.connection_advice import advice
    from daskjob.core.errors import DaskJobError, Timeout
    from daskjob.core.exit_codes import ExitCode

    if isinstance(error, DaskJobError):
        click.echo(f"daskjob: {error}{advice(error)}", err=True)
        for note in getattr(error, "__notes__", ()):
            click.echo(f"daskjob: {note}", err=True)
    elif isinstance(error, OSError) and error.strerror:
        # A failure of this machine: a full disk, a folder without read permission.
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"daskjob: {where}{error.strerror}", err=True)
    else:
        traceback.print_exception(error)
        click.echo("daskjob: this is a bug in daskjob; please report it.", err=True)
    return int(ExitCode.WAIT_TIMEOUT if isinstance(error, Timeout) else ExitCode.DASKJOB)
