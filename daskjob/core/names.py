"""Labels, annotations, object names and their limits, each defined only here.

The contract is design §2.2; users' scripts, Flyte and RAPIDS' documentation rely on it.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum

from daskjob.core.errors import WrongArgument

API_GROUP = "kubernetes.dask.org"
API_VERSION = f"{API_GROUP}/v1"
MANAGED_BY = f"{API_GROUP}/daskjob"

#: The limit of a Service's name and of a label's value, and so of the names of our kinds.
NAME_LIMIT = 63

#: Kubernetes rejects a Service whose name starts with a digit, so our names start with a letter.
NAME_PATTERN = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
NAME_RULE = (
    "1 to 63 characters: lower-case letters, digits and '-', "
    "starting with a letter and ending with a letter or digit"
)

#: The name of a group within its cluster, the suffix of its object's name.
GROUP_PATTERN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
GROUP_RULE = (
    "1 to 63 characters: lower-case letters, digits and '-', "
    "starting and ending with a letter or digit"
)
DEFAULT_GROUP = "default"

#: Namespaces, unlike the objects of our kinds, may start with a digit.
NAMESPACE_PATTERN = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
#: The characters of an image's reference; whether it is one is up to the kubelet.
IMAGE_PATTERN = re.compile(r"[\w.:/@-]{1,512}", re.ASCII)

LABEL_CLUSTER_NAME = "dask.org/cluster-name"
LABEL_COMPONENT = "dask.org/component"
LABEL_WORKERGROUP_NAME = "dask.org/workergroup-name"
#: On a notebook beside a cluster: the cluster's name.
LABEL_NOTEBOOK = "dask.org/notebook"

#: The attempt of a runner pod, or of the new cluster of an attempt.
ANNOTATION_ATTEMPT = f"{API_GROUP}/attempt"
#: On a DaskCluster: ``Ignore`` replaces a lost scheduler; ``Fail`` leaves it to the job.
ANNOTATION_ON_SCHEDULER_LOSS = f"{API_GROUP}/on-scheduler-loss"
#: On a DaskCluster: delete its workers, keep its scheduler (deletionPolicy DeleteWorkers).
ANNOTATION_DELETE_WORKERS = f"{API_GROUP}/delete-workers"
#: On a DaskCluster: the last worker count of its job's spec. A job updates the cluster's count only
#: when its spec differs from this, so that a manually scaled cluster stays scaled.
ANNOTATION_JOB_REPLICAS = f"{API_GROUP}/job-replicas"
#: On a cluster's default group: the count on which both last agreed. It is set in the same write as
#: the group's count, so that the two are always consistent.
ANNOTATION_SYNCED_REPLICAS = f"{API_GROUP}/synced-replicas"
#: On a scheduler or worker pod: the fingerprint of its pod template.
ANNOTATION_TEMPLATE = f"{API_GROUP}/template"
#: Present on a job that was made from a script: messages use the words and options of scripts.
ANNOTATION_SCRIPT = f"{API_GROUP}/script"
#: Its value for a script on a cluster.
SUBMITTED_SCRIPT = "submitted"
#: Who cancelled a job, for its message.
ANNOTATION_CANCELLED_BY = f"{API_GROUP}/cancelled-by"
#: On a job of an orchestrator's task: its end was taken by a try of the task, at this time.
ANNOTATION_ACKNOWLEDGED = f"{API_GROUP}/acknowledged"
#: The task of an orchestrator that a job belongs to, and which orchestrator that is.
LABEL_SUBMISSION_ID = f"{API_GROUP}/submission-id"
LABEL_SUBMITTED_BY = f"{API_GROUP}/submitted-by"
#: On a job of a local run: which of workers, threads and memory no option set, with commas. The
#: script may set them (``Client(n_workers=3)``).
ANNOTATION_OPEN_TO_SCRIPT = f"{API_GROUP}/open-to-script"
#: On a DaskCluster: after how many seconds without a renewal by its client it is deleted, and the
#: last renewal; without one, its creation counts.
ANNOTATION_LEASE_DURATION = f"{API_GROUP}/lease-duration-seconds"
ANNOTATION_LEASE_RENEW_TIME = f"{API_GROUP}/lease-renew-time"
#: On a DaskCluster: the name of the Deployment, Service and Secret of its notebook.
ANNOTATION_NOTEBOOK = f"{API_GROUP}/notebook"
ANNOTATION_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"

#: dask-kubernetes set it on its objects; nothing removes it once that is gone (design §2.4).
LEGACY_FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"

#: Metadata that children do not inherit (design §2.2): Argo CD prunes a child with its tracking
#: label, and kubectl's last-applied is as large as the whole manifest. Our own annotations are
#: about one object only.
PRIVATE_PREFIXES = (
    "kopf.zalando.org/",
    "kubectl.kubernetes.io/",
    "argocd.argoproj.io/",
    f"{API_GROUP}/",
)
PRIVATE_KEYS = frozenset({"app.kubernetes.io/instance", ANNOTATION_SYNCED_REPLICAS})

PORT_COMM = 8786
PORT_DASHBOARD = 8787
PORT_NOTEBOOK = 8888
#: The key of the token in the Secret of a notebook.
NOTEBOOK_TOKEN = "token"
PORT_NAME_COMM = "tcp-comm"
#: Names of a scheduler's dashboard port, in order of preference; then 8787 itself.
PORT_NAMES_DASHBOARD = ("http-dashboard", "dashboard")

#: Where ``spec.job.files`` are mounted in the pods.
FILES_PATH = "/daskjob/files"
#: Where the pods have ``spec.code``, and the packages of ``spec.environment``.
CODE_PATH = "/daskjob/code"
PACKAGES_PATH = "/daskjob/packages"
#: The volume of a pod with the code.
CODE_VOLUME = "daskjob-code"
#: The init container that installs the packages, and unpacks or fetches the code.
ENVIRONMENT_CONTAINER = "daskjob-environment"
#: The key, in each ConfigMap of ``spec.code``, of its part of the archive.
CODE_PART = "part"

ENV_WORKER_NAME = "DASK_WORKER_NAME"
ENV_SCHEDULER_ADDRESS = "DASK_SCHEDULER_ADDRESS"
ENV_JOB_NAME = "DASKJOB_NAME"
ENV_JOB_NAMESPACE = "DASKJOB_NAMESPACE"
ENV_JOB_UID = "DASKJOB_UID"
ENV_ATTEMPT = "DASKJOB_ATTEMPT"
ENV_RESULT_FILE = "DASKJOB_RESULT_FILE"
ENV_AGENT_TOKEN = "DASKJOB_AGENT_TOKEN"
ENV_CONNECT_TIMEOUT = "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT"


class Kind(StrEnum):
    """The four kinds of ``kubernetes.dask.org/v1``."""

    JOB = "DaskJob"
    CLUSTER = "DaskCluster"
    GROUP = "DaskWorkerGroup"
    AUTOSCALER = "DaskAutoscaler"

    @property
    def plural(self) -> str:
        """The kind's name in the paths of the API."""
        return f"{self.lower()}s"


#: The kinds of objects that have passes, owners first.
PASS_KINDS = tuple(Kind)


class Component(StrEnum):
    """Values of the label ``dask.org/component``."""

    RUNNER = "job-runner"
    SCHEDULER = "scheduler"
    WORKER = "worker"
    GROUP = "workergroup"


def is_valid_name(name: str) -> bool:
    """Return whether an object of our kinds may have this name (its Service's must work too)."""
    return len(name) <= NAME_LIMIT and NAME_PATTERN.fullmatch(name) is not None


def checked_namespace(given: object) -> str | None:
    """Return the name of a namespace; ``None`` if none is given.

    Raises
    ------
    WrongArgument
        No namespace can have this name.
    """
    if given is None or given == "":
        return None
    if isinstance(given, str) and NAMESPACE_PATTERN.fullmatch(given):
        return given
    raise WrongArgument(
        f"namespace: {given!r} cannot be the name of a namespace; write up to 63 lower-case "
        "letters, digits and '-'"
    )


def shortened(name: str, limit: int = NAME_LIMIT) -> str:
    """Return the name; one that is too long is cut and ends with 8 hex digits of its hash."""
    if len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: limit - 9].rstrip('-.')}-{digest}"


def generated_prefix(label: str) -> str:
    """Return a prefix for generated names, such as ``my-script-``, from any text."""
    plain = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
    if not plain or not plain[0].isalpha():
        plain = f"job-{plain}".strip("-")
    return plain[:50].rstrip("-") + "-"


def label_value(text: str) -> str:
    """Return the text shortened to a label's limit of 63 characters."""
    return shortened(text)


def runner_name(job: str, attempt: int) -> str:
    """Return the runner pod's name; that of attempt 0 is the documented ``<job>-runner``."""
    return f"{job}-runner" if attempt == 0 else f"{job}-runner-{attempt}"


def attempt_of(job: str, runner: str) -> int | None:
    """Return the attempt whose runner has this name, or ``None``."""
    if runner == runner_name(job, 0):
        return 0
    number = runner.removeprefix(f"{runner_name(job, 0)}-")
    attempt = int(number) if number.isdecimal() else 0
    return attempt if attempt and runner == runner_name(job, attempt) else None


def scheduler_pod_name(cluster: str) -> str:
    """Return the scheduler pod's name, never shortened: Flyte finds it by the job's name."""
    return f"{cluster}-scheduler"


def scheduler_service_name(cluster: str) -> str:
    """Return the Service's name; the cluster's part is shortened to fit the limit of 63."""
    suffix = "-scheduler"
    return shortened(cluster, NAME_LIMIT - len(suffix)) + suffix


def files_name(job: str) -> str:
    """Return the name of the ConfigMap that carries a job's files."""
    return f"{job}-files"


def environment_name(job: str) -> str:
    """Return the name of the ConfigMap that tells pods what to install, and how."""
    return f"{job}-environment"


def code_prefix(job: str) -> str:
    """Return how the names of the ConfigMaps begin that carry a job's code, and belong to it."""
    return f"{job}-code-"


def group_name(cluster: str, group: str = DEFAULT_GROUP) -> str:
    """Return the name of the DaskWorkerGroup of a cluster's group."""
    return shortened(f"{cluster}-{group}")


def autoscaler_name(cluster: str, group: str = DEFAULT_GROUP) -> str:
    """Return the name of a group's autoscaler: that of the group."""
    return group_name(cluster, group)


def worker_name(group: str, suffix: str) -> str:
    """Return a worker pod's name; ``suffix`` is 10 hex digits, new for every pod."""
    return f"{group}-worker-{suffix}"


def is_private(key: str) -> bool:
    """Return whether children do not inherit this label or annotation."""
    return key in PRIVATE_KEYS or key.startswith(PRIVATE_PREFIXES)
