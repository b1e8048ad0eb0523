"""How long an installation waits, and what it reports then."""

from __future__ import annotations

import pytest

from daskjob.submit.installing import waiting
from daskjob.submit.installing.waiting import NotReady, Patience

NO_IMAGE = "the operator: 0 of 1 pods ready: the image of container operator cannot be pulled"


async def test_an_image_that_cannot_be_pulled_ends_the_wait_with_the_values_that_name_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "IMAGE_SECONDS", 0.0)
    notes: list[str] = []
    with pytest.raises(NotReady) as caught:
        await Patience(300, notes.append).pause(NO_IMAGE, "not found")
    assert notes == [f"waiting for {NO_IMAGE}"]
    assert "cannot be pulled: not found; what was installed stays: " in str(caught.value)
    assert str(caught.value).endswith("--set image.tag=TAG")


async def test_an_image_that_is_pulled_at_last_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "PAUSE_SECONDS", 0.0)
    notes: list[str] = []
    patience = Patience(300, notes.append)
    for waits in (NO_IMAGE, NO_IMAGE, "the operator: 0 of 1 pods ready", NO_IMAGE):
        await patience.pause(waits)
    assert len(notes) == 3


async def test_a_wait_that_is_over_names_what_was_waited_for() -> None:
    notes: list[str] = []
    with pytest.raises(NotReady, match="the API server; what was installed stays: correct the val"):
        await Patience(0, notes.append).pause("the API server")
