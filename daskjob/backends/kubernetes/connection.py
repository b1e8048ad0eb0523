"""Where the API server is, and how we say who we are.

In a pod the service account's files say it. Elsewhere a kubeconfig does, which kr8s reads, with
its certificates, tokens and plugins: of kr8s only the authentication is used, and it is imported
only there, since an operator in its pod can do without its 50 MB.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from daskjob.core.errors import ApiError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: The kubelet renews a token long before it ends; it asks that files be read again each minute.
REREAD_SECONDS = 60.0
#: Credentials that were refused are not read again sooner: a plugin is a process, or a login.
RENEWAL_PAUSE_SECONDS = 5.0


class NoCredentials(ApiError):
    """Nothing says (at this moment) where the API server is and who we are.

    Never ``NotFound``: that would be an object that is gone.
    """


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach the API server at this moment."""

    server: str
    #: ``True``: the certificates that this machine trusts.
    tls: ssl.SSLContext | bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    proxy: str | None = None
    #: The name in the server's certificate, where it is not the URL's.
    server_name: str | None = None


class Credentials(Protocol):
    """A source of access, asked before each request."""

    async def access(self) -> Access:
        """Return the access that is valid now, as far as anybody knows."""
        ...

    async def renew(self, rejected: Access) -> Access:
        """Return another access after a 401 to this one; the same where there is none (yet)."""
        ...

    async def namespace(self) -> str:
        """Return the namespace in which we are at home."""
        ...


def find_credentials(kubeconfig: str | None = None, context: str | None = None) -> Credentials:
    """Return the credentials of this process: a kubeconfig that somebody names, then the pod's own.

    Nothing is read yet. Without either, it is the kubeconfig of the user.
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
        """Return the access, read again when it is a minute old."""
        if self._access is None or self._clock() - self._read_at >= REREAD_SECONDS:
            self._access = self._read(self._access)
        return self._access

    async def renew(self, rejected: Access) -> Access:
        """Read the files at once, unless that was done since the refused access was given out."""
        if self._access is rejected:
            self._access = self._read(rejected)
        return await self.access()

    async def namespace(self) -> str:
        """Return the namespace of the pod."""
        return self._text("namespace").strip()

    def _read(self, before: Access | None) -> Access:
        # Small files in memory: to read them takes less time than to hand them to a thread.
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


class Kubeconfig:
    """The credentials of a kubeconfig's context, as kr8s reads it."""

    def __init__(
        self,
        path: str | None = None,
        context: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._context = context
        self._clock = clock
        self._lock = asyncio.Lock()
        self._access: Access | None = None
        self._namespace = ""
        self._read_at = 0.0

    async def access(self) -> Access:
        """Return the access; read once, since only a 401 says that it has ended."""
        async with self._lock:
            return self._access or await self._read()

    async def renew(self, rejected: Access) -> Access:
        """Read the file again, and run the plugin that it names; once for all who were refused."""
        async with self._lock:
            recently = self._clock() - self._read_at < RENEWAL_PAUSE_SECONDS
            if self._access is not None and (self._access is not rejected or recently):
                return self._access
            return await self._read()

    async def namespace(self) -> str:
        """Return the namespace of the context."""
        await self.access()
        return self._namespace

    async def _read(self) -> Access:
        self._read_at = self._clock()
        source = self._path or os.environ.get("KUBECONFIG") or "~/.kube/config"
        try:
            self._access, self._namespace = await _read_kubeconfig(self._path, self._context)
        except (ValueError, LookupError, TypeError, OSError, RuntimeError) as error:
            raise NoCredentials(f"kubeconfig {source} cannot be used: {error}") from error
        return self._access


async def _read_kubeconfig(path: str | None, context: str | None) -> tuple[Access, str]:
    # Only here: it takes 0.4 s and 50 MB.
    from kr8s._auth import KubeAuth

    auth: Any = await KubeAuth(kubeconfig=path, serviceaccount="", context=context)
    user: Mapping[str, Any] = auth._user
    try:
        tls = await auth.ssl_context()
    finally:
        _remove_keys(auth)
    if "as" in user:
        raise ValueError("daskjob cannot act as somebody else, as its user's 'as' asks for")
    token = auth.token or _token_of_file(user.get("tokenFile"), auth.kubeconfig.get_path(context))
    access = Access(
        server=str(auth.server).rstrip("/"),
        tls=tls,
        headers={"Authorization": f"Bearer {token}"} if token else {},
        proxy=auth.proxy,
        server_name=auth.tls_server_name,
    )
    # kr8s' own answer is the namespace of the current context, whichever one was asked for.
    return access, str(auth._context.get("namespace") or "default")


def _token_of_file(name: str | None, kubeconfig: object) -> str:
    """Return the token in the file that a kubeconfig names, relative to it; kr8s reads none."""
    if not name:
        return ""
    return (Path(str(kubeconfig)).expanduser().parent / name).read_text().strip()


def _remove_keys(auth: Any) -> None:
    """Remove the files into which kr8s wrote what stands in the kubeconfig itself.

    It leaves them behind, the private key among them.
    """
    for where, key, file in (
        (auth._user, "client-key-data", auth.client_key_file),
        (auth._user, "client-certificate-data", auth.client_cert_file),
        (auth._cluster, "certificate-authority-data", auth.server_ca_file),
    ):
        if key in where and file:
            Path(str(file)).unlink(missing_ok=True)
