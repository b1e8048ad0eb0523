"""The settings of a job that ``submit`` and ``render`` make of a script: the one table.

Flags, ``[tool.daskjob]`` of a script and of ``pyproject.toml``, profiles, ``daskjob.*`` of Dask's
configuration, ``--origins`` and ``docs/settings.md`` are derived from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daskjob.core.names import IMAGE_PATTERN, NAME_PATTERN, NAME_RULE, NAMESPACE_PATTERN
from daskjob.core.spec.group import MOST_WORKERS
from daskjob.core.spec.job import LONGEST_TOKEN
from daskjob.submit.settings.declaration import (
    Setting,
    Topic,
    declarations,
    setting,
    settings_of_many,
)
from daskjob.submit.settings.groups import Group, Groups
from daskjob.submit.settings.items import (
    LABEL_VALUE,
    OBJECT_NAME,
    OBJECT_NAME_RULE,
    QUALIFIED,
    VARIABLE,
    VARIABLE_RULE,
    Mount,
    SecretUse,
    Toleration,
    mount,
    object_name,
    plain,
    secret_use,
    toleration,
)
from daskjob.submit.settings.kinds import (
    Bounds,
    Checked,
    Cpu,
    Duration,
    Items,
    Memory,
    Pairs,
    Range,
    Text,
    Whole,
)
from daskjob.submit.settings.urls import index_url as index_url_of
from daskjob.submit.settings.urls import links

_WORKER = "spec.cluster.spec.worker"
_CONTAINER = f"{_WORKER}.spec.containers[0]"
_RUNNER = "spec.job.spec.containers[0]"
_SCHEDULER = "spec.cluster.spec.scheduler.spec.containers[0]"
_ALL = "every pod: "
_LABEL_RULE = "write a name as of a Kubernetes label, such as team or example.org/team"
_UID = re.compile(r"image|[1-9]\d{0,9}")
_TOKEN = re.compile(rf"\S(?s:.){{0,{LONGEST_TOKEN - 1}}}")
_CODE = re.compile(r"[^\x00-\x1f]{1,4096}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What the workers of one group have."""

    image: str | None = setting(
        Text(
            "IMAGE", '"ghcr.io/dask/dask:latest"', IMAGE_PATTERN, "write the reference of an image"
        ),
        "Image of all pods. By default the one with this environment's Python and dask.",
        topic=Topic.WORKERS,
        path="every container: image",
    )
    workers: int | None = setting(
        Whole(0, MOST_WORKERS),
        "Number of workers.",
        topic=Topic.WORKERS,
        path=f"{_WORKER}.replicas",
        flags=("-w", "--workers"),
    )
    adapt: Bounds | None = setting(
        Range(MOST_WORKERS),
        "Scale the workers to the tasks, within these bounds.",
        topic=Topic.WORKERS,
        path=f"{_WORKER}.autoscaling",
    )
    threads: int | None = setting(
        Whole(1, 1024),
        "Threads per worker; by default its CPUs.",
        topic=Topic.WORKERS,
        path=f"{_CONTAINER}.args: --nthreads",
        flags=("-t", "--threads"),
    )
    cpu: str | None = setting(
        Cpu(),
        "CPUs per worker; by default its threads.",
        topic=Topic.WORKERS,
        path=f"{_CONTAINER}.resources",
    )
    memory: str | None = setting(
        Memory(),
        "Memory per worker; Dask's own limit is 128 MiB lower.",
        topic=Topic.WORKERS,
        path=f"{_CONTAINER}.resources, args: --memory-limit",
    )
    gpu: int | None = setting(
        Whole(0, 64, example="1"),
        "GPUs per worker.",
        topic=Topic.WORKERS,
        path=f"{_CONTAINER}.resources.limits",
    )
    worker_command: str | None = setting(
        Text("COMMAND", '"dask cuda worker"'),
        "Command of the workers instead of 'dask worker'.",
        topic=Topic.WORKERS,
        path=f"{_CONTAINER}.args",
    )
    node_selector: Mapping[str, str] = settings_of_many(
        Pairs(
            '{pool = "batch"}',
            QUALIFIED,
            _LABEL_RULE,
            value=LABEL_VALUE,
            value_message="write the value of a label",
        ),
        "Only nodes with this label.",
        topic=Topic.PODS,
        path=f"{_ALL}nodeSelector",
    )
    tolerations: tuple[Toleration, ...] = settings_of_many(
        Items("KEY[=VALUE][:EFFECT]", '["spot:NoSchedule"]', toleration),
        "Tolerate this taint of nodes.",
        topic=Topic.PODS,
        path=f"{_ALL}tolerations",
        flags=("--toleration",),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(WorkerSettings):
    """All settings of a job."""

    groups: Mapping[str, Group] = settings_of_many(
        Groups(declarations(WorkerSettings)),
        "An additional worker group; what is not given is as in the default group.",
        topic=Topic.WORKERS,
        path="spec.cluster.spec.workerGroups",
        flags=("--group",),
    )
    gpu_resource: str | None = setting(
        Text("NAME", '"nvidia.com/gpu"', QUALIFIED, "write a resource such as nvidia.com/gpu"),
        "Kubernetes' name of the GPUs.",
        topic=Topic.WORKERS,
        path="every container: resources.limits",
    )
    runner_cpu: str | None = setting(
        Cpu(), "CPUs of the script.", topic=Topic.OTHERS, path=f"{_RUNNER}.resources"
    )
    runner_memory: str | None = setting(
        Memory(), "Memory of the script.", topic=Topic.OTHERS, path=f"{_RUNNER}.resources"
    )
    runner_gpu: int | None = setting(
        Whole(0, 64, example="1"),
        "GPUs of the script.",
        topic=Topic.OTHERS,
        path=f"{_RUNNER}.resources.limits",
    )
    scheduler_cpu: str | None = setting(
        Cpu(), "CPUs of the scheduler.", topic=Topic.OTHERS, path=f"{_SCHEDULER}.resources"
    )
    scheduler_memory: str | None = setting(
        Memory(), "Memory of the scheduler.", topic=Topic.OTHERS, path=f"{_SCHEDULER}.resources"
    )
    env: Mapping[str, str] = settings_of_many(
        Pairs('{MODE = "fast"}', VARIABLE, f"write {VARIABLE_RULE}"),
        "Variable of the script and the workers; the flag's KEY alone passes on its value here.",
        topic=Topic.CODE,
        path="containers of runner and workers: env",
        flags=("-e", "--env"),
    )
    secrets: tuple[SecretUse, ...] = settings_of_many(
        Items("NAME[:KEY=ENV]", '["db:password=DB_PASSWORD"]', secret_use),
        "Secret whose keys, or one of them, are variables of the script and the workers.",
        topic=Topic.CODE,
        path="containers of runner and workers: env, envFrom",
        flags=("--secret",),
    )
    env_file: str | None = setting(
        Text("FILE", '".env"'),
        "File of KEY=VALUE lines; becomes a Secret of the job, never a part of the manifest.",
        topic=Topic.CODE,
        path="containers of runner and workers: envFrom",
    )
    mounts: tuple[Mount, ...] = settings_of_many(
        Items("pvc:CLAIM:/path[:ro]", '["pvc:data:/data:ro"]', mount, lambda item: item.path),
        "Mount a pvc, secret or configmap in all pods.",
        topic=Topic.CODE,
        path=f"{_ALL}volumes, volumeMounts",
        flags=("--mount",),
    )
    files: tuple[str, ...] = settings_of_many(
        Items("FILE", '["settings.toml"]', plain),
        "File to send with the script, such as settings or data that it reads.",
        topic=Topic.CODE,
        path="spec.job.files",
        flags=("--file",),
    )
    code: str | None = setting(
        Text("PLACE", '"."', _CODE, "write a folder, git+URL@COMMIT, pvc:CLAIM/PATH or image:REF"),
        "Folder to send as a whole instead of what the script imports; or where its code is: "
        "git+URL@COMMIT, pvc:CLAIM[/PATH], image:REF.",
        topic=Topic.CODE,
        path="spec.code",
    )
    code_secret: str | None = setting(
        Text("NAME", '"git-login"', OBJECT_NAME, f"write {OBJECT_NAME_RULE}"),
        "Secret with the credentials of a private repository of --code.",
        topic=Topic.CODE,
        path="spec.code.git.secretName",
    )
    packages: tuple[str, ...] = settings_of_many(
        Items("PACKAGE", '["pandas>=2.2"]', plain),
        "Package to install in all pods, beside those that the script declares.",
        topic=Topic.PACKAGES,
        path="spec.environment.requirements",
        flags=("--with",),
    )
    requirements: str | None = setting(
        Text("FILE", '"requirements.txt"'),
        "File of packages to install in all pods, as pip reads it.",
        topic=Topic.PACKAGES,
        path="spec.environment.requirements",
    )
    index_url: str | None = setting(
        Checked("URL", '"https://pip.example.org/simple"', index_url_of),
        "Index of packages instead of the one that the image asks; without a login.",
        topic=Topic.PACKAGES,
        path="spec.environment.indexURLs",
    )
    extra_index_url: tuple[str, ...] = settings_of_many(
        Items("URL", '["https://pip.example.org/simple"]', index_url_of),
        "Another index, which is asked first.",
        topic=Topic.PACKAGES,
        path="spec.environment.indexURLs",
    )
    find_links: str | None = setting(
        Checked("FOLDER|URL", '"/wheels"', links),
        "Folder of the pods with wheels, or a page of links. Without index-url no index is asked.",
        topic=Topic.PACKAGES,
        path="spec.environment.findLinks",
    )
    index_secret: str | None = setting(
        Text("NAME", '"index-login"', OBJECT_NAME, f"write {OBJECT_NAME_RULE}"),
        "Secret with the login for the indexes: username and password, or netrc.",
        topic=Topic.PACKAGES,
        path="spec.environment.secretName",
    )
    labels: Mapping[str, str] = settings_of_many(
        Pairs(
            '{team = "a"}',
            QUALIFIED,
            _LABEL_RULE,
            value=LABEL_VALUE,
            value_message="write up to 63 letters, digits, '-', '_' and '.'",
        ),
        "Label of the job and all its objects.",
        topic=Topic.PODS,
        path="metadata.labels",
        flags=("--label",),
    )
    annotations: Mapping[str, str] = settings_of_many(
        Pairs('{"example.org/ticket" = "7"}', QUALIFIED, _LABEL_RULE),
        "Annotation of the job and all its objects.",
        topic=Topic.PODS,
        path="metadata.annotations",
        flags=("--annotation",),
    )
    service_account: str | None = setting(
        Text("NAME", '"batch"', OBJECT_NAME, f"write {OBJECT_NAME_RULE}"),
        "ServiceAccount of all pods.",
        topic=Topic.PODS,
        path=f"{_ALL}serviceAccountName",
    )
    priority_class: str | None = setting(
        Text("NAME", '"low"', OBJECT_NAME, f"write {OBJECT_NAME_RULE}"),
        "PriorityClass of all pods.",
        topic=Topic.PODS,
        path=f"{_ALL}priorityClassName",
    )
    image_pull_secrets: tuple[str, ...] = settings_of_many(
        Items("NAME", '["registry"]', object_name),
        "Secret with the credentials of the image's registry.",
        topic=Topic.PODS,
        path=f"{_ALL}imagePullSecrets",
        flags=("--image-pull-secret",),
    )
    run_as_user: str | None = setting(
        Text("UID", '"1000"', _UID, "write a user's number above 0, or 'image' for the image's"),
        "User of all containers; 'image': that of the image, which must be a number.",
        topic=Topic.PODS,
        path=f"{_ALL}securityContext.runAsUser",
    )
    retries: int | None = setting(
        Whole(0, 1000),
        "Number of retries after failures of the script.",
        topic=Topic.LIMITS,
        path="spec.backoffLimit",
    )
    deadline: int | None = setting(
        Duration(),
        "Time limit of the job.",
        topic=Topic.LIMITS,
        path="spec.activeDeadlineSeconds",
        plain=True,
    )
    attempt_deadline: int | None = setting(
        Duration(example='"30m"'),
        "Time limit of one attempt.",
        topic=Topic.LIMITS,
        path="spec.attemptDeadlineSeconds",
        plain=True,
    )
    startup_deadline: int | None = setting(
        Duration(example='"10m"'),
        "Time limit until the script runs.",
        topic=Topic.LIMITS,
        path="spec.startupDeadlineSeconds",
        plain=True,
    )
    stall_deadline: int | None = setting(
        Duration(example='"15m"'),
        "Time without progress after which the job counts as stalled.",
        topic=Topic.LIMITS,
        path="spec.stallDeadlineSeconds",
        plain=True,
    )
    ttl: int | None = setting(
        Duration(example='"7d"'),
        "Delete the job this long after its end.",
        topic=Topic.LIMITS,
        path="spec.ttlSecondsAfterFinished",
        plain=True,
    )
    name: str | None = setting(
        Text("NAME", '"sums"', NAME_PATTERN, f"write {NAME_RULE}"),
        "Name of the job; by default the script's name and a hash.",
        topic=Topic.PLACE,
        path="metadata.name",
        flag_only=True,
    )
    token: str | None = setting(
        Text("TOKEN", '"run-7"', _TOKEN, f"write 1 to {LONGEST_TOKEN} characters"),
        "Token of this submission: submitting it again returns the same job.",
        topic=Topic.PLACE,
        path="spec.submissionID",
        flag_only=True,
    )
    namespace: str | None = setting(
        Text(
            "NAME",
            '"team-a"',
            NAMESPACE_PATTERN,
            "write up to 63 lower-case letters, digits and '-'",
        ),
        "Namespace of the job; by default that of the context.",
        topic=Topic.PLACE,
        path="metadata.namespace",
        flags=("-n", "--namespace"),
    )
    context: str | None = setting(
        Text("NAME", '"production"'),
        "Context of the kubeconfig; by default the current one.",
        topic=Topic.PLACE,
    )
    set: Mapping[str, Any] = settings_of_many(
        Pairs(
            '{"spec.stallAction" = "Fail"}',
            re.compile(r"\S+"),
            "write PATH=VALUE",
            metavar="PATH=VALUE",
            texts=False,
        ),
        "Set any field of the DaskJob.",
        topic=Topic.PLACE,
        path="PATH",
    )


#: All settings by key.
SETTINGS: Mapping[str, Setting] = declarations(Settings)
#: Those that an additional worker group may have.
GROUP_SETTINGS: Mapping[str, Setting] = declarations(WorkerSettings)
#: Those that `daskjob run` uses on this machine too.
LOCAL = (
    *("workers", "adapt", "threads", "cpu", "memory", "env", "env-file"),
    *("packages", "requirements", "index-url", "extra-index-url", "find-links"),
    *("retries", "deadline", "attempt-deadline", "startup-deadline", "stall-deadline", "set"),
)
#: Those that a run on this machine neither uses nor reports: what they are for is here, such as
#: files and logins, or is about a job in a cluster and changes nothing for the script.
UNREPORTED = (
    *("files", "code-secret", "index-secret", "labels", "annotations", "ttl"),
    *("name", "token", "namespace", "context"),
)
#: What a script's job has unless a place says otherwise.
DEFAULTS: Mapping[str, object] = {
    "workers": 2,
    "memory": "2Gi",
    "runner-memory": "2Gi",
    "scheduler-memory": "2Gi",
    "gpu-resource": "nvidia.com/gpu",
    "run-as-user": "1000",
    "retries": 0,
}
