"""Quantities of Kubernetes and Dask as numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest

from daskjob.core.quantity import format_bytes, parse_bytes, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", Decimal("0.5")),
        ("2", Decimal(2)),
        (2, Decimal(2)),
        (0.5, Decimal("0.5")),
        ("4Gi", Decimal(4 * 2**30)),
        ("1.5Ki", Decimal(1536)),
        ("6G", Decimal(6 * 10**9)),
        ("32e9", Decimal(32 * 10**9)),
        ("1E3", Decimal(1000)),
        ("2E", Decimal(2 * 10**18)),
        ("-1k", Decimal(-1000)),
        (".5", Decimal("0.5")),
        ("100n", Decimal("1e-7")),
        ("3u", Decimal("3e-6")),
    ],
)
def test_a_quantity_has_its_exact_value(text: str | int | float, value: Decimal) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "four", "4 Gi", "4Gib", "4XB", "1e", "0x10", "1_000", "nan"])
def test_an_invalid_quantity_is_an_error_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="such as 500m, 2 or 4Gi"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4Gi", 2**32),
        ("4GiB", 2**32),
        ("4 GB", 4 * 10**9),
        ("512MiB", 2**29),
        ("1024", 1024),
        (1024, 1024),
        ("6GB", 6 * 10**9),
    ],
)
def test_a_size_of_memory_is_read_as_kubernetes_and_as_dask_write_it(
    text: str | int, size: int
) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["0", "-1Gi", "1m", "lots", ""])
def test_a_size_that_is_not_above_zero_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (17, "17 B"),
        (2**10, "1 KiB"),
        (2**29, "512 MiB"),
        (3 * 2**29, "1.5 GiB"),
        (2**40, "1 TiB"),
        (0, "0 B"),
    ],
)
def test_a_size_is_shown_with_one_decimal_at_most(size: int, text: str) -> None:
    assert format_bytes(size) == text
