"""The work of a cluster in numbers: done, failed, left undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from daskjob.core.manifests import integer


@dataclass(frozen=True, slots=True)
class Work:
    """The tasks that a scheduler was given, by what became of them."""

    done: int = 0
    erred: int = 0
    #: Neither done nor erred: still waiting or running at the end, or dropped before they ran.
    undone: int = 0

    @property
    def total(self) -> int:
        """All tasks."""
        return self.done + self.erred + self.undone

    def __str__(self) -> str:
        return self.text()

    def text(self, unit: str = "") -> str:
        """Return the work in words: ``3 of 5 tasks done, 2 left undone``."""
        parts = [f"{self.done} of {self.total}{unit} done"]
        if self.erred:
            parts.append(f"{self.erred} erred")
        if self.undone:
            parts.append(f"{self.undone} left undone")
        return ", ".join(parts)


def work_from(tasks: Mapping[str, object]) -> Work:
    """Return the work of a report's ``tasks``."""
    counts = {
        name: max(integer(tasks.get(name)) or 0, 0)
        for name in ("total", "done", "erred", "dropped")
    }
    undone = max(counts["total"] - counts["done"] - counts["erred"], 0) + counts["dropped"]
    return Work(counts["done"], counts["erred"], undone)
