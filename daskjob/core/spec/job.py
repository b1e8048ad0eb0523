"""DaskJob: a runner, the cluster that it runs on, and the policy of its attempts."""

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
from daskjob.core.spec.code import CODE, Code, read_code
from daskjob.core.spec.environment import ENVIRONMENT, Environment, read_environment
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

#: Characters of all files and their names: what a CEL rule can count.
FILES_LIMIT = 900 * 1024
#: Bytes of all files: what a ConfigMap holds.
FILES_LIMIT_BYTES = 1024 * 1024
#: The API server requires a limit on every list that a CEL rule iterates over.
MOST_FILES = 1000
#: Longer than any known token or controller name.
LONGEST_TOKEN = 253
_FILE_NAME = re.compile(r"[-._a-zA-Z0-9]{1,253}")

PLAIN_NAMES = Rule(
    f"self.all(name, name.matches('^{_FILE_NAME.pattern}$') && !(name in ['.', '..']))",
    "write plain file names: letters, digits, - _ .",
)
#: Counts characters: counting bytes exceeds the API server's cost limit by far. So text with many
#: characters of several bytes is admitted; it runs as far as a ConfigMap holds it.
SMALL_ENOUGH = Rule(
    f"self.map(name, name.size() + self[name].size()).sum() <= {FILES_LIMIT}",
    f"write at most {FILES_LIMIT} characters in total: put large files into the image or a volume",
)
FILES = Texts(
    "files",
    f"Files by name, mounted read-only at {names.FILES_PATH} in the runner, scheduler and workers.",
    at_most=MOST_FILES,
    rules=(PLAIN_NAMES, SMALL_ENOUGH),
)
JOB_RESTART_POLICY = Choice(
    "restartPolicy",
    "Restart policy if the PodSpec has none: whether to retry the job. Defaults to OnFailure.",
    RestartPolicy,
)
JOB = Record(
    "job",
    "The runner: the pod whose result is the result of the job.",
    (*TEMPLATE, FILES, JOB_RESTART_POLICY),
    required="write the runner's pod: job.spec.containers",
)
CLUSTER = Record(
    "cluster",
    "The cluster to create for the job; deletionPolicy decides what remains of it afterwards.",
    (
        CLUSTER_SPEC,
        METADATA,
        # Go's types embed a whole DaskCluster here.
        Record("status", "Ignored.", open=True),
    ),
)
CLUSTER_REF_NAME = name_of(names.Kind.CLUSTER, "name", "Name of the DaskCluster.")
CLUSTER_REF = Record(
    "clusterRef",
    "An existing DaskCluster of the namespace to run on, instead of cluster. It is never deleted.",
    (CLUSTER_REF_NAME,),
)
#: Checked only where both the old and the new object set the field: an Update through older types
#: drops it, and an absent field means the old value.
IMMUTABLE = Rule("self == oldSelf", "field is immutable: create another DaskJob")


def _managed_by(version: str) -> str:
    """Return a CEL expression: the controller that runs a job, by default daskjob."""
    given = f"has({version}.managedBy) && {version}.managedBy != ''"
    return f"({given} ? {version}.managedBy : '{names.MANAGED_BY}')"


#: Also in its absence: a running job that gets another controller would never end.
SAME_CONTROLLER = Rule(
    f"{_managed_by('self')} == {_managed_by('oldSelf')}", IMMUTABLE.message, ".managedBy"
)
#: A job that changes its cluster leaves the old one, and its attempt, behind.
SAME_CLUSTER = Rule(
    "(has(self.clusterRef) ? self.clusterRef.name : '') =="
    " (has(oldSelf.clusterRef) ? oldSelf.clusterRef.name : '')",
    IMMUTABLE.message,
    ".clusterRef",
)

EXACTLY_ONE = Rule(
    "has(self.cluster) != has(self.clusterRef)",
    "write exactly one of cluster and clusterRef",
    ".cluster",
)
_NOT_SHARED = (
    "leave it out: the pods of a cluster of clusterRef exist already; write cluster instead"
)
#: A runner with other packages than its scheduler and its workers would fail on their answers.
OWN_PODS = tuple(
    Rule(f"!has(self.clusterRef) || !has(self.{name})", _NOT_SHARED, f".{name}")
    for name in (ENVIRONMENT.name, CODE.name)
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
    "write at most the number of workers in the cluster",
    ".minAvailableWorkers",
)


@dataclass(frozen=True, slots=True)
class DaskJob:
    """An object of kind DaskJob, with its current spec."""

    meta: Meta
    runner: PodTemplate
    policy: Policy
    files: Mapping[str, str] = field(default_factory=dict)
    #: The cluster to create for the job; ``None`` with ``cluster_ref``.
    cluster: ClusterSpec | None = None
    #: The name of an existing DaskCluster to run on; empty with ``cluster``.
    cluster_ref: str = ""
    #: Packages for every pod.
    environment: Environment = field(default_factory=Environment)
    #: Code for every pod; ``None``: none but ``files``.
    code: Code | None = None
    #: The spec as written, for the fields that a running job still follows.
    raw: Mapping[str, object] = field(default_factory=dict)
    #: ``None``: not set, which neither suspends nor resumes.
    suspend: bool | None = row(
        Boolean(
            "suspend",
            "True suspends the job: its pods are deleted. Only an explicit false resumes it, with "
            "a new attempt that does not count as a retry.",
        )
    )
    cancel: bool = row(
        Boolean(
            "cancel", "True ends the job now and permanently as Failed, with reason Cancelled."
        ),
        False,
    )
    submission_id: str = row(
        Text(
            "submissionID",
            "Idempotency token of the caller: submitting it again returns this job.",
            longest=LONGEST_TOKEN,
            message=f"write at most {LONGEST_TOKEN} characters",
            rules=(IMMUTABLE,),
        ),
        "",
    )
    managed_by: str = row(
        Text(
            "managedBy",
            f"The controller that runs the job; daskjob ignores jobs of another one. Defaults to "
            f"{names.MANAGED_BY}.",
            longest=LONGEST_TOKEN,
            message=f"write at most {LONGEST_TOKEN} characters",
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
        """A fingerprint of the templates of an attempt: a change after the start is ignored."""
        return _template_hash(self)


SPEC = Record(
    "spec",
    "A runner, the cluster that it runs on, and the policy of its attempts.",
    (
        JOB,
        CLUSTER,
        CLUSTER_REF,
        ENVIRONMENT,
        CODE,
        *POLICY_FIELDS,
        *shapes_of(DaskJob),
    ),
    required="write spec.job and spec.cluster",
    rules=(EXACTLY_ONE, SAME_CLUSTER, SAME_CONTROLLER, ENOUGH_WORKERS, *OWN_PODS, *POLICY_RULES),
)


@cached_by_identity
def _template_hash(job: DaskJob) -> str:
    cluster = job.cluster.raw if job.cluster else {}
    parts: list[object] = [job.runner.spec, dict(job.files), _without_replicas(cluster)]
    parts.append(job.cluster_ref)
    # Absent, they change no hash: jobs that run when daskjob is upgraded keep theirs.
    own = {name: job.raw.get(name) for name in (ENVIRONMENT.name, CODE.name)}
    parts.extend({name: value} for name, value in own.items() if value)
    return fingerprint(parts)


def _without_replicas(cluster: Manifest) -> Manifest:
    """Return a cluster's spec without its replica counts, which may change while the job runs."""
    worker = {k: v for k, v in (cluster.get("worker") or {}).items() if k != "replicas"}
    groups = [
        {k: v for k, v in group.items() if k != "replicas"}
        for group in cluster.get("workerGroups") or ()
        if isinstance(group, dict)
    ]
    return {**cluster, "worker": worker, "workerGroups": groups}


def read_job(manifest: Manifest, errors: list[FieldError], *, strict: bool = False) -> DaskJob:
    """Return a DaskJob, with defaults for wrong values; records every mistake."""
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
    _check_own_pods(spec)
    return DaskJob(
        meta=meta,
        runner=runner,
        policy=policy,
        files=_read_files(job),
        cluster=cluster,
        cluster_ref=cluster_ref,
        environment=read_environment(spec),
        code=read_code(spec),
        raw=dict(spec.fields),
        **read_fields(DaskJob, spec),
    )


def _restart_policy(job: Reader, runner: PodTemplate) -> RestartPolicy:
    """Return the runner's restart policy; the documented default is OnFailure.

    dask-kubernetes' CRD defaults it next to the PodSpec, so it is read there too.
    """
    next_to_spec = JOB_RESTART_POLICY.read(job)
    given = runner.spec.get(RESTART_POLICY.name)
    if given in list(RestartPolicy):
        return RestartPolicy(given)
    return next_to_spec or RestartPolicy.ON_FAILURE


def _read_where(spec: Reader) -> tuple[ClusterSpec | None, str]:
    """Return the cluster to create, or the name of an existing one: exactly one of them."""
    if spec.has(CLUSTER.name) == spec.has(CLUSTER_REF.name) and spec.given:
        found = "both" if spec.has(CLUSTER.name) else None
        spec.mistake(CLUSTER.name, found, EXACTLY_ONE.message)
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
            job.mistake(f"{FILES.name}[{name}]", name, PLAIN_NAMES.message)
    characters = sum(len(name) + len(text) for name, text in files.items())
    size = sum(len(text.encode(errors="replace")) for text in files.values())
    if characters > FILES_LIMIT:
        job.mistake(FILES.name, f"{characters} characters", SMALL_ENOUGH.message)
    elif size > FILES_LIMIT_BYTES:
        allowed = f"write at most {FILES_LIMIT_BYTES} bytes in total, as a ConfigMap holds"
        job.mistake(FILES.name, f"{size} bytes", allowed)
    return files


def _check_own_pods(spec: Reader) -> None:
    for rule in OWN_PODS:
        name = rule.field.removeprefix(".")
        if spec.has(CLUSTER_REF.name) and spec.has(name):
            spec.mistake(name, spec.fields.get(name), rule.message)


def _check_minimum_workers(spec: Reader, policy: Policy, cluster: ClusterSpec | None) -> None:
    if cluster is None or policy.min_available_workers is None:
        return
    if any(group.autoscaling for group in cluster.all_groups):
        return
    if policy.min_available_workers > cluster.desired_workers:
        spec.mistake(
            "minAvailableWorkers",
            policy.min_available_workers,
            f"{ENOUGH_WORKERS.message}, {cluster.desired_workers}",
        )
