"""The operator as a process of this machine, which a test may kill at any instant."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

#: The default grace period of Kubernetes.
GRACE_SECONDS = 30.0


class OperatorProcess:
    """An operator for one namespace, with the same identity after each start.

    Like a container that is restarted in its pod, it need not wait until its own Lease expires.
    """

    def __init__(
        self,
        kubeconfig: Path,
        namespace: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._namespace = namespace
        self._log = log
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("KUBE")},
            "KUBECONFIG": str(kubeconfig),
            "DASKJOB_POD_UID": namespace,
            **(environment or {}),
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; it makes passes after a second or two."""
        command = [sys.executable, "-m", "daskjob.controller", f"--namespace={self._namespace}"]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, "--verbose", stdout=log, stderr=log, env=self._environment
            )

    @property
    def pid(self) -> int:
        """The process ID."""
        assert self._process is not None, "it was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it is running."""
        return self._process is not None and self._process.returncode is None

    async def kill(self) -> None:
        """Kill it with SIGKILL, and wait until it is gone."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """Stop it as Kubernetes does, with SIGTERM, and wait until it is gone.

        Raises
        ------
        AssertionError
            It did not exit within the grace period.
        """
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                await self._end(signal.SIGTERM)
        except TimeoutError as error:
            await self.kill()
            raise AssertionError(f"it did not end within {GRACE_SECONDS:.0f} s") from error

    async def ended(self) -> int:
        """Wait for its end; return its exit code, or the negated number of a signal."""
        assert self._process is not None, "it was not started"
        return await self._process.wait()

    async def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(number)
            await self._process.wait()
