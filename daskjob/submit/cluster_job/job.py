"""The DaskJob of a submission: of a script with settings, or a manifest with changes."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from daskjob.core import names
from daskjob.core.manifests import Manifest, fingerprint, mapping, mappings, metadata
from daskjob.submit.cluster_job import parts, pods, resources, variables
from daskjob.submit.cluster_job.code import Code, below
from daskjob.submit.cluster_job.fields import set_fields
from daskjob.submit.cluster_job.parts import Part, Role
from daskjob.submit.cluster_job.program import Program
from daskjob.submit.script import GRACE_SECONDS
from daskjob.submit.settings.groups import Group
from daskjob.submit.settings.merge import REPLACED
from daskjob.submit.settings.sources import WrongSettings
from daskjob.submit.settings.table import SETTINGS, Settings

#: Characters of a name before its hash (design §5.3), and hex digits of that.
LONGEST_PREFIX = 40
DIGITS = 12
#: CPUs of a worker if neither they nor its threads are set.
_CPU = "1"


@dataclass(frozen=True, slots=True)
class ClusterJob:
    """What is submitted."""

    manifest: Manifest
    #: The Secret with the variables of ``--env-file``, owned by the job; never in the manifest.
    env_secret: Manifest | None = None
    #: The ConfigMaps with its code, if the manifest does not have it.
    code: tuple[Manifest, ...] = ()

    @property
    def owned(self) -> list[Manifest]:
        """The objects that are created after the job, and belong to it."""
        return [*([self.env_secret] if self.env_secret else []), *self.code]


def job_name(label: str, *, token: str = "", content: object = None) -> str:
    """Return the name of a job: the same one for the same token, else for the same content."""
    prefix = names.generated_prefix(label)[:LONGEST_PREFIX].rstrip("-")
    digest = hashlib.sha256(token.encode()).hexdigest() if token else fingerprint(content)
    return f"{prefix}-{digest[:DIGITS]}"


def script_job(
    program: Program, settings: Settings, env_file: Mapping[str, str] | None = None
) -> ClusterJob:
    """Return the job of a script.

    Raises
    ------
    WrongSettings
        The settings do not fit together, or ``set`` names no field.
    """
    name = settings.name or ""
    if not name:
        # The content has the name in it: of the ConfigMap with the code, of the Secret.
        draft = _script_job(program, settings, names.generated_prefix(program.label), env_file)
        draft["metadata"].pop("name")
        content = [draft, program.code.content, sorted(env_file or ())]
        name = job_name(program.label, token=settings.token or "", content=content)
    manifest = _script_job(program, settings, name, env_file)
    maps = tuple(program.code.config_maps(name))
    return ClusterJob(manifest, _env_secret(name, env_file), maps)


def _script_job(
    program: Program, settings: Settings, name: str, env_file: Mapping[str, str] | None
) -> Manifest:
    literal = [word.replace("$", "$$") for word in program.command]
    runner: Manifest = {"name": "job-runner", "args": literal}
    retries = settings.retries or 0
    spec: Manifest = {
        "backoffLimit": retries,
        "job": {
            "spec": {
                "restartPolicy": "OnFailure" if retries else "Never",
                "terminationGracePeriodSeconds": GRACE_SECONDS,
                "containers": [runner],
            }
        },
        "cluster": {
            "spec": {
                "scheduler": {
                    "spec": {"containers": [{"name": "scheduler", "args": ["dask", "scheduler"]}]}
                },
                "worker": {
                    "spec": {"containers": [{"name": "worker", "args": ["dask", "worker"]}]}
                },
            }
        },
    }
    manifest: Manifest = {
        "apiVersion": names.API_VERSION,
        "kind": str(names.Kind.JOB),
        "metadata": {"name": name},
        "spec": spec,
    }
    _add_groups(spec, settings)
    changes = _Changes(settings, variables.env_secret_name(name) if env_file is not None else "")
    for part, own in changes.parts(spec):
        changes.apply_to(part, own, complete=True)
    _add_code(spec, program, name)
    if program.environment:
        spec["environment"] = dict(program.environment)
    _add_job_settings(manifest, settings)
    _sort(spec)
    set_fields(manifest, settings.set)
    return manifest


#: The order of fields, for those who read the manifest: what differs from job to job comes first.
_ORDER = (
    *("activeDeadlineSeconds", "backoffLimit", "cluster", "job", "name", "replicas"),
    *("autoscaling", "image", "args", "workingDir", "env", "envFrom", "resources", "containers"),
    *("volumeMounts", "spec", "files"),
)


def _sort(spec: Manifest) -> None:
    """Sort the fields of a script's job, in place."""
    everyone = [parts.runner(spec), parts.scheduler(spec), *parts.workers(spec)]
    for part in filter(None, everyone):
        for holder in (part.container, part.spec, part.template):
            ordered = {key: holder.pop(key) for key in _ORDER if key in holder}
            rest = dict(holder)
            holder.clear()
            holder.update(ordered | rest)


def manifest_job(
    manifest: Manifest, settings: Settings, env_file: Mapping[str, str] | None = None
) -> ClusterJob:
    """Return the job of a valid manifest, with the changes that settings make to it.

    Raises
    ------
    WrongSettings
        A setting does not fit this manifest, or ``set`` names no field.
    """
    changed: Manifest = copy.deepcopy(manifest)
    meta, spec = metadata(changed), changed["spec"]
    if settings.files:
        raise WrongSettings("--file is for a script; write job.files into the manifest")
    if settings.code or settings.code_secret:
        raise WrongSettings("--code is for a script; write spec.code into the manifest")
    if settings.name or settings.token:
        meta.pop("generateName", None)
        label = str(meta.get("name") or metadata(manifest).get("generateName") or "job")
        meta["name"] = settings.name or job_name(label, token=settings.token or "")
    name = str(meta.get("name") or "")
    if env_file is not None and not name:
        raise WrongSettings("--env-file needs the name of the job: --name NAME")
    if "clusterRef" in spec:
        _check_cluster_ref(settings)
    else:
        _add_groups(spec, settings)
    changes = _Changes(settings, variables.env_secret_name(name) if env_file is not None else "")
    for part, own in changes.parts(spec):
        changes.apply_to(part, own, complete=False)
    if settings.retries is not None:
        spec["backoffLimit"] = settings.retries
    _add_job_settings(changed, settings)
    set_fields(changed, settings.set)
    return ClusterJob(changed, _env_secret(name, env_file))


#: Settings that a job on an existing cluster cannot have.
_OF_CLUSTERS = ("workers", "adapt", "threads", "cpu", "memory", "gpu", "worker-command", "groups")


def _check_cluster_ref(settings: Settings) -> None:
    given = [SETTINGS[key] for key in (*_OF_CLUSTERS, "scheduler-cpu", "scheduler-memory")]
    wrong = [item.flags[-1] for item in given if getattr(settings, item.field) not in (None, {})]
    if wrong:
        raise WrongSettings(
            f"{', '.join(wrong)}: the job runs on an existing cluster (clusterRef), which it does "
            "not change; set it in the DaskCluster"
        )


@dataclass(frozen=True, slots=True)
class _Changes:
    """What settings change in the pods of a job."""

    settings: Settings
    env_secret: str

    def parts(self, spec: Manifest) -> list[tuple[Part, Settings]]:
        """Return the parts of a spec, each with its settings."""
        settings = self.settings
        scheduler = parts.scheduler(spec)
        found = [(parts.runner(spec), settings)]
        found += [(scheduler, settings)] if scheduler else []
        for part in parts.workers(spec):
            group = settings.groups.get(str(part.template.get("name")))
            found.append((part, _of_group(settings, group) if group else settings))
        return found

    def apply_to(self, part: Part, settings: Settings, *, complete: bool) -> None:
        """Change a part, in place; a complete one is a script's, and gets the defaults."""
        if part.role is Role.WORKER:
            settings = resources.completed(settings, _CPU if complete else None)
            is_default = "name" not in part.template
            # A manifest's groups keep their own numbers: a flag means the default group.
            if is_default or str(part.template.get("name")) in settings.groups:
                resources.add_count(part.template, settings)
                resources.add_worker_command(part, settings)
                resources.add_resources(part, settings, complete=complete)
        else:
            resources.add_resources(part, settings, complete=complete)
        if settings.image:
            part.container["image"] = settings.image
        if complete:
            pods.restrict(part, settings)
            variables.set_default_variables(part, pods.home(settings))
        else:
            pods.add_user(part, settings)
        pods.add_placement(part, settings)
        pods.add_mounts(part, settings.mounts)
        variables.add_variables(part, settings.env, settings.secrets, self.env_secret)


def _of_group(settings: Settings, group: Group) -> Settings:
    """Return the settings of an additional group: what it lacks is as in the default group."""
    values: dict[str, Any] = {}
    for key, other in REPLACED.items():
        if key in group.settings and other not in group.settings:
            values[SETTINGS[other].field] = None
    for key, value in group.settings.items():
        setting = SETTINGS[key]
        values[setting.field] = setting.joined(getattr(settings, setting.field), value)
    return replace(settings, **values)


def _add_groups(spec: Manifest, settings: Settings) -> None:
    """Add the groups that the spec does not have: copies of the default group's template."""
    cluster = spec["cluster"]["spec"]
    existing = {str(group.get("name")) for group in mappings(cluster.get("workerGroups"))}
    template = {k: v for k, v in cluster["worker"].items() if k not in ("replicas", "autoscaling")}
    added = [
        {"name": name, **copy.deepcopy(template)}
        for name in settings.groups
        if name not in existing
    ]
    if added:
        cluster["workerGroups"] = [*mappings(cluster.get("workerGroups")), *added]


def _add_code(spec: Manifest, program: Program, name: str) -> None:
    code: Code = program.code
    if code.is_elsewhere:
        spec["code"] = code.spec_code(name)
    elif code.files:
        spec["job"]["files"] = code.job_files()
    else:
        return
    everyone = [parts.runner(spec), parts.scheduler(spec), *parts.workers(spec)]
    for part in filter(None, everyone):
        code.add_to(part.spec, name)
        if program.folder is not None and part.role is not Role.SCHEDULER:
            part.container["workingDir"] = below(code.root, program.folder)


def _add_job_settings(manifest: Manifest, settings: Settings) -> None:
    meta, spec = manifest["metadata"], manifest["spec"]
    if settings.namespace:
        meta["namespace"] = settings.namespace
    for key, added in (("labels", settings.labels), ("annotations", settings.annotations)):
        if added:
            meta[key] = {**mapping(meta.get(key)), **added}
    for setting in SETTINGS.values():
        value = getattr(settings, setting.field)
        if setting.plain and value is not None:
            spec[setting.path.removeprefix("spec.")] = value
    if settings.token:
        spec["submissionID"] = settings.token


def _env_secret(job: str, env_file: Mapping[str, str] | None) -> Manifest | None:
    if env_file is None:
        return None
    return variables.env_secret(variables.env_secret_name(job), env_file)
