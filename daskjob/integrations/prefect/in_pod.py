"""The process of a flow run in its pod: ``python -c TEXT COMMAND…``. Self-contained: it is text.

Prefect's own command exits with 0 whatever the flow run's state is. Here, the exit code is that of
the flow run: 0, or 3 if that has ended without success. So the DaskJob's verdict is true, and only
a process that was killed is started again by the job.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

#: The flow run has ended without success: nothing is to be started again.
ENDED = 3
#: How long a cancelled flow run waits for the cancellation of its DaskJob.
CANCEL_SECONDS = 60.0
PAUSE_SECONDS = 0.2

_terminated = threading.Event()


def main(command: list[str]) -> int:
    """Run the command; return the exit code of the flow run."""
    process = subprocess.Popen(command)

    def terminate(*_signal: object) -> None:
        _terminated.set()
        threading.Thread(target=_forward, args=(process,), daemon=True).start()

    signal.signal(signal.SIGTERM, terminate)
    code = process.wait()
    state = state_type()
    if state == "CANCELLED":
        give_up = time.monotonic() + CANCEL_SECONDS
        while not _terminated.is_set() and time.monotonic() < give_up:
            time.sleep(PAUSE_SECONDS)
    if state in ("CANCELLED", "CRASHED", "FAILED"):
        return ENDED
    return code if code >= 0 else 128 - code


def _forward(process: subprocess.Popen[bytes]) -> None:
    """Pass SIGTERM on, unless Prefect's process is just cancelling the flow run, with its hooks."""
    if state_type() not in ("CANCELLING", "CANCELLED"):
        process.terminate()


def state_type() -> str:
    """Return the type of the flow run's state; empty: it is unknown."""
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            found = client.read_flow_run(os.environ["PREFECT__FLOW_RUN_ID"]).state
    except Exception as error:
        print(f"the state of the flow run is unknown: {error}", file=sys.stderr, flush=True)
        return ""
    return found.type.value if found else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
