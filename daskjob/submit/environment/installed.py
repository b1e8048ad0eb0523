"""What a Python has: its versions as a target, and which requirements it meets already."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from daskjob.submit.environment.requirement_lines import name_of, normalised, parsed
from daskjob.submit.environment.wanted import DASK, NotResolved, Target

#: How long a Python may take: a first start on a network disk is slow.
PROBE_SECONDS = 60
#: What helps a run where no index answers.
_OTHER_WAYS = (
    'name a mirror in [tool.daskjob]: index-url = "URL"; or a folder of wheels: find-links = '
    '"FOLDER"; or run with what is installed: --no-install'
)
_PROBE = """\
import json, platform, sys
from importlib import metadata
sys.path[:] = [folder for folder in sys.path if folder]
found = {}
for name in json.load(sys.stdin):
    try:
        there = metadata.distribution(name)
        found[name] = [there.version, list(there.requires or [])]
    except Exception:
        pass
markers = {
    "python_version": "%d.%d" % sys.version_info[:2],
    "python_full_version": platform.python_version(),
    "implementation_name": sys.implementation.name,
    "platform_python_implementation": platform.python_implementation(),
}
print(json.dumps({"markers": markers, "found": found}))
"""


@dataclass(frozen=True, slots=True)
class Installed:
    """What a Python reports about itself."""

    path: str
    #: Variables of markers.
    markers: Mapping[str, str]
    #: Versions and requirements of distributions, by normalised name.
    found: Mapping[str, tuple[str, tuple[str, ...]]]

    @property
    def target(self) -> Target:
        """The Python as the place of packages."""
        dask, distributed = (self.found.get(name, ("", ()))[0] for name in DASK)
        python = self.markers["python_full_version"]
        return Target(
            self.path,
            python,
            dask,
            distributed,
            other="choose another Python: --python PATH",
            other_ways=_OTHER_WAYS,
        )

    def meets(self, texts: Iterable[str]) -> bool:
        """Return whether all requirements are installed in versions that they allow."""
        return all(map(self._meets, texts))

    def unmet(self, text: str) -> str:
        """Return a requirement as a message shows it, if it is not met; else an empty text.

        A URL says nothing about a version: any one counts as met.
        """
        wanted = parsed(text)
        if wanted is None or self._meets(text):
            return ""
        version, _ = self.found.get(normalised(wanted.name), ("", ()))
        if version and wanted.url:
            return ""
        shown = text.partition(";")[0].strip()
        is_other = version and not wanted.specifier.contains(version, prereleases=True)
        return f"{shown} ({version} is there)" if is_other else shown

    def _meets(self, text: str) -> bool:
        wanted = parsed(text)
        if wanted is None or wanted.url:
            return False
        if wanted.marker is not None and not wanted.marker.evaluate({**self.markers, "extra": ""}):
            return True
        version, needs = self.found.get(normalised(wanted.name), ("", ()))
        if not version or not wanted.specifier.contains(version, prereleases=True):
            return False
        return all(self._meets_extra(line, extra) for extra in wanted.extras for line in needs)

    def _meets_extra(self, text: str, extra: str) -> bool:
        """Return whether what an extra needs is there, if a line is about that extra."""
        found = parsed(text)
        if found is None or found.marker is None or "extra" not in str(found.marker):
            return True
        if not found.marker.evaluate({**self.markers, "extra": extra}):
            return True
        return normalised(found.name) in self.found


def installed_in(python: str, texts: Sequence[str], environ: Mapping[str, str]) -> Installed:
    """Return what a Python has of the packages that requirements name.

    Raises
    ------
    NotResolved
        The program is no Python.
    """
    names = sorted({*DASK, *filter(None, map(name_of, texts))})
    first = _probed(python, names, environ)
    # What an extra needs is known only now.
    more = {name_of(line) for _, needs in first.found.values() for line in needs if "extra" in line}
    wanted_extras = any("[" in text for text in texts)
    return _probed(python, sorted({*names, *more}), environ) if wanted_extras else first


def _probed(python: str, names: list[str], environ: Mapping[str, str]) -> Installed:
    try:
        done = subprocess.run(
            [python, "-c", _PROBE],
            env=dict(environ),
            input=json.dumps(names),
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=True,
        )
        answer = json.loads(done.stdout)
        found = {name: (have, tuple(needs)) for name, (have, needs) in answer["found"].items()}
        return Installed(python, answer["markers"], found)
    except (OSError, subprocess.SubprocessError, ValueError, LookupError) as error:
        raise NotResolved(f"{python} is no working Python: {error}") from error
