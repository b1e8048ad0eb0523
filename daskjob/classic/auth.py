"""The ways to authenticate to an API server, as the classic class names them.

Each gives credentials to the cluster that it was passed to, and changes nothing for others.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import ClassVar

from daskjob.core.errors import WrongArgument
from daskjob.kube.access import Access, Credentials, NoCredentials
from daskjob.kube.credentials import SERVICE_ACCOUNT, ServiceAccount
from daskjob.kube.kubeconfig import Kubeconfig


class ClusterAuth:
    """A way to authenticate: `InCluster`, `KubeConfig`, `KubeAuth`, or one of your own.

    Examples
    --------
    >>> auth = KubeConfig(context="minikube")
    >>> auth = KubeAuth(host="https://localhost", username="superuser", password="pass")
    """

    #: What a cluster tries if it is passed none.
    DEFAULT: ClassVar[Sequence[ClusterAuth]] = ()

    async def load(self) -> Credentials:
        """Return the credentials.

        Raises
        ------
        NoCredentials
            They do not exist here, or cannot be used.
        """
        raise NotImplementedError

    @staticmethod
    async def load_first(
        auth: ClusterAuth | Sequence[ClusterAuth] | None = None,
    ) -> Credentials:
        """Return the credentials of the first way that has some.

        Raises
        ------
        NoCredentials
            None has; with the reason of each.
        ValueError
            This is no way to authenticate, and no list of them.
        """
        reasons = []
        for way in _ways(auth):
            try:
                return await way.load()
            except NoCredentials as error:
                reasons.append(f"{type(way).__name__}: {error}")
        raise NoCredentials("; ".join(reasons) or "No authorization methods were provided")


def _ways(auth: object) -> list[ClusterAuth]:
    if auth is None:
        return list(ClusterAuth.DEFAULT)
    ways = [auth] if isinstance(auth, ClusterAuth) else auth
    if isinstance(ways, list | tuple) and all(isinstance(way, ClusterAuth) for way in ways):
        return list(ways)
    raise WrongArgument(
        f"Invalid authorization method provided: {auth!r}; pass InCluster(), KubeConfig(), "
        "KubeAuth(host), or a list of these"
    )


class InCluster(ClusterAuth):
    """The service account of the pod that this process runs in."""

    async def load(self) -> Credentials:
        """Return the credentials of the pod."""
        if not (SERVICE_ACCOUNT / "token").exists():
            raise NoCredentials("this process does not run in a pod with a service account")
        found = ServiceAccount()
        await found.access()
        return found


class KubeConfig(ClusterAuth):
    """A kubeconfig; its tokens are renewed as kubectl renews them.

    Parameters
    ----------
    config_file
        Its path; by default ``KUBECONFIG``, else ``~/.kube/config``.
    context
        The context to use; by default the current one.
    persist_config
        Accepted and not needed: nothing is written to the file.
    """

    def __init__(
        self,
        config_file: str | None = None,
        context: str | None = None,
        persist_config: bool = True,
    ) -> None:
        self.config_file = config_file
        self.context = context
        self.persist_config = persist_config

    async def load(self) -> Credentials:
        """Return the credentials of the context."""
        found = Kubeconfig(self.config_file, self.context)
        await found.access()
        return found


class AutoRefreshKubeConfigLoader(KubeConfig):
    """Another name of `KubeConfig`, which renews all credentials that expire."""


class AutoRefreshConfiguration(ClusterAuth):
    """The credentials of a loader."""

    def __init__(self, loader: ClusterAuth, refresh_frequency: float | None = None) -> None:
        self.loader = loader
        self.refresh_frequency = refresh_frequency

    async def load(self) -> Credentials:
        """Return the credentials of the loader."""
        return await self.loader.load()


class KubeAuth(ClusterAuth):
    """The address of an API server, and what to present to it.

    Parameters
    ----------
    host
        The URL of the API server.
    username, password
        For basic authentication.
    token
        A bearer token.
    verify_ssl
        Whether to verify the server's certificate.
    ssl_ca_cert
        The file of the authority that signed it.
    cert_file, key_file
        The files of a client certificate.
    assert_hostname
        False: the certificate may be for another name; a text: it must be for this name.
    proxy
        The URL of a proxy.
    debug
        Accepted and not needed.
    """

    def __init__(
        self,
        host: str,
        *,
        username: str | None = None,
        password: str | None = None,
        token: str | None = None,
        api_key: Mapping[str, str] | None = None,
        verify_ssl: bool = True,
        ssl_ca_cert: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        assert_hostname: bool | str | None = None,
        proxy: str | None = None,
        namespace: str = "default",
        debug: bool = False,
    ) -> None:
        self.host = host.rstrip("/")
        self.username = username
        self.password = password
        self.token = token or (api_key or {}).get("authorization", "").removeprefix("Bearer ")
        self.verify_ssl = verify_ssl
        self.ssl_ca_cert = ssl_ca_cert
        self.cert_file = cert_file
        self.key_file = key_file
        self.assert_hostname = assert_hostname
        self.proxy = proxy
        self.namespace = namespace
        self.debug = debug

    def __repr__(self) -> str:
        return f"{type(self).__name__}(host={self.host!r})"

    async def load(self) -> Credentials:
        """Return these credentials."""
        if not self.host.startswith(("http://", "https://")):
            raise NoCredentials(f"KubeAuth: host must be a URL, found {self.host!r}")
        named = self.assert_hostname
        access = Access(
            self.host,
            tls=self._tls(),
            headers=self._headers(),
            proxy=self.proxy,
            server_name=named if isinstance(named, str) else None,
        )
        return _Fixed(access, self.namespace)

    def _tls(self) -> ssl.SSLContext:
        # Not ``create_default_context``: see ``kube.credentials``.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = self.verify_ssl and self.assert_hostname is not False
        if not self.verify_ssl:
            context.verify_mode = ssl.CERT_NONE
        try:
            if self.ssl_ca_cert:
                context.load_verify_locations(self.ssl_ca_cert)
            else:
                context.load_default_certs()
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:
            raise NoCredentials(f"KubeAuth: a certificate cannot be used: {error}") from error
        return context

    def _headers(self) -> dict[str, str]:
        if self.token:
            return {"Authorization": f"Bearer {self.token}"}
        if self.username is None and self.password is None:
            return {}
        both = f"{self.username or ''}:{self.password or ''}"
        return {"Authorization": f"Basic {b64encode(both.encode()).decode()}"}


class _Fixed:
    """Credentials that never change."""

    def __init__(self, access: Access, namespace: str) -> None:
        self._access = access
        self._namespace = namespace

    async def access(self) -> Access:
        return self._access

    async def renew(self, rejected: Access) -> Access:  # noqa: ARG002
        return self._access

    async def namespace(self) -> str:
        return self._namespace


ClusterAuth.DEFAULT = (InCluster(), KubeConfig())
