"""Whether ``python -m NAME`` can find its module, known before anything starts.

The Python of the script searches for it, since only that knows its own path, ``.pth`` files and
editable installs. Nothing of the user is imported.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

#: How long a Python may take to search: a first start on a network disk is slow.
SEARCH_SECONDS = 60
#: The options of Python that change where it searches.
_OF_PATH = frozenset("IPEsS")

#: Prints what is missing, ``null`` if nothing is: the name, its kind, and similar names.
_SEARCH = r"""
import importlib, json, sys
from importlib import util

def spec_of(name, places):
    for finder in sys.meta_path:
        found = finder.find_spec(name, places) if hasattr(finder, "find_spec") else None
        if found is not None:
            return found
    return None

def may_change(spec):
    # When it is imported, a package may extend its own path, and a module may add others.
    try:
        with open(spec.origin, encoding="utf-8", errors="replace") as file:
            text = file.read()
        return "__path__" in text or "sys.modules" in text
    except (OSError, TypeError):
        return spec.origin is not None

def search(name):
    known, places = "", None
    for part in name.split("."):
        known = f"{known}.{part}" if known else part
        spec = util.find_spec(part) if places is None else spec_of(known, places)
        if spec is None:
            return {"name": known, "kind": "module", "near": near(part, places)}
        places = spec.submodule_search_locations
        if (known != name or places is not None) and may_change(spec):
            return None
        if known != name and places is None:
            return {"name": known, "kind": "not a package", "near": []}
    if places is None or spec_of(f"{name}.__main__", places):
        return None
    return {"name": name, "kind": "package", "near": names(places)}

def names(places):
    from pkgutil import iter_modules
    return sorted(found.name for found in iter_modules(places))

def near(part, places):
    from difflib import get_close_matches
    return get_close_matches(part, names(places), n=1, cutoff=0.75)

print(json.dumps(search(sys.argv[1])))
"""


def missing_module(
    python: str, name: str, *, options: Sequence[str] = (), environ: Mapping[str, str]
) -> str:
    """Return why ``python -m name`` cannot run in the current folder; empty if it may.

    ``options`` are those of Python before ``-m``.
    """
    path = Path(*name.split("."))
    flags = [word for word in options if word[1:].isalpha() and _OF_PATH.intersection(word)]
    if not flags and (path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()):
        return ""
    try:
        done = subprocess.run(
            [python, *flags, "-c", _SEARCH, name],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SEARCH_SECONDS,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return ""  # Python itself will report it
    return _message(name, found, python) if isinstance(found, dict) else ""


def _message(name: str, found: Mapping[str, object], python: str) -> str:
    missing, near = str(found["name"]), [str(item) for item in _items(found["near"])]
    if found["kind"] == "package":
        usual = [item for item in ("main", "cli", "run", "app") if item in near]
        others = ", ".join([item for item in near if not item.startswith("_")][:5])
        hint = f"; its modules: {others}" if others else ""
        hint = f"; did you mean daskjob run -m {name}.{usual[0]}?" if usual else hint
        return f"{name} is a package without __main__.py, which -m needs{hint}"
    if found["kind"] == "not a package":
        return f"there is no module {name!r}: {missing} is a module, not a package"
    text = f"there is no module {missing!r}"
    if near:
        parent, _, _ = missing.rpartition(".")
        whole = f"{parent}.{near[0]}" if parent else near[0]
        return f"{text}; did you mean daskjob run -m {whole + name[len(missing) :]}?"
    return f"{text} in this folder or for {python}" if "." not in missing else text


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []
