"""The packages of a job on a cluster: resolved for the image that its pods have."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

from daskjob.core.manifests import Manifest, mapping
from daskjob.submit.cluster_job import parts
from daskjob.submit.cluster_job.image import image_versions
from daskjob.submit.environment.given import given_by
from daskjob.submit.environment.requirement_lines import distribution_of, requirement
from daskjob.submit.environment.script import environment_of_script
from daskjob.submit.environment.sources import with_file, with_given
from daskjob.submit.environment.wanted import Indexes, Resolved, Target, Wanted
from daskjob.submit.settings.table import Settings


def target_of(image: str) -> Target:
    """Return an image as the place of packages: with its versions, if its tag has them."""
    there = image_versions(image)
    place = f"the image {image}" if image else "the image"
    if there is None:
        return Target(place)
    return Target(place, there.python, there.dask, there.distributed)


def script_environment(
    text: str, subject: str, folder: Path, settings: Settings, environ: Mapping[str, str]
) -> Resolved:
    """Return the environment of a script whose settings have an image.

    Raises
    ------
    UnfitEnvironment, NotResolved
        As ``environment_of_script`` does.
    """
    given, target = given_by(settings), target_of(settings.image or "")
    return environment_of_script(text, subject, folder, given=given, target=target, environ=environ)


def with_packages(
    manifest: Manifest, settings: Settings, environ: Mapping[str, str]
) -> tuple[Manifest, tuple[str, ...]]:
    """Return a valid manifest with the packages and indexes that settings add, and notes.

    Raises
    ------
    UnfitEnvironment, NotResolved
        As ``resolve`` does.
    """
    given = given_by(settings)
    if given.is_empty:
        return manifest, ()
    from daskjob.submit.environment.not_there import naming_origins
    from daskjob.submit.environment.resolution import resolve

    changed: Manifest = copy.deepcopy(manifest)
    wanted = _of_manifest(mapping(changed["spec"].get("environment")))
    if given.requirements:
        wanted = with_file(wanted, given.requirements, environ)
    wanted = with_given(wanted, given)
    image = settings.image or str(parts.runner(changed["spec"]).container.get("image") or "")
    with naming_origins(wanted):
        found = resolve(wanted, target=target_of(image), environ=environ)
    changed["spec"]["environment"] = found.manifest()
    return changed, found.notes


def _of_manifest(environment: Manifest) -> Wanted:
    urls = tuple(environment.get("indexURLs") or ())
    return Wanted(
        "the manifest",
        requirements=tuple(
            requirement(str(line), "spec.environment.requirements")
            for line in environment.get("requirements") or ()
        ),
        requires_python=str(environment.get("requiresPython") or ""),
        indexes=Indexes(
            urls[0] if urls else "",
            urls[1:],
            str(environment.get("findLinks") or ""),
            str(environment.get("secretName") or ""),
        ),
    )


def provides(environment: Resolved, module: str) -> bool:
    """Return whether a package of an environment is likely to have a top-level module."""
    return distribution_of(module) in environment.names
