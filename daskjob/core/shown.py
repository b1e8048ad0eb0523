"""Expected errors as the classes for interactive work show them: where the user called, and why."""

from __future__ import annotations

import logging

from daskjob.core.connection_advice import advice
from daskjob.core.errors import DaskJobError

logger = logging.getLogger("daskjob")


def shown(error: DaskJobError) -> DaskJobError:
    """Return an error to raise at the user's call, with what to do about it.

    In a notebook, the calls inside daskjob and the errors of its HTTP client would hide the one
    line that matters. They are logged at the level DEBUG.
    """
    if error.__traceback__ is not None:
        logger.debug("%s", error, exc_info=error)
    hint = advice(error, context="context=")
    if hint and len(error.args) == 1 and error.args[0] == str(error) and hint not in str(error):
        error.args = (f"{error}{hint}",)
    error.__cause__ = None
    error.__suppress_context__ = True
    return error.with_traceback(None)
