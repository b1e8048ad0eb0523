"""Responses that are not those of an API server."""

from __future__ import annotations

import pytest

from daskjob.core.errors import ApiError
from daskjob.kube.requests import Request
from daskjob.kube.resources import Resource
from daskjob.submit.installing.cluster_objects import object_of

REQUEST = Request("get", Resource("Version", "v1", "version"), "/version", "version", None)


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"", b"[1]", b"\xff"])
def test_response_that_is_no_object_is_reported(body: bytes) -> None:
    with pytest.raises(ApiError, match=r"version: .* not from an API server: check the server"):
        object_of(body, REQUEST)


def test_object_of_a_response() -> None:
    assert object_of(b'{"gitVersion": "v1.34"}', REQUEST) == {"gitVersion": "v1.34"}
