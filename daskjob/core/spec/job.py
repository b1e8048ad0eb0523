"""DaskJob: a runner, the cluster that it runs on, and the policy by which it is tried.

No I/O here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from daskjob.core import names
from daskjob.core.caching import cached_by_identity
from daskjob.core.errors import FieldError
from daskjob.core.fields import Reader
from daskjob.core.manifests import Manifest, fingerprint
from daskjob.core.rows import row, shapes_of
from daskjob.core.shapes import Boolean, Choice, Record, Rule, Text, Texts
from daskjob.core.spec.cluster import CLUSTER_SPEC, ClusterSpec, read_cluster_spec
from daskjob.core.spec.fields import read_fields
from daskjob.core.spec.group import DEFAULT_REPLICAS
from daskjob.core.spec.meta import Meta, name_of, read_kind, read_meta
from daskjob.core.spec.pod import (
    ANNOTATIONS,
    LABELS,
    METADATA,
    RESTART_POLICY,
    TEMPLATE,
    PodTemplate,
    RestartPolicy,
    read_template,
)
from daskjob.core.spec.policy import POLICY_FIELDS, POLICY_RULES, Policy, read_policy

#: All files together, in bytes: a ConfigMap holds 1 MiB with its keys and metadata.
FILES_LIMIT_BYTES = 900 * 1024
#: The API server wants an end to what its rules look at, here and in other lists.
MOST_FILES = 1000
#: More than any token or controller's name has been seen to take.
LONGEST_TOKEN = 253
_FILE_NAME = re.compile(r"[-._a-zA-Z0-9]{1,253}")

PLAIN_NAMES = Rule(
    f"self.all(name, name.matches('^{_FILE_NAME.pattern}$') && !(name in ['.', '..']))",
    "write plain file names: letters, digits, - _ .",
)
#: Characters are counted, not bytes, which cost the API server too much; the first pass counts
#: those.
SMALL_ENOUGH = Rule(
    f"self.map(name, name.size() + self[name].size()).sum() <= {FILES_LIMIT_BYTES}",
    f"write at most {FILES_LIMIT_BYTES} bytes in all: put larger ones into the image or a volume",
)
FILES = Texts(
    "files",
    f"Files by name, mounted read-only at {names.FILES_PATH} in runner, scheduler and workers.",
    at_most=MOST_FILES,
    rules=(PLAIN_NAMES, SMALL_ENOUGH),
)
JOB_RESTART_POLICY = Choice(
    "restartPolicy",
    "Whether a failed job is tried again, where the PodSpec does not say; absent: OnFailure.",
    RestartPolicy,
)
JOB = Record(
    "job",
    "The runner: the pod whose end is the job's.",
    (*TEMPLATE, FILES, JOB_RESTART_POLICY),
    required="write the runner's pod: job.spec.containers",
)
CLUSTER = Record(
    "cluster",
    "The cluster of the job's own, made for it and deleted after it.",
    (
        CLUSTER_SPEC,
        METADATA,
        # Go's types carry a whole DaskCluster here.
        Record("status", "Left alone.", open=True),
    ),
)
CLUSTER_REF_NAME = name_of(names.Kind.CLUSTER, "name", "The DaskCluster's name.")
CLUSTER_REF = Record(
    "clusterRef",
    "The DaskCluster of the namespace to run on, which is never deleted, instead of a cluster.",
    (CLUSTER_REF_NAME,),
)
#: Judged only where both the old and the new object say something: an Update through older types
#: drops the field, and absent means what it was.
NEVER_CHANGES = Rule("self == oldSelf", "it never changes: make another DaskJob")

EXACTLY_ONE = Rule(
    "has(self.cluster) != has(self.clusterRef)",
    "write exactly one of cluster and clusterRef",
    ".cluster",
)
_WORKER = "self.cluster.spec.worker"
_GROUPS = "self.cluster.spec.workerGroups"
ENOUGH_WORKERS = Rule(
    "!has(self.minAvailableWorkers) || !has(self.cluster)"
    f" || has({_WORKER}.autoscaling)"
    f" || (has({_GROUPS}) && {_GROUPS}.exists(group, has(group.autoscaling)))"
    " || self.minAvailableWorkers <="
    f" (has({_WORKER}.replicas) ? {_WORKER}.replicas : {DEFAULT_REPLICAS})"
    f" + (has({_GROUPS}) ? {_GROUPS}.map(group,"
    f" has(group.replicas) ? group.replicas : {DEFAULT_REPLICAS}).sum() : 0)",
    "write at most as many as the cluster has workers",
    ".minAvailableWorkers",
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
    #: The spec as it stands, for the fields that a running job still follows.
    raw: Mapping[str, object] = field(default_factory=dict)
    #: ``None``: not said, which neither suspends nor resumes.
    suspend: bool | None = row(
        Boolean(
            "suspend",
            "True: the job holds no pods; only an explicit false resumes it, with an attempt that "
            "is not counted.",
        )
    )
    cancel: bool = row(
        Boolean("cancel", "True: the job ends now as Failed, with reason Cancelled, for good."),
        False,
    )
    submission_id: str = row(
        Text(
            "submissionID",
            "The caller's token: submitting it again finds this job.",
            longest=LONGEST_TOKEN,
            says=f"write at most {LONGEST_TOKEN} characters",
            rules=(NEVER_CHANGES,),
        ),
        "",
    )
    managed_by: str = row(
        Text(
            "managedBy",
            f"The controller that runs the job; absent: {names.MANAGED_BY}. Another's is left "
            "alone.",
            longest=LONGEST_TOKEN,
            says=f"write at most {LONGEST_TOKEN} characters",
            rules=(NEVER_CHANGES,),
        ),
        names.MANAGED_BY,
    )

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
        return _template_hash(self)


SPEC = Record(
    "spec",
    "A runner, the cluster that it runs on, and the policy by which it is tried.",
    (
        JOB,
        CLUSTER,
        CLUSTER_REF,
        *POLICY_FIELDS,
        *shapes_of(DaskJob),
    ),
    required="write spec.job and spec.cluster",
    rules=(EXACTLY_ONE, ENOUGH_WORKERS, *POLICY_RULES),
)


@cached_by_identity
def _template_hash(job: DaskJob) -> str:
    cluster = job.cluster.raw if job.cluster else {}
    parts = (job.runner.spec, dict(job.files), _without_replicas(cluster), job.cluster_ref)
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
    spec = SPEC.read(root)
    job = JOB.read(spec)
    runner = read_template(job)
    restart_policy = _restart_policy(job, runner)
    cluster, cluster_ref = _read_where(spec)
    policy = read_policy(spec, restart_policy=restart_policy, cluster_ref=bool(cluster_ref))
    _check_minimum_workers(spec, policy, cluster)
    return DaskJob(
        meta=meta,
        runner=runner,
        policy=policy,
        files=_read_files(job),
        cluster=cluster,
        cluster_ref=cluster_ref,
        raw=dict(spec.fields),
        **read_fields(DaskJob, spec),
    )


def _restart_policy(job: Reader, runner: PodTemplate) -> RestartPolicy:
    """Return the runner's restart policy; the documented default is OnFailure.

    Upstream's CRD defaults it beside the PodSpec, so it is read there too.
    """
    beside = JOB_RESTART_POLICY.read(job)
    given = runner.spec.get(RESTART_POLICY.name)
    if given in list(RestartPolicy):
        return RestartPolicy(given)
    return beside or RestartPolicy.ON_FAILURE


def _read_where(spec: Reader) -> tuple[ClusterSpec | None, str]:
    """Return the job's own cluster, or the name of the one that it runs on: exactly one."""
    if spec.has(CLUSTER.name) == spec.has(CLUSTER_REF.name) and spec.given:
        found = "both" if spec.has(CLUSTER.name) else None
        spec.mistake(CLUSTER.name, found, EXACTLY_ONE.says)
    if spec.has(CLUSTER_REF.name):
        return None, CLUSTER_REF_NAME.read(CLUSTER_REF.read(spec))
    if not spec.has(CLUSTER.name):
        return None, ""
    cluster = CLUSTER.read(spec)
    wanted, meta = read_cluster_spec(CLUSTER_SPEC.read(cluster)), METADATA.read(cluster)
    return replace(wanted, labels=LABELS.read(meta), annotations=ANNOTATIONS.read(meta)), ""


def _read_files(job: Reader) -> dict[str, str]:
    files = FILES.read(job)
    for name in files:
        if not _FILE_NAME.fullmatch(name) or name in (".", ".."):
            job.mistake(f"{FILES.name}[{name}]", name, PLAIN_NAMES.says)
    size = sum(len(name) + len(text.encode()) for name, text in files.items())
    if size > FILES_LIMIT_BYTES:
        job.mistake(FILES.name, f"{size} bytes", SMALL_ENOUGH.says)
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
