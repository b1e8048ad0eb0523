"""Why a pod has no packages or no code: the end of the init container that prepares it.

Its exit codes and its message are those of ``daskjob/in_pod.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from daskjob.core import names
from daskjob.core.messages import cut
from daskjob.core.pods import ContainerFacts, PodFacts

#: Another try would end the same way; the network or a server did not answer.
NEVER = 78
LATER = 75
#: The kubelet lost track of such a container and made up its exit code.
_UNKNOWN = "ContainerStatusUnknown"
_SENTENCE_LENGTH = 600
_LINES_LENGTH = 400


@dataclass(frozen=True, slots=True)
class Unprepared:
    """How the preparation of a pod failed."""

    exit_code: int
    #: What happened, and what to do.
    sentence: str
    #: The last lines of the installer; may be empty.
    lines: str = ""
    #: Whether another attempt must fail the same way.
    final: bool = False

    @property
    def may_pass(self) -> bool:
        """Whether the network is the cause."""
        return self.exit_code == LATER


def unprepared(pod: PodFacts) -> Unprepared | None:
    """Return how the preparation of a pod failed the last time; ``None`` if it did not fail.

    While its node tries it again, that is what is known.
    """
    found = next((c for c in pod.init_containers if is_preparation(c)), None)
    if found is None:
        return None
    if found.terminated:
        return _failed(found.exit_code, found.reason, found.message)
    return _failed(found.last_exit_code, found.last_reason, found.last_message)


def is_preparation(container: ContainerFacts) -> bool:
    """Return whether a container is the one that prepares its pod."""
    return container.name == names.ENVIRONMENT_CONTAINER


def _failed(code: int | None, reason: str, message: str) -> Unprepared | None:
    if not code or reason == _UNKNOWN:
        return None
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if code in (NEVER, LATER) and lines:
        last = cut("; ".join(lines[1:]), _LINES_LENGTH)
        return Unprepared(code, cut(lines[0], _SENTENCE_LENGTH), last, final=code == NEVER)
    last = cut("; ".join(lines[-3:]), _LINES_LENGTH)
    if reason == "OOMKilled":
        sentence = "it ran out of memory. Raise the memory limit of the container."
    elif reason in ("StartError", "ContainerCannotRun"):
        sentence = "its Python cannot be started. Use an image with Python in its PATH."
        return Unprepared(code, sentence, last, final="not found" in message)
    else:
        sentence = f"the installer ended with code {code}. Read its log."
    return Unprepared(code, sentence, last)
