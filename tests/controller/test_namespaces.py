"""The selection of namespaces: names, lists, patterns, exceptions."""

from __future__ import annotations

import pytest

from daskjob.controller.namespaces import Namespaces, namespaces_of


@pytest.mark.parametrize(
    ("patterns", "names", "covered", "others"),
    [
        ([], (), ["a", "team-a"], []),
        (["a"], ("a",), ["a"], ["b", "ab"]),
        (["a", "b"], ("a", "b"), ["a", "b"], ["c"]),
        (["b, a"], ("a", "b"), ["a", "b"], ["c", "b, a"]),
        (["a,", "", " , "], ("a",), ["a"], [""]),
        (["team-*"], (), ["team-a", "team-"], ["a", "my-team-a"]),
        (["team-?", "a"], (), ["team-a", "a"], ["team-ab"]),
        (["a*,b*"], (), ["a1", "b1"], ["c1"]),
        (["team-*, !team-test"], (), ["team-a"], ["team-test", "b"]),
        (["!team-test"], (), ["a", "team-a"], ["team-test"]),
        (
            ["myapp-*, !*-pr-*, *pr-123"],
            (),
            ["myapp-test", "myapp-pr-123"],
            ["myapp-pr-456", "otherapp-pr-123"],
        ),
    ],
)
def test_selection_covers_the_expected_namespaces(
    patterns: list[str], names: tuple[str, ...], covered: list[str], others: list[str]
) -> None:
    found = namespaces_of(patterns)
    assert found.names == names
    assert [name for name in [*covered, *others] if found.cover(name)] == covered


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        ([], "all namespaces"),
        (["a"], "namespace a"),
        (["b", "a"], "namespaces a, b"),
        (["team-*"], "namespace team-*"),
    ],
)
def test_namespaces_as_text(patterns: list[str], text: str) -> None:
    assert str(namespaces_of(patterns)) == text
    assert str(Namespaces()) == "all namespaces"
