"""The access to a cluster that a ``kubernetes`` connection of Airflow gives. No I/O.

An operator's arguments go before the connection's fields. The sources exclude each other, as for
every operator of Airflow's Kubernetes provider.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from daskjob.core.errors import DaskJobError
from daskjob.kube.access import Access, Credentials, Immediate, NoCredentials
from daskjob.kube.credentials import ServiceAccount, find_credentials

#: Airflow before 2.3 stored the fields with this prefix.
_OLD_PREFIX = "extra__kubernetes__"
_SOURCES = ("in_cluster", "kube_config_path", "kube_config")


class WrongConnection(DaskJobError):
    """A connection that cannot be used; a person has to correct it."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a cluster is, and who asks it."""

    #: What messages call it.
    name: str
    in_cluster: bool = False
    kubeconfig_path: str = ""
    #: Not shown: it is secret.
    kubeconfig: Mapping[str, Any] | None = field(default=None, repr=False)
    context: str = ""
    namespace: str = ""
    verifies: bool = True
    #: The default connection may be missing: the access is that of the process.
    exists: bool = True

    def credentials(self) -> Callable[[], Credentials]:
        """Return a source of credentials for each event loop; nothing is read yet."""
        return self._verified if self.verifies else lambda: Unverified(self._verified())

    def _verified(self) -> Credentials:
        return Named(self._found(), self.name, exists=self.exists) if self.name else self._found()

    def _found(self) -> Credentials:
        if self.in_cluster:
            return ServiceAccount()
        if self.kubeconfig is not None:
            from daskjob.kube.kubeconfig import Kubeconfig

            return Kubeconfig(
                f"kube_config of connection {self.name}",
                self.context or None,
                content=self.kubeconfig,
            )
        return find_credentials(self.kubeconfig_path or None, self.context or None)


def connection_of(
    name: str, extras: Mapping[str, Any], given: Mapping[str, Any] | None = None
) -> Connection:
    """Return the access that a connection's extras and an operator's arguments give.

    Raises
    ------
    WrongConnection
        Several sources are set, or the kubeconfig in the connection is none.
    """
    found = {key.removeprefix(_OLD_PREFIX): value for key, value in extras.items()}
    found |= {key: value for key, value in (given or {}).items() if value is not None}
    chosen = [key for key in _SOURCES if _flag(found.get(key))]
    if len(chosen) > 1:
        raise WrongConnection(
            f"connection {name} sets {', '.join(chosen)}: one excludes the others; keep one"
        )
    return Connection(
        name,
        in_cluster=_flag(found.get("in_cluster")),
        kubeconfig_path=str(found.get("kube_config_path") or ""),
        kubeconfig=_kubeconfig(name, found.get("kube_config")),
        context=str(found.get("cluster_context") or ""),
        namespace=str(found.get("namespace") or ""),
        verifies=not _flag(found.get("disable_verify_ssl")),
    )


def secrets_of(connection: Connection) -> list[Any]:
    """Return what logs must not show: how the users of a kubeconfig log in."""
    users = (connection.kubeconfig or {}).get("users")
    found = users if isinstance(users, list) else []
    return [user.get("user") for user in found if isinstance(user, dict)]


def _flag(value: object) -> bool:
    """Return whether a field is set; the values of older connections are texts."""
    if isinstance(value, str):
        return value.strip().lower() not in ("", "false", "no", "off", "0")
    return bool(value)


def _kubeconfig(name: str, value: object) -> Mapping[str, Any] | None:
    if not value:
        return None
    if isinstance(value, str):
        value = _parsed(name, value)
    if not isinstance(value, dict):
        raise WrongConnection(f"kube_config of connection {name} is no kubeconfig: write a mapping")
    return value


def _parsed(name: str, text: str) -> object:
    # Its error would quote a secret.
    try:
        return json.loads(text)
    except ValueError:
        pass
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise WrongConnection(
            f"kube_config of connection {name} is neither JSON nor YAML"
        ) from None


class Named:
    """Credentials whose errors name the connection that they are of."""

    def __init__(self, credentials: Credentials, name: str, *, exists: bool) -> None:
        self._credentials = credentials
        self._name = name
        self._exists = exists

    async def access(self) -> Access:
        """Return the current access."""
        with self._naming():
            return await self._credentials.access()

    async def renew(self, rejected: Access) -> Access:
        """Return new access after a 401."""
        with self._naming():
            return await self._credentials.renew(rejected)

    async def namespace(self) -> str:
        """Return the default namespace."""
        with self._naming():
            return await self._credentials.namespace()

    def at_once(self) -> tuple[Access, str] | None:
        """Return the current access and the default namespace; ``None``: it takes a wait."""
        with self._naming():
            inner = self._credentials
            return inner.at_once() if isinstance(inner, Immediate) else None

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except NoCredentials as error:
            text = (
                f"connection {self._name}: {error}"
                if self._exists
                else f"{error}; or create the connection {self._name}, of type kubernetes: there "
                "is none"
            )
            raise NoCredentials(text) from error.__cause__


class Unverified:
    """Credentials for a server whose certificate is not verified."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._pair: tuple[Access, Access] | None = None

    async def access(self) -> Access:
        """Return the current access."""
        return self._relaxed(await self._credentials.access())

    async def renew(self, rejected: Access) -> Access:
        """Return new access after a 401."""
        known = self._pair
        inner = known[0] if known and known[1] is rejected else rejected
        return self._relaxed(await self._credentials.renew(inner))

    async def namespace(self) -> str:
        """Return the default namespace."""
        return await self._credentials.namespace()

    def _relaxed(self, access: Access) -> Access:
        # Holders compare identities: the same access stays the same.
        if self._pair is None or self._pair[0] is not access:
            self._pair = access, replace(access, tls=_unverified(access.tls))
        return self._pair[1]


def _unverified(tls: ssl.SSLContext | bool) -> ssl.SSLContext:
    context = tls if isinstance(tls, ssl.SSLContext) else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
