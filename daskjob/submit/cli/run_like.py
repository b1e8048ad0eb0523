"""``daskjob run --like JOB``: a new run here that is like an earlier job, with changes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from daskjob.core.command_line import option, without_options
from daskjob.core.manifests import Manifest, mapping, mappings, metadata
from daskjob.core.names import ANNOTATION_OPEN_TO_SCRIPT, ANNOTATION_SCRIPT, generated_prefix
from daskjob.submit.again import own_code, same_again, use_own_files
from daskjob.submit.cli.originals import earlier_of, place_of
from daskjob.submit.cli.place import cluster_jobs
from daskjob.submit.cli.run_manifest import with_options
from daskjob.submit.cli.run_options import RunOptions, Wanted, with_fields
from daskjob.submit.local_again import EarlierRun, as_labelled, changes_since, complete_variables
from daskjob.submit.local_background import PreparedRun
from daskjob.submit.local_records import Origin
from daskjob.submit.python_environment import (
    Needs,
    Python,
    Pythons,
    chosen_python,
    chosen_pythons,
    environment_of,
)
from daskjob.submit.records.completeness import check_complete, check_has_code
from daskjob.submit.records.originals import Original
from daskjob.submit.submission import differences
from daskjob.submit.submission_names import label_of, new_token, submission_name

#: How many changes of the spec a message shows.
_SHOWN_CHANGES = 8


def wanted_like(context: click.Context, name: str, options: RunOptions) -> Wanted:
    """Return a run like a job that was started here, on this machine or a cluster."""
    earlier = earlier_of(context, name)
    if isinstance(earlier, Original):
        return _like_cluster_job(context, earlier, options)
    return _like_run(earlier, options)


def wanted_prepared(path: Path) -> Wanted:
    """Return a run that ``daskjob retry`` has prepared."""
    prepared = PreparedRun.read(path)
    _go_to(prepared.folder)
    python, _ = chosen_python(prepared.python, os.environ)
    return Wanted(
        prepared.manifest,
        Pythons(prepared.python or sys.executable, prepared.dask_python or sys.executable),
        environment_of(python, os.environ),
        _config_of(prepared.file),
        variables=prepared.variables,
        origin=Origin(prepared.script, prepared.file),
    )


def _like_run(earlier: EarlierRun, options: RunOptions) -> Wanted:
    record, job = earlier.record, earlier.manifest
    changed = changes_since(record, options.python or "")
    base = _named(as_labelled(job), options)
    is_script = ANNOTATION_SCRIPT in mapping(metadata(job).get("annotations"))
    wanted = _of_script(base, options) if is_script else with_options(base, options)
    wanted = with_fields(wanted, options)
    variables = complete_variables(earlier, wanted, os.environ, dict(options.env))
    _go_to(record.folder)
    python, notes = chosen_python(options.python or record.python, os.environ)
    pythons = Pythons(record.python or sys.executable, record.dask_python or sys.executable)
    if options.python:
        pythons, more = _examined(python, record.script or record.name, options)
        notes += more
    where = "this machine, from its record" if earlier.from_record else "this machine"
    return Wanted(
        wanted,
        pythons,
        environment_of(python, os.environ),
        _config_of(record.file),
        (_note(record.name, where, base, wanted), *changed, *notes),
        variables,
        Origin(record.script, record.file),
    )


def _like_cluster_job(context: click.Context, original: Original, options: RunOptions) -> Wanted:
    """Return a run of the manifest of a cluster's job, as of its file: without its images."""
    # Its volumes refer to its files by its name.
    name = options.name or _generated_name(original.manifest)
    base = _named(original.manifest, replace(options, name=name))
    use_own_files(base, original.ref.name)
    code = _code_of(context, original)
    wanted = with_fields(with_options(base, options), options)
    if original.from_record:
        check_complete(wanted, old=original.ref.name, env_file=original.env_file)
    python, notes = chosen_python(options.python or "", os.environ)
    pythons, more = _examined(python, original.ref.name, options)
    return Wanted(
        wanted,
        pythons,
        environment_of(python, os.environ),
        code,
        notes=(_note(original.ref.name, original.where, base, wanted), *notes, *more),
        variables=dict(options.env),
    )


def _code_of(context: click.Context, original: Original) -> tuple[Manifest, ...]:
    """Return the ConfigMaps with the code that belongs to a job of a cluster, as they are there."""
    if not own_code(original.manifest):
        return ()
    if original.from_record:
        check_has_code(original.manifest)
    client = cluster_jobs(context, place_of(original, None))
    return tuple(client.code_for(original.manifest, original.manifest))


def _examined(python: Python, subject: str, options: RunOptions) -> tuple[Pythons, list[str]]:
    """Return the Pythons of a run with another Python, and notes; reject one without Dask."""
    needs = Needs(subject, workers=True, uses_dask=True, may_lack_dask=options.workers == 0)
    pythons, _, notes = chosen_pythons(python, needs, environ=os.environ)
    return pythons, notes


def _named(job: Manifest, options: RunOptions) -> Manifest:
    """Return a new job with the same spec, and a name of its own."""
    made = same_again(job)
    meta = {key: value for key, value in metadata(made).items() if key != "generateName"}
    if options.name:
        return {**made, "metadata": {"name": options.name, **meta}}
    prefix = generated_prefix(str(metadata(made)["generateName"]))
    return {**made, "metadata": {"generateName": prefix, **meta}}


def _generated_name(job: Manifest) -> str:
    return submission_name(label_of(str(metadata(job)["name"])), new_token())


def _of_script(job: Manifest, options: RunOptions) -> Manifest:
    """Return the job of a script with the options of the command line applied."""
    changed = with_options(job, replace(options, threads=None, memory=None))
    given = {"workers": options.workers, "threads": options.threads, "memory": options.memory}
    annotations = metadata(changed)["annotations"]
    opened = str(annotations.get(ANNOTATION_OPEN_TO_SCRIPT) or "").split(",")
    if ANNOTATION_OPEN_TO_SCRIPT in annotations:
        left = [part for part in opened if part and given.get(part) is None]
        annotations[ANNOTATION_OPEN_TO_SCRIPT] = ",".join(left)
    if options.retries:
        changed["spec"]["job"]["spec"]["restartPolicy"] = "OnFailure"
    args = {"--nthreads": options.threads, "--memory-limit": options.memory}
    for container in _workers(changed):
        for name, value in args.items():
            if value is not None and option(container["args"], name) != str(value):
                rest = without_options(container["args"], (name,))
                container["args"] = [*rest, name, str(value)]
    return changed


def _workers(job: Manifest) -> Iterator[Manifest]:
    cluster = mapping(mapping(mapping(job.get("spec")).get("cluster")).get("spec"))
    spec = mapping(mapping(cluster.get("worker")).get("spec"))
    for container in mappings(spec.get("containers"))[:1]:
        if isinstance(container.get("args"), list):
            yield container


def _config_of(file: str) -> tuple[Manifest, ...]:
    """Return the ConfigMaps and Secrets of a manifest's file, as they are now."""
    if not file:
        return ()
    from daskjob.submit.cli.documents import read_job

    return read_job(Path(file)).config


def _go_to(folder: str) -> None:
    os.chdir(folder)
    # As a shell sets it; programs may prefer it to the folder itself.
    os.environ["PWD"] = folder


def _note(name: str, where: str, before: Manifest, after: Manifest) -> str:
    changes = differences(before["spec"], after["spec"], _SHOWN_CHANGES)
    changed = "\n  ".join(["changed:", *changes]) if changes else "nothing else is changed"
    return f"like {name} ({where}); the new job has a name of its own; {changed}"
