"""``python -m daskjob.controller``: the operator as a process.

Ends with 0 on SIGTERM and SIGINT, with 2 when its command line is wrong, and with 1 when it cannot
work at all.
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
    # Loading the rest takes a moment: who changes their mind in it gets the same 0.
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
        # It is leaving already: a second Ctrl-C changes nothing.
        _on_signals(signal.SIG_IGN)
    logger.info("daskjob has ended, as it was told to")
    return 0


def _on_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stderr.flush()
    if threading.active_count() > 1:
        # A plugin blocks in a thread, for which Python would wait for ever.
        os._exit(code)
    sys.exit(code)
