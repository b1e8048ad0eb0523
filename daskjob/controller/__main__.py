"""``python -m daskjob.controller``: the operator as a process.

Exits with 0 on SIGTERM and SIGINT, 2 if its command line is invalid, 1 if it cannot start.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType


def main(words: Sequence[str] | None = None) -> int:
    """Run the operator until a signal ends it; return its exit code."""
    # Importing the rest takes a moment: a signal during that time gives the same exit code.
    _on_signals(lambda *_: os._exit(0))
    from daskjob.controller.logs import configure
    from daskjob.controller.options import parse

    options = parse(sys.argv[1:] if words is None else words)
    configure(
        level=options.level,
        log_format=options.log_format,
        reference=options.log_reference,
        traces=options.traces,
    )
    logger = logging.getLogger(__name__)
    for remark in options.remarks:
        logger.info("%s", remark)

    from daskjob.controller.kopf_runner import KopfRunner
    from daskjob.controller.operator import Operator
    from daskjob.controller.plugins import find_plugins
    from daskjob.controller.world import connect

    plugins = find_plugins(options.modules, options.paths)
    kopf_runner = KopfRunner(plugins, options.namespaces, options.plugins_liveness)

    async def run() -> None:
        operator = Operator(options, connect, kopf_runner)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, operator.end)
        await operator.run()

    try:
        asyncio.run(run())
    except OSError as error:
        logger.error("daskjob cannot start: %s", error)
        return 1
    finally:
        # Already shutting down: ignore a second Ctrl-C.
        _on_signals(signal.SIG_IGN)
    logger.info("daskjob has shut down")
    return 0


def _on_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stderr.flush()
    if threading.active_count() > 1:
        # A plugin blocks in a thread, and Python would wait for it forever.
        os._exit(code)
    sys.exit(code)
