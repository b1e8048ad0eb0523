"""The port that ``dashboard_address=":8787"`` names: it leads to the dashboard of the run.

The run's scheduler, and with it the dashboard, has started at a port of its own before the script.
"""

from __future__ import annotations

from typing import Any

from tornado.web import Application, RequestHandler

LOOPBACK = "127.0.0.1"


class Redirect(RequestHandler):  # type: ignore[misc]
    """Redirects to the same path elsewhere."""

    def initialize(self, target: str) -> None:
        """Called by tornado with the arguments of the route."""
        self.target = target

    def get(self) -> None:
        """Redirect, for a while only: the next run has another port."""
        self.redirect(self.target + self.request.uri)


def port_of(address: Any) -> int:
    """Return the port that an address names; 0: any, or none."""
    text = str(address if address is not None else "").rpartition(":")[2]
    return int(text) if text.isdecimal() else 0


def listen(port: int, target: str) -> Any:
    """Lead a port of this machine to the dashboard; return the server.

    Raises
    ------
    OSError
        The port is taken.
    """
    return Application([(r".*", Redirect, {"target": target})]).listen(port, address=LOOPBACK)
