"""The index of packages: whether it answers from here, asked as ``submit`` and ``run`` ask it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from daskjob.submit.doctor.finding import Finding, ok, skipped, warning
from daskjob.submit.environment.given import given_by
from daskjob.submit.environment.indexes import first_index
from daskjob.submit.environment.not_there import NotThere
from daskjob.submit.environment.resolution import resolve
from daskjob.submit.environment.uv import INSTALL
from daskjob.submit.environment.wanted import (
    Indexes,
    NotResolved,
    Requirement,
    Target,
    UnfitEnvironment,
    Wanted,
)
from daskjob.submit.settings.merge import merged
from daskjob.submit.settings.sources import WrongSettings
from daskjob.submit.settings_places import folder_places

CHECK = "package index"
#: Small, without requirements of its own, and what every Dask needs.
_SMALL = "packaging"
#: An index that answers does it within one.
SECONDS = 5.0
#: What the cache of uv knows is no answer; and one refused connection is enough.
_AFRESH = {"UV_NO_CACHE": "1", "UV_HTTP_RETRIES": "0"}
_OTHER_WAYS = (
    "only jobs whose packages are not in their image need one. A mirror that answers: --index-url "
    "URL, or index-url in [tool.daskjob]. No index at all: wheels from a PVC, --mount "
    "pvc:CLAIM:/wheels --find-links /wheels; wheels from an image volume of a manifest, with "
    "spec.environment.findLinks; or an image that has the packages, --image IMAGE"
)


def package_index(uv: str, folder: Path, environ: Mapping[str, str]) -> Finding:
    """Check that the index answers which scripts of a folder use; empty ``uv``: there is none."""
    if not uv:
        return skipped(CHECK, f"only uv asks one, to choose versions: {INSTALL}")
    try:
        indexes = _configured(folder, environ)
    except WrongSettings as error:
        return warning(CHECK, str(error), "correct these settings")
    if indexes.find_links and not (indexes.index_url or indexes.extra_index_urls):
        return skipped(CHECK, f"none is asked: find-links is {indexes.find_links}")
    name = first_index(indexes, environ) or "the index of uv"
    try:
        _ask(indexes, environ)
    except NotResolved as error:
        return warning(CHECK, f"{name} is of no use from here: {error.reason}", _OTHER_WAYS)
    except NotThere:
        text = f"{name} answers, and does not have {_SMALL}, which Dask needs"
        return warning(CHECK, text, "look whether the URL is right; many end with /simple")
    except UnfitEnvironment as error:
        return warning(CHECK, f"{name} is of no use from here: {error}", _OTHER_WAYS)
    return ok(CHECK, f"{name} answers from here")


def _ask(indexes: Indexes, environ: Mapping[str, str]) -> None:
    wanted = Wanted("this check", (Requirement(_SMALL, CHECK),), indexes=indexes)
    resolve(wanted, target=Target("this machine"), environ={**environ, **_AFRESH}, seconds=SECONDS)


def _configured(folder: Path, environ: Mapping[str, str]) -> Indexes:
    """Return the indexes of the project of a folder and of the user."""
    return given_by(merged(folder_places(folder, environ).layers()).settings).indexes
