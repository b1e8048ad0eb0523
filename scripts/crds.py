"""Writes the chart's CustomResourceDefinitions, which are generated from daskjob's own fields.

make crds
"""

from __future__ import annotations

from pathlib import Path

import yaml

from daskjob.core.schema import crds

FOLDER = Path(__file__).parents[1] / "operator-chart" / "crds"
HEADER = "# Made by `make crds` from daskjob/core: change the fields there.\n"


def files() -> dict[str, str]:
    """Return the text of each file by its name."""
    return {
        f"{crd['spec']['names']['singular']}.yaml": HEADER
        + yaml.safe_dump(crd, sort_keys=False, allow_unicode=True, width=100)
        for crd in crds()
    }


def main() -> None:
    """Write what is to be there, and nothing else."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    texts = files()
    for path in FOLDER.iterdir():
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
