"""Deaths of workers that their nannies reported; ``worker_launcher`` writes them."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from daskjob.core.manifests import integer
from daskjob.core.quantity import format_bytes

#: The most that is read at once: a worker that dies at every start is restarted without a pause.
READ_BYTES = 64 * 1024
#: How a nanny exits that cannot start a worker, and how soon after the last worker's death.
FAILED_NANNY_CODE = 1
FAILED_NANNY_TIME = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Death:
    """The death of one worker process, which its nanny then restarted."""

    exit_code: int
    at: datetime
    #: Resident bytes of a worker that its nanny ended because of its memory limit, and the limit.
    memory_bytes: int = 0
    limit_bytes: int = 0

    @property
    def out_of_memory(self) -> bool:
        """Whether it exceeded its memory limit."""
        return self.memory_bytes > 0

    @property
    def reason(self) -> str:
        """The reason as a kubelet writes it."""
        return "OOMKilled" if self.out_of_memory else "Error"

    @property
    def message(self) -> str:
        """What happened, in one sentence."""
        if self.out_of_memory:
            return f"it exceeded its memory limit of {format_bytes(self.limit_bytes)}"
        with suppress(ValueError):
            return f"it was killed by {signal.Signals(self.exit_code - 128).name}"
        return f"its process ended with exit code {self.exit_code}"

    def made_nanny_fail(self, code: int, at: datetime) -> bool:
        """Return whether a nanny that exited then could not restart the worker of this death.

        That also happens while the scheduler ends. The exit of the nanny would hide the cause.
        """
        return code == FAILED_NANNY_CODE and at - self.at < FAILED_NANNY_TIME


@dataclass(slots=True)
class Deaths:
    """Reads the file of a pod's deaths from where it stopped last."""

    path: Path
    _position: int = 0

    def new(self) -> list[Death]:
        """Return the deaths since the last call, the earliest first."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._position)
                data = file.read(READ_BYTES)
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._position += len(whole)
        found = (_death(line) for line in whole.splitlines())
        return [death for death in found if death is not None]


def _death(line: bytes) -> Death | None:
    """Return a death; ``None`` for anything else: the file is written by a job's process."""
    with suppress(ValueError, RecursionError, OverflowError, OSError, TypeError):
        raw = json.loads(line)
        code = integer(raw.get("code")) if isinstance(raw, dict) else None
        if code is None:
            return None
        memory, limit = integer(raw.get("memory")) or 0, integer(raw.get("limit")) or 0
        # SIGTERM is how a nanny ends a worker: what a kernel or a kubelet does is a SIGKILL.
        return Death(
            exit_code=137 if memory else code,
            at=datetime.fromtimestamp(raw.get("at"), UTC),
            memory_bytes=memory,
            limit_bytes=limit,
        )
    return None
