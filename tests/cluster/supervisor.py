"""Process 1 of a native cluster: starts its components, and restarts those that end.

It runs in its own namespaces (processes, mounts, network): when this process ends, by SIGKILL or
otherwise, the kernel kills everything that it started, including pods, and nothing is left on the
machine.

A component is a file ``units/<name>.json``: ``argv``, the files and ports that must exist before it
starts (``after``), and additions to its environment (``env``). Files may be added later; when a
file is removed, its component is stopped.

It imports only the standard library, and nothing of this package: it is run as a file.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

#: Its polling interval, while a component is waiting to start and otherwise.
BUSY_SECONDS = 0.02
IDLE_SECONDS = 0.2
#: The first and the longest delay before a component is restarted.
RESTART_SECONDS = (0.2, 3.0)
#: After a run of this length, the delay is reset.
STABLE_SECONDS = 20.0


@dataclass
class Unit:
    """A component and its state."""

    name: str
    argv: list[str]
    after: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    not_before: float = 0.0
    wait: float = RESTART_SECONDS[0]

    def may_start(self, now: float) -> bool:
        """Return whether it is down, its delay is over, and its requirements exist."""
        return self.process is None and now >= self.not_before and all(map(_is_there, self.after))

    def start(self, logs: Path) -> None:
        """Start it; its output is appended to its log."""
        environment = {**os.environ, **self.environment, "DASKJOB_UNIT": self.name}
        self.started = time.monotonic()
        with (logs / f"{self.name}.log").open("ab") as log:
            try:
                self.process = subprocess.Popen(
                    self.argv,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                # An exception here would end the whole cluster.
                log.write(f"cannot be started: {error}\n".encode())
                self.ended()

    def ended(self) -> None:
        """Record that it ended; the delay of its restart doubles."""
        self.process = None
        now = time.monotonic()
        if now - self.started > STABLE_SECONDS:
            self.wait = RESTART_SECONDS[0]
        self.not_before = now + self.wait
        self.wait = min(self.wait * 2, RESTART_SECONDS[1])


def _is_there(needed: str) -> bool:
    """Return whether a file exists, or, for ``host:port``, whether a process listens there."""
    if needed.startswith("/"):
        return os.path.exists(needed)
    host, _, port = needed.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=0.2).close()
    except OSError:
        return False
    return True


def _read(path: Path) -> Unit:
    text = json.loads(path.read_text())
    return Unit(path.stem, text["argv"], text.get("after", []), text.get("env", {}))


def _reap(units: dict[str, Unit]) -> None:
    """Reap every process that ended: components, and orphans that were reparented to this one."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        for unit in units.values():
            if unit.process is not None and unit.process.pid == pid:
                # Popen must not wait for a process that has been reaped.
                unit.process.returncode = os.waitstatus_to_exitcode(status)
                unit.ended()


def supervise(folder: Path) -> None:
    """Keep the components of a cluster's folder running, until killed."""
    units: dict[str, Unit] = {}
    (folder / "up").touch()
    while True:
        _reap(units)
        present = {path.stem: path for path in (folder / "units").glob("*.json")}
        for name in present.keys() - units.keys():
            units[name] = _read(present[name])
        for name in units.keys() - present.keys():
            gone = units.pop(name)
            if gone.process is not None:
                os.killpg(gone.process.pid, signal.SIGTERM)
        now = time.monotonic()
        for unit in units.values():
            if unit.may_start(now):
                unit.start(folder / "logs")
        down = any(unit.process is None for unit in units.values())
        time.sleep(BUSY_SECONDS if down or not units else IDLE_SECONDS)


if __name__ == "__main__":
    supervise(Path(sys.argv[1]))
