"""Free loopback ports that stay reserved until, and while, our process listens at them.

Finding a free port and passing its number on is a race: another process may get the port first. So
a reserved port is *bound*, with SO_REUSEADDR, but never listened at. On Linux:

- the kernel never assigns the port to a socket that asks for any port (bind to 0, with or without
  SO_REUSEADDR, or connect): it assigns only ports that no other socket of the address has;
- a socket that asks for this port with SO_REUSEADDR gets it, and may listen, because no socket
  listens there yet. tornado (so the scheduler, workers and dashboards), asyncio and http.server set
  that option;
- a socket without SO_REUSEADDR cannot bind it, nor can a second listener;
- a process that restarts finds its port free, even if connections linger (TIME_WAIT).

On macOS, as on other BSDs, SO_REUSEADDR does not let two sockets have the same address and port,
whether they listen or not, and SO_REUSEPORT would be needed on both, which tornado does not set.
There the port is released right before the start (`make_way`), so the race is short, not gone.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable
from typing import Final, Self

#: Whether another socket can listen at a port while we hold it (see above).
HELD_WHILE_USED: Final = sys.platform == "linux"

LOOPBACK: Final = "127.0.0.1"


class ReservedPorts:
    """Ports on 127.0.0.1 that are held until they are released. A context manager.

    Hold them as long as the processes that use them may be restarted.
    """

    def __init__(self, sockets: Iterable[socket.socket]) -> None:
        self._sockets = {bound.getsockname()[1]: bound for bound in sockets}
        #: The ports, in no particular order; they stay the same when released.
        self.ports: Final[tuple[int, ...]] = tuple(self._sockets)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def make_way(self, *ports: int) -> None:
        """Prepare for the start of a process that listens at these ports; call it right before.

        Does nothing on Linux; elsewhere it releases them, because nothing else works there.
        """
        if not HELD_WHILE_USED:
            self.release(*ports)

    def release(self, *ports: int) -> None:
        """Release these ports, or all. A port that is no longer held is not an error."""
        for port in ports or self.ports:
            held = self._sockets.pop(port, None)
            if held is not None:
                held.close()


def reserve(count: int) -> ReservedPorts:
    """Reserve `count` different ports. Raises OSError if there are too few, keeping none."""
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sockets.append(bound)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((LOOPBACK, 0))
    except BaseException:
        for bound in sockets:
            bound.close()
        raise
    return ReservedPorts(sockets)
