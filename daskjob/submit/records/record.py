"""A record of one submission: where it is, what it was, and how it was last seen to end. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeGuard

from daskjob.core.manifests import Manifest, format_time, mapping, metadata, parse_time
from daskjob.core.names import Kind
from daskjob.core.status import JobStatus, job_status_from
from daskjob.submit.jobs import Job, JobRef
from daskjob.submit.records.secret_values import without_secret_values

#: Of the files; a reader skips those of other versions.
VERSION = 1
IN_CLUSTER = "in-cluster"
#: In the place of a job's phase.
DELETED = "Deleted"
GONE: Manifest = {"phase": DELETED}


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """How this user reaches a cluster."""

    #: The context of the kubeconfig; empty in a pod, which has a service account.
    context: str = ""
    #: The kubeconfig's files, as ``KUBECONFIG`` names them.
    kubeconfig: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """A job that was submitted from here."""

    cluster: ClusterAddress
    namespace: str
    name: str
    uid: str
    token: str
    time: datetime
    #: As it was sent, without secret values.
    manifest: Manifest
    #: The file of ``--env-file``; its variables are in a Secret, which ends with the job.
    env_file: str = ""
    #: The status with which the job was seen to have ended; ``GONE``: it was deleted before.
    status: Manifest | None = None

    @property
    def ref(self) -> JobRef:
        """The reference to the job."""
        return JobRef(self.name, self.namespace, self.uid)

    @property
    def where(self) -> str:
        """The place, for people: the context and the namespace."""
        return f"{self.cluster.context or IN_CLUSTER}/{self.namespace}"

    @property
    def options(self) -> str:
        """The options with which every command finds the job."""
        context = self.cluster.context
        return f"-n {self.namespace}{f' --context {context}' if context else ''}"

    @property
    def last_status(self) -> JobStatus:
        """The status with which the job was seen to have ended; empty if it was not."""
        return job_status_from(None if self.is_deleted else self.status)

    def job(self) -> Job:
        """Return the job as far as the record knows it."""
        status = {"status": self.status} if self.status else {}
        return Job(self.ref, {**self.manifest, **status})

    @property
    def is_deleted(self) -> bool:
        """Whether the job was seen to be gone before its end was."""
        return mapping(self.status).get("phase") == DELETED

    def with_status(self, status: Manifest | None) -> Record:
        """Return the record with the status of a job that has ended, or is gone."""
        return replace(self, status=None if status is None else without_secret_values(status))


def record_of(
    sent: Manifest,
    ref: JobRef,
    cluster: ClusterAddress,
    *,
    now: datetime | None = None,
    env_file: str = "",
) -> Record:
    """Return the record of a job that was sent just now."""
    now = now or datetime.now(UTC)
    kept = without_secret_values(sent)
    kept["metadata"] = {
        **metadata(kept),
        "name": ref.name,
        "namespace": ref.namespace,
        "uid": ref.uid,
        "creationTimestamp": format_time(now),
    }
    token = str(mapping(sent.get("spec")).get("submissionID") or "")
    return Record(cluster, ref.namespace, ref.name, ref.uid, token, now, kept, env_file)


def as_json(record: Record) -> dict[str, Any]:
    """Return the record as its file has it."""
    return {
        "version": VERSION,
        "context": record.cluster.context,
        "kubeconfig": record.cluster.kubeconfig,
        "namespace": record.namespace,
        "name": record.name,
        "uid": record.uid,
        "token": record.token,
        "time": record.time.isoformat(),
        "envFile": record.env_file,
        "manifest": record.manifest,
        "status": record.status,
    }


def from_json(found: object) -> Record | None:
    """Return the record of a file; ``None``: it is none, or another version's."""
    if not isinstance(found, dict) or found.get("version") != VERSION:
        return None
    time = parse_time(found.get("time"))
    manifest = found.get("manifest")
    texts = {key: str(found.get(key) or "") for key in _TEXTS}
    if time is None or not (texts["name"] and texts["namespace"]) or not _is_job(manifest):
        return None
    status = found.get("status")
    return Record(
        ClusterAddress(texts["context"], texts["kubeconfig"]),
        texts["namespace"],
        texts["name"],
        texts["uid"],
        texts["token"],
        time,
        manifest,
        texts["envFile"],
        status if isinstance(status, dict) else None,
    )


def is_of_another_version(found: object) -> bool:
    """Return whether a file is a record that another version of daskjob has written."""
    return isinstance(found, dict) and found.get("version", VERSION) != VERSION


def _is_job(manifest: object) -> TypeGuard[Manifest]:
    """Return whether a job can be made from a manifest."""
    return (
        isinstance(manifest, dict)
        and isinstance(manifest.get("apiVersion"), str)
        and manifest.get("kind") == Kind.JOB
        and isinstance(manifest.get("metadata"), dict)
        and isinstance(manifest.get("spec"), dict)
    )


_TEXTS = ("context", "kubeconfig", "namespace", "name", "uid", "token", "envFile")
