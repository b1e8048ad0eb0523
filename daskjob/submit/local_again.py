"""A new run on this machine that is like an earlier one: the same spec, folder and variables."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daskjob.backends.local.known_runs import find_folder, folders_of
from daskjob.backends.local.run_folder import RunFolder
from daskjob.core.errors import NotFound
from daskjob.core.manifests import Manifest, mapping, metadata
from daskjob.submit.again import named_again, retry_token
from daskjob.submit.changes import check_ended
from daskjob.submit.local_background import PreparedRun, background_run
from daskjob.submit.local_changes import reads_script_from_stdin
from daskjob.submit.local_records import RunRecord, RunRecords, fingerprint
from daskjob.submit.records.completeness import Incomplete
from daskjob.submit.records.secret_values import missing_values
from daskjob.submit.submission import submission
from daskjob.submit.submission_names import submission_id


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """A job of this machine that a new one is made from."""

    record: RunRecord
    #: The job with its spec as it is, or as it was recorded.
    manifest: Manifest
    #: Whether its folder is gone.
    from_record: bool = False

    @property
    def name(self) -> str:
        """The job's name."""
        return self.record.name


@dataclass(frozen=True, slots=True)
class Again:
    """A job that runs again."""

    folder: RunFolder
    #: Whether it was started by an earlier request.
    existed: bool
    notes: tuple[str, ...] = ()


def earlier_run(root: Path, name: str = "", *, uid: str = "") -> EarlierRun:
    """Return a job of this machine, also one whose folder is gone.

    Raises
    ------
    NotFound
        There is neither its folder nor its record.
    Incomplete
        It was run by a daskjob that kept no records.
    """
    records = RunRecords(root)
    try:
        folder = _folder(root, name, uid)
    except NotFound:
        record = records.of(name, uid) if name else None
        if record is None:
            raise
        return EarlierRun(record, record.manifest, from_record=True)
    job = folder.job()
    record = records.of(folder.name, str(metadata(job).get("uid") or ""))
    if record is None:
        raise Incomplete(
            f"there is no record of how {folder.name} was run, such as its folder; run its script "
            "or its manifest again"
        )
    return EarlierRun(record, job)


def _folder(root: Path, name: str, uid: str) -> RunFolder:
    if not uid:
        # The record of exactly this name comes before other jobs of a script of this name.
        is_recorded = bool(name) and RunRecords(root).of(name) is not None
        return find_folder(root, name, exact=is_recorded)
    for folder in folders_of(root, name):
        if folder.path.name.endswith(f".{uid[:8]}"):
            return folder
    raise NotFound(f"the job {name} was deleted from this machine")


def run_again(root: Path, earlier: EarlierRun, *, token: str | None = None) -> Again:
    """Run an ended job again in the background; without a token, once until that one ends.

    Raises
    ------
    Conflict
        The job has not ended.
    Incomplete
        Something that it needs is gone, or was not recorded.
    """
    if not earlier.from_record:
        check_ended(earlier.manifest)
    made, found = _next(root, earlier, token)
    if found is not None:
        return Again(found, existed=True)
    notes = changes_since(earlier.record)
    variables = complete_variables(earlier, made, os.environ)
    wanted = submission(made, namespace=str(metadata(made).get("namespace") or "default"))
    prepared = PreparedRun.of(wanted.manifest, earlier.record, variables)
    folder, existed = background_run(root, wanted, prepared=prepared)
    return Again(folder, existed, notes)


def _next(root: Path, earlier: EarlierRun, token: str | None) -> tuple[Manifest, RunFolder | None]:
    """Return the new job, and the one of its token that is there."""
    job = as_labelled(earlier.manifest)
    for number in itertools.count(1):
        used = token or retry_token(job, number)
        made = named_again(job, used)
        found = _of_token(root, str(metadata(made)["name"]), submission_id(used))
        if found is None or token or found.is_live():
            return made, found
    raise AssertionError("there is always a next number")


def as_labelled(job: Manifest) -> Manifest:
    """Return a job named after its script: a new name is made of that."""
    meta = metadata(job)
    label = str(meta.get("generateName") or "").rstrip("-")
    return {**job, "metadata": {**meta, "name": label}} if label else job


def _of_token(root: Path, name: str, token: str) -> RunFolder | None:
    for folder in folders_of(root, name):
        if mapping(folder.job().get("spec")).get("submissionID") == token:
            return folder
    return None


def changes_since(record: RunRecord, python: str = "") -> tuple[str, ...]:
    """Return notes on what is not as it was when a job ran.

    Raises
    ------
    Incomplete
        It cannot run without what is gone.
    """
    name = record.name
    if reads_script_from_stdin(record.manifest):
        raise Incomplete(
            f"{name} read its script from standard input, which is not kept; run it again: "
            "daskjob run - < SCRIPT"
        )
    if not Path(record.folder).is_dir():
        raise Incomplete(f"{name} ran in the folder {record.folder}, which is gone")
    if record.script and not Path(record.script).is_file():
        raise Incomplete(
            f"{name} ran the script {record.script}, which is gone; put it there again, or run "
            "another one: daskjob run SCRIPT"
        )
    used = (record.python, record.dask_python) if not python else ()
    for path in filter(None, used):
        if not os.access(path, os.X_OK):
            raise Incomplete(
                f"{name} ran with {path}, which is gone; name another Python: "
                f"daskjob run --like {name} --python PYTHON"
            )
    if record.file and not Path(record.file).is_file():
        raise Incomplete(
            f"{name} used the ConfigMaps and Secrets in {record.file}, which is gone; they are not "
            "recorded"
        )
    if record.script_hash and fingerprint(record.script) != record.script_hash:
        return (f"{record.script} has changed since {name} ran; it runs as it is now",)
    return ()


def complete_variables(
    earlier: EarlierRun,
    new: Manifest,
    environment: Mapping[str, str],
    given: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the values of the variables of a new job.

    Those that were passed on from the environment, and are not kept, are that of today.

    Raises
    ------
    Incomplete
        Values are not recorded, since they are secret.
    """
    record, found = earlier.record, dict(given or {})
    flags = []
    for name, value in record.variables.items():
        if name in found:
            continue
        if value is None and name in record.passed_on:
            value = environment.get(name)
        if value is None:
            flags.append(f"-e {name}=VALUE")
        else:
            found[name] = value
    for path, name in missing_values(new) if earlier.from_record else ():
        is_variable = ".env[" in path
        if not (is_variable and name in found):
            flags.append(f"-e {name}=VALUE" if is_variable else f"--set {path}=VALUE")
    if flags:
        wanted = ", ".join(dict.fromkeys(f.split()[-1].removesuffix("=VALUE") for f in flags))
        raise Incomplete(
            f"records of jobs have no secret values, and {record.name} needs {wanted}; give them "
            f"again: daskjob run --like {record.name} {' '.join(dict.fromkeys(flags))}"
        )
    return found
