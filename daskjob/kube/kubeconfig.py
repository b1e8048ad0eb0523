"""The credentials of a kubeconfig: certificates, tokens and plugins.

kr8s reads it. Nothing else of kr8s is used, and it is imported only when a kubeconfig is read, to
save an operator in its pod the 50 MB.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from daskjob.kube.access import Access, NoCredentials

#: Credentials are not read again within this time: a plugin is a process, or a login.
RENEWAL_PAUSE_SECONDS = 5.0


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
        """Return the access, read once: only a 401 shows that it has expired."""
        async with self._lock:
            return self._access or await self._read()

    async def renew(self, rejected: Access) -> Access:
        """Read the file again and run its plugin, once for all requests that got a 401."""
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
    # Imported here because it takes 0.4 s and 50 MB.
    from kr8s._auth import KubeAuth

    auth: Any = await KubeAuth(kubeconfig=path, serviceaccount="", context=context)
    user: Mapping[str, Any] = auth._user
    try:
        tls = await auth.ssl_context()
    finally:
        _remove_keys(auth)
    if "as" in user:
        raise ValueError("daskjob does not support impersonation (the user's 'as')")
    token = auth.token or _token_of_file(user.get("tokenFile"), auth.kubeconfig.get_path(context))
    access = Access(
        server=str(auth.server).rstrip("/"),
        tls=tls,
        headers={"Authorization": f"Bearer {token}"} if token else {},
        proxy=auth.proxy,
        server_name=auth.tls_server_name,
    )
    # Not kr8s' own namespace: it is that of the current context, even if another one was named.
    return access, str(auth._context.get("namespace") or "default")


def _token_of_file(name: str | None, kubeconfig: object) -> str:
    """Return the token of a kubeconfig's ``tokenFile``, relative to it; kr8s does not read it."""
    if not name:
        return ""
    return (Path(str(kubeconfig)).expanduser().parent / name).read_text().strip()


def _remove_keys(auth: Any) -> None:
    """Remove the files to which kr8s wrote the data of the kubeconfig.

    kr8s leaves them behind, including the private key.
    """
    for where, key, file in (
        (auth._user, "client-key-data", auth.client_key_file),
        (auth._user, "client-certificate-data", auth.client_cert_file),
        (auth._cluster, "certificate-authority-data", auth.server_ca_file),
    ):
        if key in where and file:
            Path(str(file)).unlink(missing_ok=True)
