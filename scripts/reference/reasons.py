"""The tables of reasons and exit codes, from the code's own."""

from __future__ import annotations

from daskjob.core.exit_codes import ExitCode, exit_code
from daskjob.core.reasons import Reason, ReasonClass
from daskjob.core.status import JobStatus
from scripts.reference.markdown import code, comments, prose, table

#: An exit code of a script that is none of daskjob's.
_SCRIPTS = 77


def exit_codes_table() -> str:
    """Return daskjob's own exit codes."""
    about = comments(ExitCode)
    return table(
        ["code", "meaning"], [(code(str(int(each))), prose(about[each.name])) for each in ExitCode]
    )


def reasons_table() -> str:
    """Return all reasons, by class."""
    about = comments(Reason)
    rows = [
        (code(each.value), prose(about[each.name]), _exit_code(each))
        for kind in ReasonClass
        for each in Reason
        if each.reason_class is kind
    ]
    return table(["reason", "meaning", "exit code"], rows)


def _exit_code(reason: Reason) -> str:
    found = exit_code(JobStatus(reason=reason.value, exit_code=_SCRIPTS))
    if found == _SCRIPTS:
        return "own"
    return code(str(int(found)))
