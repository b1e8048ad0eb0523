"""What gives every pod of a job its packages and its code, before its containers start.

An init container of the role's own image runs ``daskjob/in_pod.py``, which a ConfigMap of the job
holds with its settings; so all pods of all attempts get the same. Code on a volume is mounted as it
is. A job without packages and code gets none of it (design §5.7).
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable

from daskjob.core import names
from daskjob.core.command_line import words
from daskjob.core.desired.metadata import object_metadata
from daskjob.core.manifests import Manifest
from daskjob.core.observed import Platform
from daskjob.core.spec import DaskJob
from daskjob.core.spec.code import Code

PROGRAM_KEY = "in_pod.py"
SETTINGS_KEY = "settings.json"
_SETTINGS = "/daskjob/environment"
_PARTS = "/daskjob/parts"
_LOGIN = "/daskjob/login"
_CODE_LOGIN = "/daskjob/code-login"
_PYTHON_PATH = "PYTHONPATH"
#: Holds the value of a ``PYTHONPATH`` that comes from a Secret or a ConfigMap, which ours includes.
_OWN_PYTHON_PATH = "DASKJOB_OWN_PYTHONPATH"
#: Variables that an installer needs: where programs are, how an index is reached.
_FOR_INSTALLERS = re.compile(
    r"PATH|LD_LIBRARY_PATH|(https?|no|all)_proxy|(HTTPS?|NO|ALL)_PROXY|SSL_CERT_(FILE|DIR)"
    r"|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|GIT_SSL_CAINFO|(PIP|UV)_\w+"
)
_PYTHON = re.compile(r"python[0-9.]*")
#: Others, such as GPUs, an init container does not need.
_RESOURCES = ("cpu", "memory", "ephemeral-storage")


def is_prepared(job: DaskJob, platform: Platform) -> bool:
    """Return whether the pods of a job have something to install, to unpack or to fetch."""
    fetched = job.code is not None and not job.code.is_mounted
    return platform.pods_prepare and (job.environment.wanted or fetched)


def environment_config_map(job: DaskJob, platform: Platform) -> Manifest:
    """Return the ConfigMap with the program that prepares a pod, and with its settings.

    Settings of an attempt are those of the first one: the ConfigMap is immutable.
    """
    name = names.environment_name(job.meta.name)
    labels = {names.LABEL_CLUSTER_NAME: names.label_value(job.cluster_name)}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": object_metadata(name, job.meta, labels, {}),
        "immutable": True,
        "data": {
            PROGRAM_KEY: platform.installer,
            SETTINGS_KEY: json.dumps(_settings(job), ensure_ascii=False),
        },
    }


def _settings(job: DaskJob) -> Manifest:
    wanted, code = job.environment, _code_settings(job.code)
    return {
        "packages": names.PACKAGES_PATH,
        "message": "/dev/termination-log",
        **({"requirements": list(wanted.requirements)} if wanted.requirements else {}),
        **({"requiresPython": wanted.requires_python} if wanted.requires_python else {}),
        **({"indexURLs": list(wanted.index_urls)} if wanted.index_urls else {}),
        **({"findLinks": wanted.find_links} if wanted.find_links else {}),
        **({"login": _LOGIN} if wanted.secret_name else {}),
        **({"code": code} if code else {}),
    }


def _code_settings(code: Code | None) -> Manifest:
    if code is None or code.is_mounted:
        return {}
    if code.git is None:
        parts = [f"{_PARTS}/{number}" for number in range(len(code.config_maps))]
        return {"folder": names.CODE_PATH, "parts": parts}
    login = {"login": _CODE_LOGIN} if code.git.secret_name else {}
    git = {"url": code.git.url, "commit": code.git.commit, **login}
    return {"folder": names.CODE_PATH, "git": git}


def add_environment(spec: Manifest, main: str, job: DaskJob, platform: Platform) -> None:
    """Add a job's packages and code to a PodSpec, in place; ``main``: its main container.

    Other containers get them too if they have the main container's image; for other images the
    packages need not be made.
    """
    if not platform.pods_prepare or not (job.environment.wanted or job.code):
        return
    containers = spec.get("containers") or ()
    image = next((c.get("image") for c in containers if c.get("name") == main), None)
    given = spec.get("volumes") or ()
    shared = _volume_of_claim(job.code, given)
    code_volume = shared or names.CODE_VOLUME
    if is_prepared(job, platform):
        prepared = next(c for c in containers if c.get("name") == main)
        own = spec.get("initContainers") or ()
        spec["initContainers"] = [_init_container(prepared, job, code_volume), *own]
    ours = [v for v in _volumes(job, platform) if not (shared and v["name"] == names.CODE_VOLUME)]
    spec["volumes"] = [*given, *ours]
    for container in containers:
        if container.get("image") == image:
            mounts = [*(container.get("volumeMounts") or ()), *_mounts(job, code_volume)]
            container["volumeMounts"] = mounts
            container["env"] = _with_python_path(container.get("env") or [], _python_path(job))


def _volume_of_claim(code: Code | None, volumes: Iterable[Manifest]) -> str:
    """Return the volume of a pod that is the claim with the code; empty if it has none.

    The kubelet waits without end if two volumes of a pod are the same claim.
    """
    claim = code.claim.claim_name if code and code.claim else ""
    for volume in volumes if claim else ():
        if (volume.get("persistentVolumeClaim") or {}).get("claimName") == claim:
            return str(volume.get("name"))
    return ""


def _init_container(main: Manifest, job: DaskJob, code_volume: str) -> Manifest:
    """Return the init container, as like the main one as its task allows."""
    kept: Manifest = {
        key: main[key] for key in ("image", "imagePullPolicy", "securityContext") if key in main
    }
    # The sum of a pod's requests counts the larger of init containers and containers.
    resources = _resources(main.get("resources"))
    environment = [
        v for v in main.get("env") or () if _FOR_INSTALLERS.fullmatch(str(v.get("name")))
    ]
    # Of the main one, since wheels, certificates and configuration may be on volumes.
    mounts = [mount for found in main.get("volumeMounts") or () for mount in _read_only(found)]
    return {
        "name": names.ENVIRONMENT_CONTAINER,
        **kept,
        "command": [
            _python(main),
            "-u",
            f"{_SETTINGS}/{PROGRAM_KEY}",
            f"{_SETTINGS}/{SETTINGS_KEY}",
        ],
        **({"env": environment} if environment else {}),
        **({"resources": resources} if resources else {}),
        "volumeMounts": [*mounts, *_own_mounts(job, code_volume)],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _python(main: Manifest) -> str:
    """Return the Python that the main container's command runs with, as far as that shows it."""
    first = next(iter(words(main)), "")
    if not posixpath.isabs(first):
        return first if _PYTHON.fullmatch(first) else "python"
    folder, program = posixpath.split(first)
    if _PYTHON.fullmatch(program):
        return first
    # A script of an environment, such as /opt/conda/bin/dask.
    return f"{folder}/python" if program == "dask" or program.startswith("dask-") else "python"


def _resources(given: object) -> Manifest:
    found = given if isinstance(given, dict) else {}
    parts = {key: found.get(key) or {} for key in ("requests", "limits")}
    return {
        key: {name: part[name] for name in _RESOURCES if name in part}
        for key, part in parts.items()
        if any(name in part for name in _RESOURCES)
    }


def _read_only(mount: Manifest) -> Iterable[Manifest]:
    if mount.get("subPathExpr"):
        # It needs variables that the init container does not have.
        return
    kept = {k: v for k, v in mount.items() if k in ("name", "mountPath", "subPath")}
    yield {**kept, "readOnly": True}


def _own_mounts(job: DaskJob, code_volume: str) -> Iterable[Manifest]:
    """Yield the mounts of the init container alone; no other container sees a login."""
    yield _mount("daskjob-environment", _SETTINGS)
    yield {"name": "daskjob-packages", "mountPath": names.PACKAGES_PATH}
    if job.environment.secret_name:
        yield _mount("daskjob-login", _LOGIN)
    if job.code is not None and job.code.git and job.code.git.secret_name:
        yield _mount("daskjob-code-login", _CODE_LOGIN)
    if job.code is not None and job.code.config_maps:
        yield _mount("daskjob-parts", _PARTS)
    if job.code is not None:
        yield _code_mount(job.code, code_volume)


def _mount(volume: str, path: str) -> Manifest:
    return {"name": volume, "mountPath": path, "readOnly": True}


def _mounts(job: DaskJob, code_volume: str) -> Iterable[Manifest]:
    """Yield the mounts of packages and code; Python writes its compiled modules there."""
    if job.environment.requirements:
        yield {"name": "daskjob-packages", "mountPath": names.PACKAGES_PATH}
    if job.code is not None:
        yield _code_mount(job.code, code_volume)


def _code_mount(code: Code, volume: str) -> Manifest:
    mount: Manifest = {"name": volume, "mountPath": names.CODE_PATH}
    if code.claim and code.claim.sub_path:
        mount["subPath"] = code.claim.sub_path
    return {**mount, "readOnly": True} if code.is_mounted else mount


def _volumes(job: DaskJob, platform: Platform) -> Iterable[Manifest]:
    code = job.code
    if is_prepared(job, platform):
        config_map = {"name": names.environment_name(job.meta.name)}
        yield {"name": "daskjob-environment", "configMap": config_map}
        yield {"name": "daskjob-packages", "emptyDir": {}}
        if job.environment.secret_name:
            yield _secret("daskjob-login", job.environment.secret_name)
    if code is None:
        return
    yield {"name": names.CODE_VOLUME, **_code_source(code)}
    if code.config_maps:
        parts = [
            {"configMap": {"name": name, "items": [{"key": names.CODE_PART, "path": str(number)}]}}
            for number, name in enumerate(code.config_maps)
        ]
        yield {"name": "daskjob-parts", "projected": {"sources": parts}}
    if code.git and code.git.secret_name:
        yield _secret("daskjob-code-login", code.git.secret_name)


def _secret(volume: str, name: str) -> Manifest:
    return {"name": volume, "secret": {"secretName": name}}


def _code_source(code: Code) -> Manifest:
    if code.claim:
        return {"persistentVolumeClaim": {"claimName": code.claim.claim_name}}
    return {"image": {"reference": code.image}} if code.image else {"emptyDir": {}}


def _python_path(job: DaskJob) -> str:
    code = job.code.python_path if job.code else ()
    packages = (names.PACKAGES_PATH,) if job.environment.requirements else ()
    return ":".join((*code, *packages))


def _with_python_path(env: list[Manifest], first: str) -> list[Manifest]:
    """Return variables in which our folders precede the user's on ``PYTHONPATH``."""
    if not first:
        return env
    for index, variable in enumerate(env):
        if variable.get("name") != _PYTHON_PATH:
            continue
        before, after = env[:index], env[index + 1 :]
        if variable.get("valueFrom") is not None:
            own = {**variable, "name": _OWN_PYTHON_PATH}
            value = f"{first}:$({_OWN_PYTHON_PATH})"
            return [*before, own, {"name": _PYTHON_PATH, "value": value}, *after]
        value = ":".join(part for part in (first, variable.get("value")) if part)
        return [*before, {**variable, "value": value}, *after]
    return [{"name": _PYTHON_PATH, "value": first}, *env]
