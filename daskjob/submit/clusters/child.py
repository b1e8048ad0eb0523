"""A command that runs beside a connection: it gets the signals, and its exit code is the result."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress


async def run_child(words: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run a command with additional variables; return its exit code, 128 + n after signal n.

    Raises
    ------
    OSError
        It cannot be started.
    """
    loop = asyncio.get_running_loop()
    child = await asyncio.create_subprocess_exec(*words, env={**os.environ, **variables})

    def pass_on(number: int) -> None:
        with suppress(ProcessLookupError):
            child.send_signal(number)

    def interrupt() -> None:
        # The terminal sends Ctrl-C to both.
        if not _is_in_foreground():
            pass_on(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, interrupt)
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, pass_on, number)
    try:
        code = await child.wait()
    except asyncio.CancelledError:
        pass_on(signal.SIGTERM)
        await child.wait()
        raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)
    return code if code >= 0 else 128 - code


def _is_in_foreground() -> bool:
    for stream in (0, 1, 2):
        with suppress(OSError):
            return os.tcgetpgrp(stream) == os.getpgrp()
    return False
