"""The status and `daskjob why` advise the same about an image."""

from __future__ import annotations

import pytest

from daskjob.core.advice import split_step
from daskjob.core.image_advice import image_advice
from daskjob.core.wording import OF_SUBMITTED_SCRIPTS

PULL = 'Back-off pulling image "{0}": ErrImagePull: failed to pull and unpack image "{0}": {1}'


@pytest.mark.parametrize(
    ("image", "error", "step"),
    [
        ("ghcr.io/a/b:1", "ghcr.io/a/b:1: not found", "Correct the name or the tag of ghcr.io/a/b"),
        ("r.example.com/a:1", "401 Unauthorized", "Create a pull secret for r.example.com, and "),
        ("python:9", "pull access denied", "Create a pull secret for docker.io, and name it in "),
        ("r.example.com/a:1", "no such host", "Check that the nodes reach r.example.com"),
        ("team/a:1", "i/o timeout", "Check that the nodes reach docker.io"),
    ],
)
def test_the_step_follows_from_the_error(image: str, error: str, step: str) -> None:
    message = PULL.format(image, error)
    found = image_advice(message)
    assert found.step.startswith(step)
    # As a message has it, it is known as a next step.
    text = f"the image cannot be pulled: {error}. {found.step}."
    assert split_step(text)[1] == f"{found.step}."


@pytest.mark.parametrize(
    "message",
    ["", 'Back-off pulling image "a:1"', 'cannot be pulled: Back-off pulling image "a:1".'],
)
def test_without_an_error_all_that_may_be_wrong_is_named(message: str) -> None:
    step = image_advice(message).step
    assert step.startswith("Check the name of ")
    assert step.endswith(" and the imagePullSecrets")


def test_a_script_has_an_option_for_its_secret() -> None:
    message = PULL.format("python:9", "403 Forbidden")
    assert image_advice(message, OF_SUBMITTED_SCRIPTS).step.endswith("with --image-pull-secret")
