"""Messages are truncated to a limit, with a mark."""

from __future__ import annotations

from daskjob.core.messages import cut


def test_message_within_the_limit_stays() -> None:
    assert cut("12345", 5) == "12345"


def test_longer_message_is_cut_to_the_limit_with_its_mark() -> None:
    assert cut("123456", 5) == "1234…"
    assert cut("123456", 5, "...") == "12..."
