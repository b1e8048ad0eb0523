"""Free loopback ports that stay ours until, and while, a process of ours listens at them.

Finding a free port and passing its number on is a race: the next socket of anybody may get it. So
a reserved port is *bound*, with SO_REUSEADDR, and never listened at. What that means on Linux:

- the kernel gives the port to nobody who asks for any port (bind to 0, with or without
  SO_REUSEADDR, or connect): those look for a port that no other socket of the address has;
- who asks for this very port with SO_REUSEADDR gets it, and may listen, because no socket listens
  there yet. tornado (so the scheduler, workers and dashboards), asyncio and http.server ask so;
- who asks for it without SO_REUSEADDR is refused, and so is a second listener;
- a process that restarts finds its port free, whatever connections linger (TIME_WAIT).

On macOS, as on other BSDs, SO_REUSEADDR does not let two sockets have the same address and port,
whether they listen or not, and SO_REUSEPORT would be needed on both, which tornado does not set.
There the port is let go right before the start (`make_way`), and the race is short, not gone.
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
        """To call right before a process is started that listens at these ports.

        Does nothing on Linux; elsewhere it releases them, since nothing else works there.
        """
        if not HELD_WHILE_USED:
            self.release(*ports)

    def release(self, *ports: int) -> None:
        """Give up these ports, or all. What is not held any more is no error."""
        for port in ports or self.ports:
            held = self._sockets.pop(port, None)
            if held is not None:
                held.close()


def reserve(count: int) -> ReservedPorts:
    """Reserve so many different ports. Raises OSError if there are not as many, keeping none."""
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
