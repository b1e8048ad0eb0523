"""The job that a new one is like: as it is now, or from its record when it is gone."""

from __future__ import annotations

from dataclasses import dataclass

from daskjob.core.errors import NotFound
from daskjob.core.manifests import Manifest
from daskjob.submit.jobs import JobRef, Jobs
from daskjob.submit.records.my_jobs import HERE, Gone, MyJobs
from daskjob.submit.records.record import ClusterAddress, Record
from daskjob.submit.records.store import Records


@dataclass(frozen=True, slots=True)
class Original:
    """A job that a new one is made from."""

    ref: JobRef
    manifest: Manifest
    #: Its place, for people.
    where: str
    #: How to reach its cluster; ``None``: it is one of this machine.
    cluster: ClusterAddress | None
    #: Set if the job is gone, and its record is all that is known.
    from_record: bool = False
    #: The file with the variables of its Secret, if that is recorded.
    env_file: str = ""


def my_original(jobs: MyJobs, name: str = "") -> Original:
    """Return the job that was started here.

    Raises
    ------
    Ambiguous
        Jobs at several places have the name.
    NotFound
        No such job was started here.
    """
    found = jobs.chosen(name)
    if not isinstance(found, Record):
        return Original(found.ref, found.manifest, HERE, None)
    try:
        return _of(found, jobs.current(found).manifest)
    except Gone:
        return recorded_original(found)


def original_at(
    jobs: Jobs, name: str, *, context: str = "", namespace: str = "", records: Records | None = None
) -> Original:
    """Return a job of a cluster, or of the records of those submitted to it.

    Raises
    ------
    NotFound
        There is neither.
    """
    address = ClusterAddress(context)
    try:
        found = jobs.find(name, exact=bool(name))
    except NotFound:
        # The record of exactly this name comes before other jobs of a script of this name.
        for record in recorded_at(records or Records(), name, context, namespace):
            return recorded_original(record)
        found = jobs.find(name)
    where = f"{context}/{found.ref.namespace}" if context else f"namespace {found.ref.namespace}"
    return Original(found.ref, found.manifest, where, address)


def recorded_at(
    records: Records, name: str, context: str = "", namespace: str = ""
) -> list[Record]:
    """Return the records of a name at a place, newest first; empty: at any."""
    return [
        record
        for record in records.of(name)
        if context in ("", record.cluster.context) and namespace in ("", record.namespace)
    ]


def recorded_original(record: Record) -> Original:
    """Return a job that is gone, as its record has it."""
    return _of(record, record.job().manifest, from_record=True)


def _of(record: Record, manifest: Manifest, *, from_record: bool = False) -> Original:
    return Original(
        record.ref, manifest, record.where, record.cluster, from_record, record.env_file
    )
