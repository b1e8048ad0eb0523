"""Makes the packages of this Python look as if conda had installed them."""

from __future__ import annotations

import json
import sys
import sysconfig
from importlib.metadata import PathDistribution
from pathlib import Path

meta = Path(sys.prefix) / "conda-meta"
meta.mkdir()
history = ["==> 2026-01-01 00:00:00 <=="]
for folder in sorted(Path(sysconfig.get_path("purelib")).glob("*.dist-info")):
    found = PathDistribution(folder)
    name, version = found.metadata["Name"].lower(), found.version
    (folder / "INSTALLER").write_text("conda\n")
    # conda has its own list of files.
    (folder / "RECORD").unlink()
    # The folder in which the package was built.
    url = f"file:///home/conda/feedstock_root/build_artifacts/{name}_1700000000/work"
    (folder / "direct_url.json").write_text(json.dumps({"dir_info": {}, "url": url}))
    build = f"{name}-{version}-pyhd8ed1ab_0"
    record = {"name": name, "version": version, "build": "pyhd8ed1ab_0", "build_number": 0}
    (meta / f"{build}.json").write_text(json.dumps(record))
    history.append(f"+conda-forge/noarch::{build}")
(meta / "history").write_text("".join(f"{line}\n" for line in history))
