"""Kubernetes' quantities ("4Gi", "500m") as numbers; sizes and time spans as text.

The grammar is Kubernetes' ``resource.Quantity``; a trailing ``B`` is accepted too, because Dask
writes "4GiB" where Kubernetes writes "4Gi".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal

from daskjob.core.manifests import mapping, mappings

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
}
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d{1,3})|([A-Za-z]{0,2}))")


def wrong_quantities(pod: Mapping[str, object], path: str) -> list[str]:
    """Return the fields of a PodSpec that hold no quantity; the API server does not name them."""
    found = []
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(mappings(pod.get(kind))):
            resources = mapping(container.get("resources"))
            for part in ("limits", "requests"):
                for name, value in mapping(resources.get(part)).items():
                    if not is_quantity(value):
                        where = f"{path}.{kind}[{index}].resources.{part}.{name}"
                        found.append(f"{where} is {value!r}")
    return found


def is_quantity(value: object) -> bool:
    """Return whether Kubernetes reads a value as a quantity."""
    if isinstance(value, int | float):
        return not isinstance(value, bool)
    text = str(value)
    if text != text.strip() or text.endswith("B"):
        return False
    try:
        parse_quantity(text)
    except ValueError:
        return False
    return True


def similar_quantity(value: object) -> str:
    """Return the quantity that was probably meant, quoted; empty if there is none.

    Dask and people write "1.5GiB", "4 GB", "two"; Kubernetes writes 1.5Gi, 4G, 2.
    """
    text = str(value).strip()
    if text.lower() in _NUMBERS:
        return f"'{_NUMBERS.index(text.lower()) + 1}'"
    match = _LIKE_A_QUANTITY.fullmatch(text)
    if match is None:
        return ""
    number, unit = match.group(1).replace(",", "."), match.group(2).lower()
    if unit in _PLAIN_UNITS:
        return f"'{number}'"
    suffix = _SUFFIXES.get(unit.removesuffix("ytes").removesuffix("b") or "", "")
    if not suffix:
        return ""
    binary = "" if suffix.endswith("i") or suffix == "m" else f" or '{number}{suffix.upper()}i'"
    if suffix == "k":
        binary = f" or '{number}Ki'"
    return f"'{number}{suffix}'{binary}"


#: Numbers in words, from one.
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_LIKE_A_QUANTITY = re.compile(r"([+-]?(?:\d+[.,]?\d*|[.,]\d+))\s*([A-Za-z]*)")
_PLAIN_UNITS = (
    "",
    "b",
    "byte",
    "bytes",
    "cpu",
    "cpus",
    "core",
    "cores",
    "vcpu",
    "vcpus",
    "gpu",
    "gpus",
)
#: What people write before "B" → the suffix of Kubernetes.
_SUFFIXES = {
    **{suffix.lower(): suffix for suffix in (*_BINARY, "M", "G", "T", "P", "E", "k")},
    **{"milli": "m", "kilo": "k", "mega": "M", "giga": "G", "tera": "T"},
    **{"kibi": "Ki", "mebi": "Mi", "gibi": "Gi", "tebi": "Ti", "millicpu": "m", "mcpu": "m"},
}


def parse_quantity(text: str | int | float) -> Decimal:
    """Return the exact value of a quantity.

    Raises
    ------
    ValueError
        The text is not a quantity; the message gives examples.
    """
    match = _QUANTITY.fullmatch(str(text).strip())
    if match:
        number, exponent, suffix = match.groups()
        if exponent is not None:
            return Decimal(number).scaleb(int(exponent))
        if suffix in _BINARY:
            return Decimal(number) * _BINARY[suffix]
        if suffix in _DECIMAL:
            return Decimal(number) * _DECIMAL[suffix]
    raise ValueError(f"{text!r} is not a quantity: write one such as 500m, 2 or 4Gi")


def parse_bytes(text: str | int | float) -> int:
    """Return a size of memory in bytes, from Kubernetes' "4Gi" or Dask's "4GiB" and "4 GB".

    Raises
    ------
    ValueError
        The text is not a size, or not above zero.
    """
    plain = str(text).strip().replace(" ", "")
    if plain[-1:] in ("B", "b"):
        plain = plain[:-1]
    try:
        size = int(parse_quantity(plain))
    except ValueError:
        raise ValueError(f"{text!r} is not a size: write one such as 512Mi, 4Gi or 4GB") from None
    if size <= 0:
        raise ValueError(f"{text!r} is not a size: write one above zero")
    return size


def format_bytes(size: int) -> str:
    """Return a human-readable size: "1.5 GiB", "512 MiB", "17 B"."""
    for suffix in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
        unit = _BINARY[suffix]
        if size >= unit:
            return f"{size / unit:.1f}".removesuffix(".0") + f" {suffix}B"
    return f"{size} B"


def duration(span: timedelta | None) -> str:
    """Return a time span as kubectl writes one: 5s, 3m12s, 2h5m, 3d4h, 40d."""
    if span is None:
        return ""
    seconds = max(int(span.total_seconds()), 0)
    if seconds < 120:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}m{seconds}s" if seconds and minutes < 10 else f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h" if hours and days < 8 else f"{days}d"


def format_peak(peak: int, least: int = 0) -> str:
    """Return the highest size that was measured, or the one that it was at least."""
    return format_bytes(peak) if peak >= least else f"≥ {format_bytes(least)}"
