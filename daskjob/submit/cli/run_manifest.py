"""``daskjob run job.yaml``: what it runs of a manifest with options."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import click

from daskjob.core.manifests import Manifest, metadata
from daskjob.submit.cli.run_options import RunOptions, Wanted, check_no_packages
from daskjob.submit.python_environment import (
    Needs,
    chosen_python,
    chosen_pythons,
    environment_of,
)


def manifest_run(path: Path, args: tuple[str, ...], options: RunOptions) -> Wanted:
    """Return the run of the manifest in a file."""
    from daskjob.submit.cli.documents import read_job
    from daskjob.submit.local_records import Origin

    if args:
        raise click.UsageError(f"a manifest takes no arguments: {' '.join(args)}")
    check_no_packages(options, "a manifest has its packages in spec.environment")
    found = read_job(path)
    manifest = with_options(found.job, options)
    python, notes = chosen_python(options.python or "", os.environ)
    needs = Needs(str(path), workers=True, uses_dask=True, may_lack_dask=options.workers == 0)
    pythons, _, more = chosen_pythons(python, needs, environ=os.environ)
    environment = environment_of(python, os.environ)
    origin = Origin(file=str(path.absolute()) if found.config else "")
    notes = [*found.notes, *notes, *more]
    return Wanted(manifest, pythons, environment, found.config, tuple(notes), origin=origin)


def with_options(manifest: Manifest, options: RunOptions) -> Manifest:
    """Return a manifest with the options of the command line applied."""
    import copy

    from daskjob.submit.script import with_variables

    of_dask = {"--nthreads": options.threads, "--memory-limit": options.memory}
    ours = {"--nthreads": "--threads", "--memory-limit": "--memory"}
    for option, value in of_dask.items():
        if value is not None:
            raise click.UsageError(
                f"{ours[option]} is for scripts; a manifest has {option} in the args of its workers"
            )
    changed: Manifest = copy.deepcopy(manifest)
    if options.name:
        changed["metadata"] = {**metadata(changed), "name": options.name}
    spec = changed.get("spec")
    if not isinstance(spec, dict):
        return changed
    if options.retries is not None:
        spec["backoffLimit"] = options.retries
    if options.timeout is not None:
        spec["activeDeadlineSeconds"] = options.timeout
    if options.workers is not None:
        with contextlib.suppress(KeyError, TypeError):
            spec["cluster"]["spec"]["worker"]["replicas"] = options.workers
    for container in _containers(spec) if options.env else ():
        own = container.get("env") or []
        if isinstance(own, list) and all(isinstance(variable, dict) for variable in own):
            container["env"] = with_variables(own, [{"name": name} for name in dict(options.env)])
    return changed


def _containers(spec: Manifest) -> list[Manifest]:
    """Return the containers of the runner and the workers; skip anything malformed."""
    found: list[Manifest] = []
    for path in (("job", "spec"), ("cluster", "spec", "worker", "spec")):
        place: object = spec
        for key in (*path, "containers"):
            place = place.get(key) if isinstance(place, dict) else None
        if isinstance(place, list):
            found += [container for container in place if isinstance(container, dict)]
    return found
