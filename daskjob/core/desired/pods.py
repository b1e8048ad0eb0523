"""The common parts of the pods that daskjob creates: environment, files, commands.

A template is never modified, and unknown fields are kept. Parts that daskjob does not change are
not copied either: the pods of a group share them, so no code may modify them.
"""

from __future__ import annotations

from collections.abc import Mapping

from daskjob.core import names
from daskjob.core.command_line import option, words
from daskjob.core.manifests import Manifest
from daskjob.core.observed import Platform
from daskjob.core.spec.pod import PodTemplate

_LEGACY_COMMANDS = {"dask-scheduler": "scheduler", "dask-worker": "worker"}
_ISTIO = "sidecar.istio.io/inject"
_FILES_VOLUME = "daskjob-files"


def pod_spec(template: PodTemplate, platform: Platform, environment: Mapping[str, str]) -> Manifest:
    """Return a template's PodSpec with our variables in every container.

    The caller may modify the PodSpec and its containers, but not the values in them. Our variables
    come first, so that ``$(DASKJOB_ATTEMPT)`` expands in the user's, and never replace one that the
    user set (design §2.2).
    """
    # No deep copy: for a PodSpec of 1,000 workers it would take most of the time of a pass.
    spec: Manifest = {**template.spec}
    if spec.get("containers"):
        spec["containers"] = [{**container} for container in spec["containers"]]
    if isinstance(spec.get("initContainers"), list):
        spec["initContainers"] = [_with_last_lines(one) for one in spec["initContainers"]]
    for container in spec.get("containers") or ():
        _add_environment(container, environment)
        if platform.legacy_commands:
            _modernise(container)
    return spec


def _with_last_lines(container: object) -> object:
    """Return an init container whose status has the end of its log if it fails."""
    if not isinstance(container, dict):
        return container
    return {"terminationMessagePolicy": "FallbackToLogsOnError", **container}


def _add_environment(container: Manifest, environment: Mapping[str, str]) -> None:
    own = [variable for variable in container.get("env") or () if isinstance(variable, dict)]
    taken = {variable.get("name") for variable in own}
    ours = [{"name": n, "value": v} for n, v in environment.items() if n not in taken]
    if ours or own:
        container["env"] = [*ours, *own]


def _modernise(container: Manifest) -> None:
    """Run ``dask-worker`` as ``dask worker``: distributed 2026.6 no longer has the former."""
    for key in ("command", "args"):
        given = container.get(key)
        if given:
            if given[0] in _LEGACY_COMMANDS:
                container[key] = ["dask", _LEGACY_COMMANDS[given[0]], *given[1:]]
            return


def base_labels(platform: Platform, cluster: str, component: names.Component) -> dict[str, str]:
    """Return our labels of every pod."""
    labels = {
        names.LABEL_CLUSTER_NAME: names.label_value(cluster),
        names.LABEL_COMPONENT: str(component),
    }
    return {**labels, _ISTIO: "false"} if platform.istio_excluded else labels


def main_container_annotation(template: PodTemplate, *fallbacks: str) -> dict[str, str]:
    """Return the annotation that names the main container, for kubectl, Flyte and daskjob."""
    main = template.main_container(*fallbacks)
    return {names.ANNOTATION_DEFAULT_CONTAINER: main} if main else {}


def add_files(spec: Manifest, config_map: str) -> None:
    """Add the job's files to every container of a PodSpec, in place.

    They are mounted read-only at ``/daskjob/files`` and appended to the ``PYTHONPATH`` of the user;
    the working directory stays the image's (design §3.1).
    """
    volume = {"name": _FILES_VOLUME, "configMap": {"name": config_map}}
    spec["volumes"] = [*(spec.get("volumes") or ()), volume]
    for container in spec.get("containers") or ():
        mount = {"name": _FILES_VOLUME, "mountPath": names.FILES_PATH, "readOnly": True}
        container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]
        container["env"] = _with_python_path(container.get("env") or [])


def _with_python_path(env: list[Manifest]) -> list[Manifest]:
    for index, variable in enumerate(env):
        if variable.get("name") == "PYTHONPATH" and isinstance(variable.get("value"), str):
            value = (
                f"{variable['value']}:{names.FILES_PATH}" if variable["value"] else names.FILES_PATH
            )
            return [*env[:index], {**variable, "value": value}, *env[index + 1 :]]
        if variable.get("name") == "PYTHONPATH":
            return env
    return [{"name": "PYTHONPATH", "value": names.FILES_PATH}, *env]


def scheduler_host(platform: Platform, cluster: str, namespace: str) -> str:
    """Return ``host:port`` of a cluster's scheduler."""
    if platform.comm:
        return platform.comm
    return f"{names.scheduler_service_name(cluster)}.{namespace}.svc:{names.PORT_COMM}"


def scheduler_address(
    platform: Platform, cluster: str, namespace: str, template: PodTemplate
) -> str:
    """Return the Dask address of a cluster's scheduler; ``tls`` if its arguments select it."""
    secure = any(_uses_tls(words(container)) for container in template.containers)
    return f"{'tls' if secure else 'tcp'}://{scheduler_host(platform, cluster, namespace)}"


def _uses_tls(command_line: list[str]) -> bool:
    if any(word.startswith("--tls-") for word in command_line):
        return True
    return option(command_line, "--protocol") == "tls"


def dashboard_url(
    platform: Platform, cluster: str, namespace: str, template: PodTemplate, port: int
) -> str:
    """Return the URL of a cluster's dashboard, with the prefix in its arguments."""
    host = platform.dashboard or f"{names.scheduler_service_name(cluster)}.{namespace}.svc:{port}"
    prefix = dashboard_prefix(template)
    return f"http://{host}{prefix}/status"


def dashboard_prefix(template: PodTemplate) -> str:
    """Return ``/prefix`` from a ``--dashboard-prefix`` argument; empty if there is none."""
    found = (option(words(c), "--dashboard-prefix").strip("/") for c in template.containers)
    prefix = next(filter(None, found), "")
    return f"/{prefix}" if prefix else ""
