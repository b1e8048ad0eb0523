"""How to reach an API server, and the protocol of what provides that."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from daskjob.core.errors import ApiError


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
