"""What a message asks about an unknown name."""

from __future__ import annotations

import pytest

from daskjob.core.similar_names import did_you_mean

KNOWN = ("nightly-1c4d2f8a90b7", "my-script-x2k9f", "sums")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sms", " (did you mean sums?)"),
        ("my-scipt-x2k9f", " (did you mean my-script-x2k9f?)"),
        ("nightly-1c4d2f8a", " (did you mean nightly-1c4d2f8a90b7?)"),
        ("other", ""),
        ("", ""),
    ],
)
def test_a_similar_name_is_asked_for(name: str, expected: str) -> None:
    assert did_you_mean(name, KNOWN) == expected


def test_without_names_there_is_no_question() -> None:
    assert did_you_mean("sums", ()) == ""
