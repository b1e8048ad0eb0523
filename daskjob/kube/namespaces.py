"""Namespaces that do not exist: the API server lists them as empty, and rejects what is created."""

from __future__ import annotations

import re
from contextlib import suppress

from daskjob.core.errors import ApiError, Forbidden, NotFound
from daskjob.kube.api import Api
from daskjob.kube.requests import Request
from daskjob.kube.resources import Resource

NAMESPACES = Resource("Namespace", "v1", "namespaces")
#: The API server's message about an object that cannot be created in one.
_MISSING = re.compile(r'namespaces "(?P<name>[^"]+)" not found')


class NoNamespace(NotFound):
    """The namespace does not exist."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"namespace {self.name} does not exist; kubectl get namespaces lists those that do, "
            f"kubectl create namespace {self.name} creates it"
        )


def in_words_of_namespaces(error: NotFound) -> NotFound:
    """Return the error of a creation; that of a missing namespace names it."""
    found = _MISSING.search(str(error))
    return NoNamespace(found["name"]) if found else error


async def check_namespace(api: Api, name: str) -> None:
    """Raise ``NoNamespace`` if a namespace without objects does not exist, as far as one may ask.

    Raises
    ------
    NoNamespace
        It does not exist.
    """
    path = NAMESPACES.path(None, name)
    # With one try: the answer only explains an empty list.
    request = Request("get", NAMESPACES, path, f"Namespace {name}", None, tries=1)
    with suppress(Forbidden, ApiError):
        try:
            await api.send(request)
        except NotFound as error:
            raise NoNamespace(name) from error
