"""Words and options of a container's command line."""

from __future__ import annotations

from typing import Any

import pytest

from daskjob.core.command_line import has_option, option, without_options, words


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({"command": ["dask"], "args": ["worker", "-v"]}, ["dask", "worker", "-v"]),
        ({"args": ["dask", 3, None, "worker"]}, ["dask", "worker"]),
        ({"command": "dask worker", "args": None}, []),
        ({}, []),
    ],
    ids=["command and args", "words that are not strings", "no lists", "neither"],
)
def test_words_are_command_and_arguments(container: dict[str, Any], expected: list[str]) -> None:
    assert words(container) == expected


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (["dask", "worker", "--nthreads", "3"], "3"),
        (["dask", "worker", "--nthreads=3"], "3"),
        (["--nthreads", "2", "--nthreads=3"], "3"),
        (["--nthreads=a=b"], "a=b"),
        (["--nthreads-max", "3", "--nthread", "3"], ""),
        (["dask", "worker", "--nthreads"], ""),
        ([], ""),
    ],
    ids=["two words", "one word", "the last of two", "with =", "others", "no value", "no words"],
)
def test_option_is_read_as_dask_reads_it(given: list[str], value: str) -> None:
    assert option(given, "--nthreads") == value


def test_options_are_found_in_both_spellings_and_by_their_whole_name() -> None:
    assert has_option(["--name=x"], "--name")
    assert has_option(["--name", "x"], "--name")
    assert not has_option(["--names", "x"], "--name")


def test_options_are_left_out_with_their_values_in_both_spellings() -> None:
    given = ["--port", "1", "--port=2", "--portal", "3"]
    assert without_options(given, ["--port"]) == ["--portal", "3"]
