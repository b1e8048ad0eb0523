"""Checks the invariants of every fake world after each test of the core."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from daskjob.backends.fake import FakeBackend
from daskjob.core.manifests import Key, Manifest
from tests.core.stories import check_invariants


@pytest.fixture(autouse=True)
def _invariants(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Record every world that the test creates, and check each when it ends."""
    worlds: list[tuple[FakeBackend, set[Key]]] = []
    made, submitted = FakeBackend.__init__, FakeBackend.submit

    def remembering(world: FakeBackend) -> None:
        made(world)
        worlds.append((world, set()))

    def remembering_submit(world: FakeBackend, manifest: Manifest) -> Key:
        key = submitted(world, manifest)
        next(subjects for other, subjects in worlds if other is world).add(key)
        return key

    monkeypatch.setattr(FakeBackend, "__init__", remembering)
    monkeypatch.setattr(FakeBackend, "submit", remembering_submit)
    yield
    for world, subjects in worlds:
        check_invariants(world, subjects)
