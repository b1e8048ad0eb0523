"""The credentials of this process: a pod's service account, or a kubeconfig."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from daskjob.kube.access import Access, Credentials, NoCredentials
from daskjob.kube.kubeconfig import Kubeconfig

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: The kubelet renews a token long before it expires, and clients should reread it each minute.
REREAD_SECONDS = 60.0


def find_credentials(kubeconfig: str | None = None, context: str | None = None) -> Credentials:
    """Return the credentials of this process: a kubeconfig that was named, then the pod's own.

    Without either, the user's default kubeconfig. Nothing is read yet.
    """
    named = kubeconfig or os.environ.get("KUBECONFIG") or context
    if not named and (SERVICE_ACCOUNT / "token").exists():
        return ServiceAccount()
    return Kubeconfig(kubeconfig, context)


class ServiceAccount:
    """The credentials of a pod: files that the kubelet renews."""

    def __init__(
        self,
        folder: Path = SERVICE_ACCOUNT,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._environment = environment
        self._clock = clock
        self._access: Access | None = None
        self._authority = ""
        self._read_at = 0.0

    async def access(self) -> Access:
        """Return the access, read again once it is a minute old."""
        if self._access is None or self._clock() - self._read_at >= REREAD_SECONDS:
            self._access = self._read(self._access)
        return self._access

    async def renew(self, rejected: Access) -> Access:
        """Read the files now, unless they were read since the rejected access was returned."""
        if self._access is rejected:
            self._access = self._read(rejected)
        return await self.access()

    def at_once(self) -> tuple[Access, str]:
        """Return the access and the namespace of the pod."""
        return self._read(None), self._text("namespace").strip()

    async def namespace(self) -> str:
        """Return the namespace of the pod."""
        return self._text("namespace").strip()

    def _read(self, before: Access | None) -> Access:
        # Small files on tmpfs: reading them takes less time than a thread switch.
        self._read_at = self._clock()
        headers = {"Authorization": f"Bearer {self._text('token').strip()}"}
        authority = self._text("ca.crt")
        if before is not None and authority == self._authority:
            # A new context would mean new connections.
            if before.headers == headers:
                return before
            return Access(before.server, before.tls, headers)
        self._authority = authority
        return Access(self._server(), _trusting(authority), headers)

    def _server(self) -> str:
        host = self._environment.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")
        port = self._environment.get("KUBERNETES_SERVICE_PORT", "443")
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    def _text(self, name: str) -> str:
        try:
            return (self._folder / name).read_text()
        except OSError as error:
            raise NoCredentials(f"the service account cannot be read: {error}") from error


def _trusting(authority: str) -> ssl.SSLContext:
    """Return a context that trusts one authority.

    Not ``create_default_context``: since Python 3.13 it is strict in ways in which the authorities
    of many clusters are not (no key identifier).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority)
    return context
