"""Access from the API clients of other libraries: kr8s, kubernetes and kubernetes_asyncio.

Programs that have a client, such as orchestrators, have credentials that no kubeconfig shows. Only
the address, the certificates and the tokens are taken from the client; no request goes through it.
"""

from __future__ import annotations

import asyncio
import inspect
import ssl
import time
from collections.abc import Callable
from typing import Any

from daskjob.kube.access import Access, Credentials, NoCredentials

#: How long a token is used before the client is asked again; clients renew tokens themselves.
REREAD_SECONDS = 30.0
#: The names of the token, in new and old versions.
_TOKENS = ("BearerToken", "authorization")


def credentials_of(client: Any) -> Callable[[], Credentials]:
    """Return a source of credentials for each event loop.

    ``client`` is an ``Api`` of kr8s, an ``ApiClient`` of kubernetes or kubernetes_asyncio, or an
    API object of these, such as ``CoreV1Api``.

    Raises
    ------
    TypeError
        It is something else.
    """
    if hasattr(client, "auth") and hasattr(client.auth, "reauthenticate"):
        return lambda: Kr8sCredentials(client.auth)
    found = getattr(client, "api_client", client)
    configuration = getattr(found, "configuration", None)
    if not hasattr(configuration, "get_api_key_with_prefix"):
        raise TypeError(
            f"{type(client).__module__}.{type(client).__name__} is no client of kr8s, kubernetes "
            "or kubernetes_asyncio"
        )
    return lambda: ConfigurationCredentials(configuration)


class _Reread:
    """Reads the access again when it is old, and after a 401."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._access: Access | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    async def access(self) -> Access:
        """Return the access as the client has it."""
        async with self._reading:
            if self._access is None or self._clock() - self._read_at >= REREAD_SECONDS:
                await self._update(renewed=False)
            assert self._access is not None
            return self._access

    async def renew(self, rejected: Access) -> Access:
        """Have the client renew its credentials, once for all requests that got a 401."""
        async with self._reading:
            if self._access is rejected:
                await self._update(renewed=True)
            assert self._access is not None
            return self._access

    async def _update(self, *, renewed: bool) -> None:
        self._read_at = self._clock()
        try:
            found = await self._read(renewed=renewed)
        except (AttributeError, OSError, ValueError, LookupError, RuntimeError) as error:
            raise NoCredentials(f"the client's credentials cannot be used: {error}") from error
        # Holders compare identities: an equal one is not a new one.
        if found != self._access:
            self._access = found

    async def _read(self, *, renewed: bool) -> Access:
        raise NotImplementedError


class ConfigurationCredentials(_Reread):
    """The credentials of a ``Configuration`` of kubernetes or kubernetes_asyncio."""

    def __init__(self, configuration: Any) -> None:
        super().__init__()
        self._configuration = configuration
        self._tls: ssl.SSLContext | bool | None = None
        self._tls_files: tuple[object, ...] = ()

    async def namespace(self) -> str:
        """Return ``default``: these clients have no namespace."""
        return "default"

    async def _read(self, *, renewed: bool) -> Access:
        del renewed
        found = self._configuration
        return Access(
            server=str(found.host).rstrip("/"),
            tls=self._context(),
            headers=await self._headers(),
            proxy=getattr(found, "proxy", None) or None,
            server_name=getattr(found, "tls_server_name", None) or None,
            fixed=getattr(found, "refresh_api_key_hook", None) is None,
        )

    async def _headers(self) -> dict[str, str]:
        known = [name for name in _TOKENS if name in self._configuration.api_key]
        # Without any, the client's hook may still set one.
        for name in known or _TOKENS:
            if token := await self._token(name):
                return {"Authorization": token}
        if self._configuration.username:
            return {"Authorization": self._configuration.get_basic_auth_token()}
        return {}

    async def _token(self, name: str) -> str | None:
        """Return the header with the token; the client may run a plugin to renew it."""
        get = self._configuration.get_api_key_with_prefix
        if inspect.iscoroutinefunction(get):
            token: str | None = await get(name)
            return token
        return await asyncio.to_thread(get, name)

    def _context(self) -> ssl.SSLContext | bool:
        """Return the TLS settings; the same ones for the same files, which keeps connections."""
        found = self._configuration
        files = (
            found.verify_ssl,
            found.ssl_ca_cert,
            found.cert_file,
            found.key_file,
            getattr(found, "ca_cert_data", None),
        )
        if self._tls is None or files != self._tls_files:
            self._tls, self._tls_files = _tls(*files), files
        return self._tls


class Kr8sCredentials(_Reread):
    """The credentials of an ``Api`` of kr8s."""

    def __init__(self, auth: Any) -> None:
        super().__init__()
        self._auth = auth
        self._tls: ssl.SSLContext | bool | None = None

    async def namespace(self) -> str:
        """Return the namespace of the client."""
        await self.access()
        return str(self._auth.namespace or "default")

    async def _read(self, *, renewed: bool) -> Access:
        if renewed or not self._auth.server:
            await self._auth.reauthenticate()
            self._tls = None
        self._tls = self._tls if self._tls is not None else await self._auth.ssl_context()
        token = self._auth.token
        return Access(
            server=str(self._auth.server).rstrip("/"),
            tls=self._tls,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            proxy=self._auth.proxy,
            server_name=self._auth.tls_server_name,
        )


def _tls(
    verify: bool, authority: str | None, certificate: str | None, key: str | None, data: Any
) -> ssl.SSLContext | bool:
    if verify and not (authority or data or certificate):
        return True
    # Not ``create_default_context``: see ``credentials``.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif authority or data:
        context.load_verify_locations(cafile=authority, cadata=data)
    else:
        context.load_default_certs()
    if certificate:
        context.load_cert_chain(certificate, key)
    return context
