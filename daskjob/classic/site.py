"""Where the objects of a classic cluster are: each is created once, and deleted if it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from daskjob.classic import pods
from daskjob.classic.options import Options
from daskjob.core.errors import Conflict, NotFound
from daskjob.core.manifests import Manifest, ObjectRef, mappings, object_ref
from daskjob.kube.api import Api
from daskjob.kube.decoding import read_object
from daskjob.kube.errors import AlreadyExists, OutcomeUnknown, Replaced
from daskjob.kube.namespaces import in_words_of_namespaces
from daskjob.kube.objects import get_object

#: Repetitions of a creation of unknown outcome.
CREATE_TRIES = 5


@dataclass
class Site:
    """What the objects of a cluster share: its API server, its identity, their owner."""

    api: Api
    identity: pods.Identity
    options: Options
    notify: Callable[[str], None]
    #: Kubernetes deletes all objects with these.
    owners: list[ObjectRef] = field(default_factory=list)

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object once, also if a response is lost."""
        made = pods.owned(manifest, self.owners)
        for number in range(CREATE_TRIES):
            try:
                return dict(read_object(await self.api.create(made)))
            except OutcomeUnknown:
                if number == CREATE_TRIES - 1:
                    raise
                await asyncio.sleep(0.2 * 2**number)
            except NotFound as error:
                raise in_words_of_namespaces(error) from None
            except AlreadyExists as error:
                found = dict(await get_object(self.api, object_ref(made)))
                # By an earlier try, or by another client; the names of pods are random.
                if number and _owners(found) == _owners(made):
                    return found
                raise _taken(object_ref(made)) from error
        raise AssertionError("unreachable")

    async def check_name(self) -> None:
        """Raise ``Conflict`` if another cluster has this name: its Service would select our pod."""
        ref = ObjectRef("Service", self.identity.namespace, self.identity.name)
        with suppress(NotFound):
            await get_object(self.api, ref)
            raise _taken(ref)

    async def delete(self, ref: ObjectRef) -> None:
        """Delete an object; one that is gone is no error."""
        with suppress(NotFound, Replaced):
            await self.api.delete(ref)


def _taken(ref: ObjectRef) -> Conflict:
    return Conflict(
        f"{ref} exists already: choose another name, or keep {{uuid}} in the name; one of a client "
        "that is gone is deleted after its lease"
    )


def _owners(manifest: Manifest) -> list[Any]:
    return [owner.get("uid") for owner in mappings(manifest["metadata"].get("ownerReferences"))]
