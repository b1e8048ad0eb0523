"""DaskJob: a runner, the cluster that it runs on, and the policy by which it is tried.

No I/O here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from daskjob.core import names
from daskjob.core.errors import FieldError, Invalid
from daskjob.core.fields import Reader
from daskjob.core.manifests import Manifest, fingerprint
from daskjob.core.spec.cluster import ClusterSpec, read_cluster_spec
from daskjob.core.spec.meta import Meta, read_kind, read_meta
from daskjob.core.spec.pod import PodTemplate, RestartPolicy, read_template
from daskjob.core.spec.policy import POLICY_FIELDS, Policy, read_policy

#: All files together, in bytes: a ConfigMap holds 1 MiB with its keys and metadata.
FILES_LIMIT_BYTES = 900 * 1024
_FILE_NAME = re.compile(r"[-._a-zA-Z0-9]{1,253}")

_SPEC_FIELDS = (
    "job",
    "cluster",
    "clusterRef",
    *POLICY_FIELDS,
    "suspend",
    "cancel",
    "submissionID",
    "managedBy",
)


@dataclass(frozen=True, slots=True)
class DaskJob:
    """An object of kind DaskJob: what its spec asks for now."""

    meta: Meta
    runner: PodTemplate
    policy: Policy
    files: Mapping[str, str] = field(default_factory=dict)
    #: The cluster of the job's own; ``None`` with ``cluster_ref``.
    cluster: ClusterSpec | None = None
    #: The DaskCluster of the namespace to run on; empty with ``cluster``.
    cluster_ref: str = ""
    #: ``None``: not said, which neither suspends nor resumes.
    suspend: bool | None = None
    cancel: bool = False
    submission_id: str = ""
    managed_by: str = names.MANAGED_BY
    #: The spec as it stands, for the fields that a running job still follows.
    raw: Mapping[str, object] = field(default_factory=dict)

    @property
    def cluster_name(self) -> str:
        """The name of the DaskCluster that the job runs on."""
        return self.cluster_ref or self.meta.name

    @property
    def main_container(self) -> str:
        """The name of the runner's container that decides the outcome."""
        return self.runner.main_container("job-runner", "job")

    @property
    def template_hash(self) -> str:
        """A fingerprint of what an attempt is made of: a change after the start is ignored."""
        cluster = self.cluster.raw if self.cluster else {}
        parts = (self.runner.spec, dict(self.files), _without_replicas(cluster), self.cluster_ref)
        return fingerprint(parts)


def _without_replicas(cluster: Manifest) -> Manifest:
    """Return a cluster's spec without its counts, which may change while the job runs."""
    worker = {k: v for k, v in (cluster.get("worker") or {}).items() if k != "replicas"}
    groups = [
        {k: v for k, v in group.items() if k != "replicas"}
        for group in cluster.get("workerGroups") or ()
        if isinstance(group, dict)
    ]
    return {**cluster, "worker": worker, "workerGroups": groups}


def read_job(manifest: Manifest, errors: list[FieldError], *, strict: bool = False) -> DaskJob:
    """Return a DaskJob, with defaults where the manifest is wrong; notes every mistake."""
    root = Reader(manifest, "", errors, strict=strict)
    read_kind(root, names.Kind.JOB)
    meta = read_meta(root, names.Kind.JOB)
    spec = root.mapping("spec")
    if not root.has("spec"):
        root.mistake("spec", None, "write spec.job and spec.cluster")
    spec.only(_SPEC_FIELDS)
    job = spec.mapping("job")
    if not spec.has("job"):
        spec.mistake("job", None, "write the runner's pod: job.spec.containers")
    job.only(("spec", "metadata", "files", "restartPolicy"))
    runner = read_template(job, required=spec.has("job"))
    restart_policy = _restart_policy(job, runner)
    cluster, cluster_ref = _read_where(spec, meta.name)
    policy = read_policy(spec, restart_policy=restart_policy, cluster_ref=bool(cluster_ref))
    _check_minimum_workers(spec, policy, cluster)
    return DaskJob(
        meta=meta,
        runner=runner,
        policy=policy,
        files=_read_files(job),
        cluster=cluster,
        cluster_ref=cluster_ref,
        suspend=spec.boolean("suspend"),
        cancel=bool(spec.boolean("cancel")),
        submission_id=spec.text("submissionID"),
        managed_by=spec.text("managedBy") or names.MANAGED_BY,
        raw=dict(spec.fields),
    )


def parse_job(manifest: Manifest) -> DaskJob:
    """Return the DaskJob that a person's manifest asks for.

    Raises
    ------
    Invalid
        With every mistake of the manifest: its path, the value, and what is allowed.
    """
    errors: list[FieldError] = []
    job = read_job(manifest, errors, strict=True)
    if errors:
        raise Invalid(f"DaskJob {job.meta.name or '(unnamed)'}", errors)
    return job


def _restart_policy(job: Reader, runner: PodTemplate) -> RestartPolicy:
    """Return the runner's restart policy; the documented default is OnFailure.

    Upstream's CRD defaults it beside the PodSpec, so it is read there too.
    """
    beside = job.choice("restartPolicy", RestartPolicy)
    given = runner.spec.get("restartPolicy")
    if given in list(RestartPolicy):
        return RestartPolicy(given)
    return beside or RestartPolicy.ON_FAILURE


def _read_where(spec: Reader, job_name: str) -> tuple[ClusterSpec | None, str]:
    """Return the job's own cluster, or the name of the one that it runs on: exactly one."""
    if spec.has("cluster") == spec.has("clusterRef"):
        found = "both" if spec.has("cluster") else None
        spec.mistake("cluster", found, "write exactly one of cluster and clusterRef")
    if spec.has("clusterRef"):
        reference = spec.mapping("clusterRef")
        reference.only(("name",))
        name = reference.text("name")
        if not name:
            reference.mistake("name", None, "write the name of a DaskCluster of the namespace")
        return None, name
    if not spec.has("cluster"):
        return None, ""
    cluster = spec.mapping("cluster")
    cluster.only(("spec", "metadata", "status"))
    if not cluster.has("spec"):
        cluster.mistake("spec", None, "write the cluster: scheduler and worker")
        return ClusterSpec(), ""
    wanted = read_cluster_spec(cluster.mapping("spec"), job_name)
    meta = cluster.mapping("metadata")
    labels, annotations = meta.strings("labels"), meta.strings("annotations")
    return replace(wanted, labels=labels, annotations=annotations), ""


def _read_files(job: Reader) -> dict[str, str]:
    files = job.strings("files")
    for name in files:
        if not _FILE_NAME.fullmatch(name) or name in (".", ".."):
            job.mistake(f"files[{name}]", name, "write a plain file name: letters, digits, - _ .")
    size = sum(len(name) + len(text.encode()) for name, text in files.items())
    if size > FILES_LIMIT_BYTES:
        allowed = f"{FILES_LIMIT_BYTES} bytes in all: put larger ones into the image or a volume"
        job.mistake("files", f"{size} bytes", allowed)
    return files


def _check_minimum_workers(spec: Reader, policy: Policy, cluster: ClusterSpec | None) -> None:
    if cluster is None or policy.min_available_workers is None:
        return
    if any(group.autoscaling for group in cluster.all_groups):
        return
    if policy.min_available_workers > cluster.desired_workers:
        spec.mistake(
            "minAvailableWorkers",
            policy.min_available_workers,
            f"at most the {cluster.desired_workers} workers that the cluster has",
        )
