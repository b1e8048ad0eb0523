"""Access to an API server, and the protocol of its sources."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from daskjob.core.errors import ApiError


class NoCredentials(ApiError):
    """No usable credentials: the address of the API server or our identity is unknown for now.

    Never ``NotFound``, which means that an object is gone.
    """


@dataclass(frozen=True, slots=True)
class Access:
    """The address of the API server and how to authenticate, as of now."""

    server: str
    #: ``True``: trust the certificates that this machine trusts.
    tls: ssl.SSLContext | bool = True
    #: Not shown: they have the token.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Not shown: it may have a password.
    proxy: str | None = field(default=None, repr=False)
    #: The name in the server's certificate, if it differs from the URL's.
    server_name: str | None = None
    #: Only a person renews it: no program, and no kubelet.
    fixed: bool = False


class Credentials(Protocol):
    """A source of access, asked before each request."""

    async def access(self) -> Access:
        """Return the current access, valid as far as is known."""
        ...

    async def renew(self, rejected: Access) -> Access:
        """Return new access after a 401; the same if there is nothing newer (yet)."""
        ...

    async def namespace(self) -> str:
        """Return the default namespace."""
        ...


@runtime_checkable
class Immediate(Protocol):
    """Credentials that can be read without an event loop."""

    def at_once(self) -> tuple[Access, str] | None:
        """Return the current access and the default namespace; ``None``: it takes a wait."""
        ...
