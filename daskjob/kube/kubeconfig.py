"""The credentials of a kubeconfig: certificates, tokens and plugins.

They are used as kubectl uses them. Modules that only some kubeconfigs need are imported when one
does: a submission takes less time than their imports.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from daskjob.kube.access import Access, NoCredentials
from daskjob.kube.kubeconfig_files import DEFAULT, Selected, Stanza, Unusable, selected
from daskjob.kube.tls import KeyPair, key_pair, tls_of

if TYPE_CHECKING:
    import asyncio

    from daskjob.kube.exec_plugin import Login

#: Credentials are not read again within this time: a plugin is a process, or a login.
RENEWAL_PAUSE_SECONDS = 5.0
_IMPERSONATION = ("as", "as-uid", "as-groups", "as-user-extra")


class Kubeconfig:
    """The credentials of a kubeconfig's context.

    With ``content``, nothing is read from a file, and ``path`` is what messages call it.
    """

    def __init__(
        self,
        path: str | None = None,
        context: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        content: Mapping[str, Any] | None = None,
    ) -> None:
        self._path = path
        self._context = context
        self._content = content
        self._clock = clock
        self._lock: asyncio.Lock | None = None
        self._access: Access | None = None
        self._user: Stanza | None = None
        self._expires_at: float | None = None
        self._namespace = ""
        self._read_at = 0.0

    def at_once(self) -> tuple[Access, str] | None:
        """Return the access and the namespace; ``None``: a plugin must run first."""
        with self._naming_the_source():
            found = selected(self._path, self._context, self._content)
            if _needs_plugin(found):
                return None
            return _access(found, None), _namespace(found)

    async def access(self) -> Access:
        """Return the access, read once: only a 401 or a plugin shows that it has expired."""
        async with self._locked():
            if self._access is not None and not (self._is_over() and not self._is_recent()):
                return self._access
            return await self._read()

    async def renew(self, rejected: Access) -> Access:
        """Read the files again and run the plugin, once for all requests that got a 401."""
        async with self._locked():
            if self._access is None or (self._access is rejected and not self._is_recent()):
                await self._read()
            assert self._access is not None
            if self._access.headers == rejected.headers:
                self._check_token(rejected)
            return self._access

    async def namespace(self) -> str:
        """Return the namespace of the context."""
        await self.access()
        return self._namespace

    def _locked(self) -> asyncio.Lock:
        import asyncio

        if self._lock is None:
            self._lock = asyncio.Lock()
        return self._lock

    def _is_recent(self) -> bool:
        return self._clock() - self._read_at < RENEWAL_PAUSE_SECONDS

    def _is_over(self) -> bool:
        return self._expires_at is not None and time.time() >= self._expires_at

    async def _read(self) -> Access:
        self._read_at = self._clock()
        with self._naming_the_source():
            found = selected(self._path, self._context, self._content)
            login = None
            if _needs_plugin(found):
                from daskjob.kube.exec_plugin import run_plugin

                login = await run_plugin(found.user, found.cluster)
            self._access = _access(found, login)
            self._user = found.user
            self._namespace = _namespace(found)
            self._expires_at = login.expires_at if login else None
        return self._access

    def _check_token(self, rejected: Access) -> None:
        """Raise if the rejected token has expired: the server's message is only *Unauthorized*."""
        from daskjob.kube.bearer_token import expiry

        ended = expiry(rejected.headers.get("Authorization", ""))
        if ended is None or ended > time.time() or self._user is None:
            return
        at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(ended))
        with self._naming_the_source():
            raise self._user.wrong("token", f"expired at {at}; log in again")

    @contextmanager
    def _naming_the_source(self) -> Iterator[None]:
        try:
            yield
        except (Unusable, OSError) as error:
            import os

            source = self._path or os.environ.get("KUBECONFIG") or DEFAULT
            fault = str(error).removeprefix(f"{source}: ")  # Of several files, it names the one.
            raise NoCredentials(f"kubeconfig {source} cannot be used: {fault}") from None


def _needs_plugin(found: Selected) -> bool:
    """Return whether a plugin has the credentials: a token of the user itself takes precedence."""
    user = found.user
    own = user.text("token") or user.text("tokenFile")
    return bool(user.fields.get("exec")) and not own and _is_encrypted(found)


def _namespace(found: Selected) -> str:
    return found.context.text("namespace") or "default"


def _access(found: Selected, login: Login | None) -> Access:
    cluster, user = found.cluster, found.user
    for name in _IMPERSONATION:
        if user.fields.get(name):
            raise user.wrong(name, "daskjob does not support impersonation; use another context")
    server, proxy = _server(found), cluster.text("proxy-url")
    if proxy and not proxy.startswith(("http://", "https://")):
        raise cluster.wrong("proxy-url", "must start with http:// or https://")
    if not _is_encrypted(found):
        # As kubectl: anyone on the way could read the credentials.
        return Access(server, proxy=proxy or None, fixed=True)
    return Access(
        server=server,
        tls=tls_of(cluster, _pair(user, login)),
        headers=_headers(user, login),
        proxy=proxy or None,
        server_name=cluster.text("tls-server-name") or None,
        # The program that writes the file may write another one.
        fixed=login is None and not user.fields.get("tokenFile"),
    )


def _server(found: Selected) -> str:
    server = found.cluster.text("server").rstrip("/")
    if "://" not in server:
        server = f"{'https' if _is_encrypted(found) else 'http'}://{server}" if server else ""
    try:
        parts = urlsplit(server)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise found.cluster.wrong("server", "must be a URL such as https://example.com:6443")
    return server


def _is_encrypted(found: Selected) -> bool:
    """Return whether the connection is by TLS; without a scheme, the settings of TLS decide."""
    server = found.cluster.text("server")
    if "://" in server:
        return server.startswith("https://")
    clusters = ("certificate-authority", "certificate-authority-data", "insecure-skip-tls-verify")
    users = ("client-certificate", "client-certificate-data")
    return any(map(found.cluster.fields.get, clusters)) or any(map(found.user.fields.get, users))


def _pair(user: Stanza, login: Login | None) -> KeyPair | None:
    return login.pair if login and login.pair else key_pair(user)


def _headers(user: Stanza, login: Login | None) -> Mapping[str, str]:
    name, token = _token(user, login)
    if token:
        if not (token.isascii() and token.isprintable()):
            # Its message would quote the token.
            raise user.wrong(name, "has characters that no token has")
        return {"Authorization": f"Bearer {token}"}
    username, password = user.text("username"), user.text("password")
    if not (username or password):
        return {}
    from base64 import b64encode

    return {"Authorization": f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}"}


def _token(user: Stanza, login: Login | None) -> tuple[str, str]:
    """Return the token, and the field that has it."""
    token = user.text("token").strip()
    try:
        content = user.content("tokenFile")
    except Unusable:
        # A file that is renewed goes before a token that is not, but only while it is there.
        if not token:
            raise
        content = None
    if content is not None:
        filed = content.decode(errors="replace").strip()
        if not (filed or token):
            raise user.wrong("tokenFile", f"{user.path('tokenFile')} is empty")
        return "tokenFile", filed or token
    if token:
        return "token", token
    if login and login.token:
        return "exec", login.token
    return "auth-provider", _token_of_provider(user)


def _token_of_provider(user: Stanza) -> str:
    """Return the token of an OpenID provider, which is not renewed here."""
    found = user.fields.get("auth-provider")
    if not found:
        return ""
    provider = Stanza("auth-provider of user", user.name, user.file, found)
    if provider.text("name") != "oidc":
        raise user.wrong("auth-provider", "only oidc is supported; use a plugin (exec) instead")
    config = provider.fields.get("config")
    token = config.get("id-token") if isinstance(config, dict) else None
    if not token:
        raise user.wrong("auth-provider", "has no id-token; log in again")
    return str(token).strip()
