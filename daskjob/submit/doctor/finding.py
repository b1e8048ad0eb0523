"""What a check finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    #: It was not made; the text has the reason.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor."""

    check: str
    state: State
    text: str
    #: What to do.
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return it for programs."""
        return {**asdict(self), "state": str(self.state)}


def ok(check: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(check, State.OK, text)


def warning(check: str, text: str, fix: str) -> Finding:
    """Return something that may stop some jobs."""
    return Finding(check, State.WARNING, text, fix)


def failed(check: str, text: str, fix: str) -> Finding:
    """Return something that stops jobs."""
    return Finding(check, State.FAILED, text, fix)


def skipped(check: str, text: str) -> Finding:
    """Return that a check was not made."""
    return Finding(check, State.SKIPPED, text)
