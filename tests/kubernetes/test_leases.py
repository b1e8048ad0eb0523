"""Answers about a Lease: only the Lease of this name is taken for it."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from daskjob.kube.api import Api
from daskjob.kube.errors import UnexpectedObject
from daskjob.kube.leases import Leases

METADATA = {"namespace": "ns", "name": "daskjob-operator", "resourceVersion": "1"}
LEASE: dict[str, Any] = {"kind": "Lease", "metadata": METADATA, "spec": {"holderIdentity": "me"}}

#: Each would look like a Lease that is not held.
OTHERS = {
    "nothing": b"",
    "a page": b"<html>502 Bad Gateway</html>",
    "a list": b"[]",
    "an empty object": b"{}",
    "no metadata": {**LEASE, "metadata": ["a"]},
    "a Status": {"kind": "Status", "metadata": {}, "status": "Success"},
    "another kind": {**LEASE, "kind": "Pod"},
    "another name": {**LEASE, "metadata": {**METADATA, "name": "other"}},
    "another namespace": {**LEASE, "metadata": {**METADATA, "namespace": "other"}},
    "no version": {**LEASE, "metadata": {**METADATA, "resourceVersion": None}},
}


class Answers:
    """An API server that returns the same to every request."""

    def __init__(self, answer: object) -> None:
        self._data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    async def get(self, _ref: object) -> bytes:
        return self._data

    async def create(self, _manifest: object) -> bytes:
        return self._data

    async def replace(self, _manifest: object) -> bytes:
        return self._data


def leases(answer: object) -> Leases:
    return Leases(cast(Api, Answers(answer)))


@pytest.mark.parametrize("answer", OTHERS.values(), ids=OTHERS)
async def test_answer_that_is_not_the_lease_is_an_error(answer: object) -> None:
    asked = leases(answer)
    with pytest.raises(UnexpectedObject):
        await asked.get("ns", "daskjob-operator")
    with pytest.raises(UnexpectedObject):
        await asked.create(LEASE)
    with pytest.raises(UnexpectedObject):
        await asked.update(LEASE)


async def test_lease_is_returned_as_the_server_has_it() -> None:
    assert await leases(LEASE).get("ns", "daskjob-operator") == LEASE
