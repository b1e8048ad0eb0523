"""Summarises the world's airports by country, with dask.dataframe.

Two real tables that Python packages ship: 28,000 airports (`airportsdata`) and the names of the
countries (`tzdata`). A shuffle brings the airports of one country together, so that medians and
quantiles are exact; a join adds the country's name.

    pip install "dask[dataframe,distributed]" airportsdata tzdata
    python airports.py                       # on this machine, without daskjob
    daskjob run airports.py                  # the same, to a truthful end

The workers read the packages' files themselves, so they need the packages too, at the same path as
the runner: one machine or one image.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

try:
    import dask.dataframe as dd
    import pandas as pd
    from distributed import Client
except ModuleNotFoundError as missing:
    raise SystemExit(
        f'{missing.name} is missing: pip install "dask[dataframe,distributed]"'
    ) from missing

#: The table is 3 MB; blocks of this size make a dozen partitions of it.
BLOCK_BYTES = 256 * 1024
METRES_PER_FOOT = 0.3048
#: Entries of the table in the result: a result holds at most 4 KiB.
RESULT_ENTRIES = 10

COLUMNS = {
    "icao": "string",
    "iata": "string",
    "name": "string",
    "country": "string",
    "elevation": "float64",
    "tz": "string",
}
#: The columns that `summary` returns; dask plans with them before it reads any data.
SUMMARY = {
    "airports": "int64",
    "with_iata": "int64",
    "time_zones": "int64",
    "median_m": "float64",
    "p90_m": "float64",
    "highest": "object",
}


def packaged(package: str, *parts: str) -> str:
    """The path of a file that a package ships, or the command that installs the package."""
    try:
        file = resources.files(package).joinpath(*parts)
    except ModuleNotFoundError as missing:
        raise SystemExit(f"{package} is missing: pip install {package}") from missing
    if not isinstance(file, Path):
        raise SystemExit(f"{package} is packed into an archive, but Dask reads plain files")
    return str(file)


def airports() -> Any:
    """One row an airport, with its height in metres.

    `NA` is Namibia and an empty IATA code is none: neither is a gap. A height of exactly 0 is one:
    the package writes it where it knows no better (for most of Australia, for instance).
    """
    frame = dd.read_csv(
        packaged("airportsdata", "airports.csv"),
        blocksize=BLOCK_BYTES,
        usecols=list(COLUMNS),
        dtype=COLUMNS,
        keep_default_na=False,
    )
    known = frame["elevation"].where(frame["elevation"] != 0)
    return frame.assign(elevation=known * METRES_PER_FOOT)


def countries() -> Any:
    """One row a country: the two letters of ISO 3166 and the usual English name."""
    return dd.read_csv(
        packaged("tzdata", "zoneinfo", "iso3166.tab"),
        blocksize=None,
        sep="\t",
        comment="#",
        names=["country", "country_name"],
        dtype="string",
        keep_default_na=False,
    )


def summary(part: pd.DataFrame) -> pd.DataFrame:
    """Summarises whole countries: after the shuffle no country is spread over two parts."""
    groups = part.groupby("country", sort=True)
    highest = part.sort_values(["elevation", "icao"], ascending=[False, True])
    summarised = pd.DataFrame(
        {
            "airports": groups.size(),
            "with_iata": (part["iata"] != "").groupby(part["country"]).sum(),
            "time_zones": groups["tz"].nunique(),
            "median_m": groups["elevation"].median(),
            "p90_m": groups["elevation"].quantile(0.9),
            "highest": highest.groupby("country")["name"].first(),
        }
    )
    return summarised.astype(SUMMARY).rename_axis("country").reset_index()


def by_country(frame: Any) -> Any:
    """The plan: shuffle by country, summarise, join with the countries' names."""
    meta = pd.DataFrame(
        {"country": pd.Series(dtype="string")}
        | {column: pd.Series(dtype=kind) for column, kind in SUMMARY.items()}
    )
    summarised = frame.shuffle("country").map_partitions(summary, meta=meta)
    return summarised.merge(countries(), on="country", how="left")


def ranked(joined: pd.DataFrame) -> pd.DataFrame:
    """The country with the most airports first; the code stands in for a name ISO lacks."""
    named = joined.assign(country_name=joined["country_name"].fillna(joined["country"]))
    return named.sort_values(["airports", "country"], ascending=[False, True], ignore_index=True)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Plain text columns: numbers right-aligned, the rest left-aligned."""
    cells = [list(headers), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [
        "".join(column[1:]).replace("-", "").isdecimal() for column in zip(*cells, strict=True)
    ]
    lines = (
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    )
    return "\n".join(lines)


def metres(height: float) -> str:
    """A height in whole metres; a country may have no airport whose height is known."""
    return "-" if math.isnan(height) else str(round(height))


def report(rows: pd.DataFrame, *, top: int) -> str:
    """The text that the script prints; heights in metres above sea level."""
    shown = [
        (
            row.country_name,
            row.airports,
            row.with_iata,
            row.time_zones,
            metres(row.median_m),
            metres(row.p90_m),
            row.highest,
        )
        for row in rows.head(top).itertuples()
    ]
    headers = ["country", "airports", "IATA", "zones", "median m", "90 % m", "highest"]
    total = f"{rows['airports'].sum()} airports in {len(rows)} countries and territories"
    return f"{total}\n\n{table(headers, shown)}"


def result(rows: pd.DataFrame) -> dict[str, object]:
    """The same as numbers, for `status.result`."""
    columns = ["country", "airports", "with_iata", "time_zones", "median_m", "p90_m"]
    first = rows.head(RESULT_ENTRIES)[columns].round({"median_m": 1, "p90_m": 1})
    return {
        "airports": int(rows["airports"].sum()),
        "withIata": int(rows["with_iata"].sum()),
        "countries": len(rows),
        "largest": json.loads(first.to_json(orient="records")),
    }


def write_result(values: dict[str, object]) -> None:
    """Writes the result to the file that daskjob reads; without daskjob there is no such file."""
    place = os.environ.get("DASKJOB_RESULT_FILE")
    if place:
        Path(place).write_text(json.dumps(values), encoding="utf-8")


def positive(text: str) -> int:
    """A whole number of at least one, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="The world's airports by country.")
    parser.add_argument("--top", type=positive, default=10, help="rows of the table")
    return parser.parse_args()


def main() -> None:
    """Plans the job, runs it on the cluster, and prints the result."""
    options = arguments()
    plan = by_country(airports())
    with Client():
        rows = ranked(plan.compute())
    print(report(rows, top=options.top))
    write_result(result(rows))


if __name__ == "__main__":
    main()
