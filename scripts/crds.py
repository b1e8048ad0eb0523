"""Generates the chart's CustomResourceDefinitions from the fields in daskjob/core.

make crds
"""

from __future__ import annotations

from pathlib import Path

import yaml

from daskjob.core.schema import crds

FOLDER = Path(__file__).parents[1] / "operator-chart" / "crds"
HEADER = "# Made by `make crds` from daskjob/core: change the fields there.\n"


def files() -> dict[str, str]:
    """Return the text of each file, by file name."""
    return {
        f"{crd['spec']['names']['singular']}.yaml": HEADER
        + yaml.safe_dump(crd, sort_keys=False, allow_unicode=True, width=100)
        for crd in crds()
    }


def main() -> None:
    """Write the files, and delete any other file of the folder."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    texts = files()
    for path in FOLDER.iterdir():
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
