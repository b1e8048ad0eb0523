"""The package has the chart that ``daskjob install`` renders."""

from __future__ import annotations

import tomllib
from pathlib import Path

from daskjob.submit.installing import chart

ROOT = Path(__file__).parents[2]


def test_wheel_has_the_chart_where_it_is_looked_for() -> None:
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
        "targets"
    ]
    assert targets["wheel"]["force-include"] == {
        "operator-chart": str(chart.PLACES[0].relative_to(ROOT))
    }
    assert "operator-chart" in targets["sdist"]["include"]
    assert chart.folder() == ROOT / "operator-chart"
