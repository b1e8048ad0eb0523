"""The connection of a command to a cluster: what it needs, and messages about its state."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from daskjob.core.errors import DaskJobError
from daskjob.core.names import Kind
from daskjob.submit.cli.place import ClusterPlace
from daskjob.submit.client.sync_client import JobClient

if TYPE_CHECKING:
    from daskjob.submit.clusters.client import AsyncClusterClient

#: What the extra ``kubernetes`` installs.
_PACKAGES = ("aiohttp", "kr8s", "msgspec")
#: A request that is given up before that was cancelled by the command, not by the server's silence.
SILENCE_SECONDS = 4.0


def check_packages(what: str = "jobs of a cluster need") -> None:
    """Check that the packages are installed that a cluster needs.

    Raises
    ------
    DaskJobError
        One is missing.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        needed = ", ".join(missing)
        raise DaskJobError(f"{what} {needed}: pip install 'daskjob[kubernetes]'")


def connected(place: ClusterPlace) -> JobClient:
    """Return the client of a cluster, which connects on first use.

    Raises
    ------
    DaskJobError
        A package is missing.
    """
    check_packages()
    return JobClient(
        place.namespace,
        kubeconfig=place.kubeconfig or None,
        context=place.context or None,
        notify=notify,
        on_request=Outage(place.context).see,
    )


def connected_clusters(place: ClusterPlace) -> AsyncClusterClient:
    """Return the client of the clusters of a Kubernetes, which connects on first use.

    Raises
    ------
    DaskJobError
        A package is missing.
    """
    check_packages("clusters need")
    from daskjob.submit.clusters.client import AsyncClusterClient

    return AsyncClusterClient(
        place.namespace,
        kubeconfig=place.kubeconfig or None,
        context=place.context or None,
        notify=notify,
        on_request=Outage(place.context).see,
    )


def notify(text: str) -> None:
    """Print a message about the state of a connection."""
    click.echo(f"daskjob: {text}", err=True)


class Outage:
    """Reports once that the API server does not respond, and that it does again."""

    def __init__(self, context: str) -> None:
        self._where = f" of context {context}" if context else ""
        self._is_out = False

    def see(self, verb: str, kind: str, code: int, seconds: float) -> None:
        """Take in the outcome of a request; called while its exception is handled."""
        del verb
        if code:
            if self._is_out:
                self._is_out = False
                click.echo("daskjob: the API server responds again", err=True)
            return
        # A log that is followed has no response before its first line.
        if self._is_out or kind not in (Kind.JOB, Kind.CLUSTER):
            return
        if isinstance(sys.exc_info()[1], CancelledError) and seconds < SILENCE_SECONDS:
            return
        self._is_out = True
        click.echo(f"daskjob: the API server{self._where} does not respond; trying again", err=True)
