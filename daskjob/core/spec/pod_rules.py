"""What Kubernetes rejects in a pod although each field has the right type.

The API server reports such a mistake only when a pod is created, after a job was accepted. Only for
users' files, and only rules that hold in every supported Kubernetes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

from daskjob.core.errors import FieldError
from daskjob.core.manifests import Manifest, mapping, mappings
from daskjob.core.quantity import is_quantity, parse_quantity

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_RULE = "write 1 to 63 characters: lower-case letters, digits and '-'"
_CHOICES = {
    "imagePullPolicy": ("Always", "IfNotPresent", "Never"),
    "terminationMessagePolicy": ("File", "FallbackToLogsOnError"),
    "restartPolicy": ("Always", "OnFailure", "Never"),
    "dnsPolicy": ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
    "operator": ("Exists", "Equal"),
    "effect": ("NoSchedule", "PreferNoSchedule", "NoExecute"),
    "protocol": ("TCP", "UDP", "SCTP"),
}


def pod_mistakes(spec: Manifest, path: str) -> Iterator[FieldError]:
    """Yield what Kubernetes rejects in a PodSpec, beside fields of a wrong type."""
    yield from _choices(spec, ("restartPolicy", "dnsPolicy"), path)
    volumes = mappings(spec.get("volumes"))
    yield from _volume_mistakes(volumes, f"{path}.volumes")
    names = [str(volume["name"]) for volume in volumes if volume.get("name")]
    for index, toleration in enumerate(mappings(spec.get("tolerations"))):
        yield from _choices(toleration, ("operator", "effect"), f"{path}.tolerations[{index}]")
    for part in ("initContainers", "containers"):
        for index, container in enumerate(mappings(spec.get(part))):
            yield from _container_mistakes(container, f"{path}.{part}[{index}]", names)


def _choices(fields: Manifest, keys: Sequence[str], path: str) -> Iterator[FieldError]:
    for key in keys:
        value, allowed = fields.get(key), _CHOICES[key]
        if isinstance(value, str) and value not in ("", *allowed):
            yield FieldError(f"{path}.{key}", value, f"write one of {', '.join(allowed)}")


def _volume_mistakes(volumes: Sequence[Manifest], path: str) -> Iterator[FieldError]:
    seen = set()
    for index, volume in enumerate(volumes):
        where, name = f"{path}[{index}]", volume.get("name")
        if isinstance(name, str):
            if not _LABEL.fullmatch(name):
                yield FieldError(f"{where}.name", name, _LABEL_RULE)
            elif name in seen:
                allowed = "write a name that no other volume of the pod has"
                yield FieldError(f"{where}.name", name, allowed)
            seen.add(name)
        sources = [key for key in volume if key != "name" and volume[key] is not None]
        if len(sources) > 1:
            yield FieldError(where, sources, "write one source for a volume")


def _container_mistakes(
    container: Manifest, path: str, volumes: Sequence[str]
) -> Iterator[FieldError]:
    name = container.get("name")
    if isinstance(name, str) and name and not _LABEL.fullmatch(name):
        yield FieldError(f"{path}.name", name, _LABEL_RULE)
    yield from _choices(container, ("imagePullPolicy", "terminationMessagePolicy"), path)
    for index, variable in enumerate(mappings(container.get("env"))):
        yield from _variable_mistakes(variable, f"{path}.env[{index}]")
    yield from _resource_mistakes(mapping(container.get("resources")), f"{path}.resources")
    yield from _mount_mistakes(mappings(container.get("volumeMounts")), path, volumes)
    for index, port in enumerate(mappings(container.get("ports"))):
        where, number = f"{path}.ports[{index}]", port.get("containerPort")
        yield from _choices(port, ("protocol",), where)
        if isinstance(number, int) and not 0 < number < 65536:
            yield FieldError(f"{where}.containerPort", number, "write a port from 1 to 65535")


def _variable_mistakes(variable: Manifest, path: str) -> Iterator[FieldError]:
    source = variable.get("valueFrom")
    if not isinstance(source, dict):
        return
    kinds = [key for key in source if source[key] is not None]
    if variable.get("value"):
        allowed = "write either value or valueFrom"
        yield FieldError(f"{path}.valueFrom", source, allowed)
    elif len(kinds) > 1:
        yield FieldError(f"{path}.valueFrom", kinds, "write one source for a variable")
    elif not kinds:
        allowed = "write one of configMapKeyRef, secretKeyRef, fieldRef, resourceFieldRef"
        yield FieldError(f"{path}.valueFrom", source, allowed)


def _resource_mistakes(resources: Manifest, path: str) -> Iterator[FieldError]:
    limits = mapping(resources.get("limits"))
    for part in ("limits", "requests"):
        for name, value in mapping(resources.get(part)).items():
            where = f"{path}.{part}.{name}"
            if not is_quantity(value):
                continue  # reported as a value of a wrong type
            if parse_quantity(str(value)) < 0:
                yield FieldError(where, value, "write a quantity of at least 0")
            limit = limits.get(name)
            if part == "limits" or not is_quantity(limit) or limit is None:
                continue
            request, most = parse_quantity(str(value)), parse_quantity(str(limit))
            if "/" in name and request != most:
                yield FieldError(where, value, f"write a request that is the limit, {limit}")
            elif request > most:
                yield FieldError(where, value, f"write a request of at most the limit, {limit}")


def _mount_mistakes(
    mounts: Sequence[Manifest], path: str, volumes: Sequence[str]
) -> Iterator[FieldError]:
    seen = set()
    for index, mount in enumerate(mounts):
        where, name, place = (
            f"{path}.volumeMounts[{index}]",
            mount.get("name"),
            mount.get("mountPath"),
        )
        if isinstance(name, str) and name not in volumes:
            near = difflib.get_close_matches(name, volumes, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            yield FieldError(f"{where}.name", name, f"{hint}the pod has no such volume")
        if isinstance(place, str) and place in seen:
            yield FieldError(f"{where}.mountPath", place, "write a path that no other mount has")
        if isinstance(place, str):
            seen.add(place)
