"""Approximate pi by an integral with a number of steps: one point of a sweep.

Writes the number of steps and the error as the job's result.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path

from distributed import Client

PARTS = 10


def part(start: int, stop: int, steps: int) -> float:
    """Return the sum of a part of the steps."""
    width = 1 / steps
    return sum(4 / (1 + ((n + 0.5) * width) ** 2) * width for n in range(start, stop))


def main() -> None:
    """Add the parts, on the cluster's workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000, help="a multiple of 10")
    steps = parser.parse_args().steps
    bounds = [number * steps // PARTS for number in range(PARTS + 1)]
    with Client() as client:
        parts = client.map(part, bounds[:-1], bounds[1:], steps=steps)
        pi = client.submit(sum, parts).result()
    result = {"steps": steps, "error": float(f"{abs(pi - math.pi):.1e}")}
    print(f"{steps} steps: {pi}, error {result['error']}")
    if path := os.environ.get("DASKJOB_RESULT_FILE"):
        Path(path).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
