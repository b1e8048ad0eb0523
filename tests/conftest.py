"""What every test may use: the fixtures of a real Kubernetes, started where a test asks for it."""

from __future__ import annotations

import signal

pytest_plugins = ["tests.cluster.plugin"]

#: A shell that starts the tests in the background has them ignore these, and so would everything
#: that tests start, to see how it ends by a signal.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)
