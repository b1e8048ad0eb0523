"""Mistakes that only the API server finds."""

from __future__ import annotations

from dataclasses import dataclass

from daskjob.core.errors import FieldError


@dataclass(frozen=True, slots=True, init=False)
class RejectedByServer(FieldError):
    """A mistake in the API server's words, which name the field."""

    def __init__(self, message: str) -> None:
        FieldError.__init__(self, "", None, message)

    def __str__(self) -> str:
        return self.allowed

    def __reduce__(self) -> tuple[type[RejectedByServer], tuple[str]]:
        return type(self), (self.allowed,)
