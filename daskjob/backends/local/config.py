"""ConfigMaps and Secrets that a job's file has beside the job: variables, what is missing.

The values stay in memory; only mounted ones are written, to the run's scratch folder.
"""

from __future__ import annotations

import base64
import math
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from daskjob.core.errors import FieldError
from daskjob.core.manifests import Manifest, mapping, mappings, metadata
from daskjob.core.quantity import parse_quantity

#: Field of a pod or container that refers to a ConfigMap or a Secret → kind, and field of its name.
_KINDS = {
    "configMap": ("ConfigMap", "name"),
    "configMapRef": ("ConfigMap", "name"),
    "configMapKeyRef": ("ConfigMap", "name"),
    "secret": ("Secret", "secretName"),
    "secretRef": ("Secret", "name"),
    "secretKeyRef": ("Secret", "name"),
}
_MAP_FIELD = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]")


@dataclass(frozen=True, slots=True)
class Missing(FieldError):
    """A reference to a ConfigMap, a Secret or a key that does not exist."""

    def __str__(self) -> str:
        """Return the place, the reason in Kubernetes' word, and what to do."""
        return f"{self.path}: ConfigMissing: {self.allowed}"


@dataclass(frozen=True, slots=True)
class Config:
    """The data of ConfigMaps and Secrets, by kind and name."""

    data: Mapping[tuple[str, str], Mapping[str, bytes]] = field(default_factory=dict, repr=False)

    def get(self, kind: str, name: str) -> Mapping[str, bytes] | None:
        """Return the data of an object; ``None`` if it does not exist."""
        return self.data.get((kind, name))


@dataclass(frozen=True, slots=True)
class Facts:
    """What downward fields of this machine hold."""

    memory_bytes: int
    processors: int = field(default_factory=lambda: os.cpu_count() or 1)


def config_of(manifests: Iterable[Manifest], namespace: str = "") -> Config:
    """Return the data of the ConfigMaps and Secrets that a job in a namespace finds."""
    found: dict[tuple[str, str], Mapping[str, bytes]] = {}
    for manifest in manifests:
        meta = metadata(manifest)
        here = meta.get("namespace") or namespace or "default"
        if here == (namespace or "default"):
            found[str(manifest.get("kind")), str(meta.get("name"))] = data_of(manifest)
    return Config(found)


def data_of(manifest: Manifest) -> dict[str, bytes]:
    """Return the data of a ConfigMap or a Secret."""
    plain, encoded = ("stringData", "data")
    if manifest.get("kind") == "ConfigMap":
        plain, encoded = ("data", "binaryData")
    found = {key: _decoded(text) for key, text in (manifest.get(encoded) or {}).items()}
    return found | {key: text.encode() for key, text in (manifest.get(plain) or {}).items()}


def _decoded(text: str | None) -> bytes:
    return base64.b64decode((text or "").replace("\n", ""))


# What is missing


def missing(spec: Manifest, path: str, config: Config) -> Iterator[Missing]:
    """Yield what a PodSpec refers to and the file does not have; optional references may miss."""
    for index, volume in enumerate(mappings(spec.get("volumes"))):
        where = f"{path}.volumes[{index}]"
        yield from _missing_sources(volume, where, config)
        sources = mappings(mapping(volume.get("projected")).get("sources"))
        for number, source in enumerate(sources):
            yield from _missing_sources(source, f"{where}.projected.sources[{number}]", config)
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(mappings(spec.get(kind))):
            where = f"{path}.{kind}[{index}]"
            for number, source in enumerate(mappings(container.get("envFrom"))):
                yield from _missing_sources(source, f"{where}.envFrom[{number}]", config)
            for number, variable in enumerate(mappings(container.get("env"))):
                place = f"{where}.env[{number}].valueFrom"
                yield from _missing_sources(mapping(variable.get("valueFrom")), place, config)


def _missing_sources(holder: Manifest, path: str, config: Config) -> Iterator[Missing]:
    for key, reference in holder.items():
        if key not in _KINDS or not isinstance(reference, dict) or reference.get("optional"):
            continue
        kind, name = reference_to(key, reference)
        data = config.get(kind, name)
        if data is None:
            advice = f"add it to the file as a document of its own (kind: {kind})"
            if known := sorted(n for k, n in config.data if k == kind):
                advice += f"; it has {', '.join(known)}"
            yield Missing(
                f"{path}.{key}", name, f"there is no {kind} {name!r} in the file; {advice}"
            )
            continue
        wanted = [str(item.get("key")) for item in mappings(reference.get("items"))]
        wanted += [str(reference["key"])] if reference.get("key") else []
        for absent in [word for word in wanted if word not in data]:
            known_keys = f"it has {', '.join(sorted(data))}" if data else "it is empty"
            text = f"the {kind} {name!r} has no key {absent!r}; {known_keys}"
            yield Missing(f"{path}.{key}", absent, text)


def reference_to(key: str, reference: Manifest) -> tuple[str, str]:
    """Return kind and name of the object to which a field of a pod refers."""
    kind, name_key = _KINDS[key]
    # A projected Secret has "name" where a volume has "secretName".
    return kind, str(reference.get(name_key) or reference.get("name") or "")


# Variables


def variables_from(container: Manifest, config: Config) -> dict[str, str]:
    """Return the variables of ``envFrom``; a later source replaces an earlier one."""
    found: dict[str, str] = {}
    for source in mappings(container.get("envFrom")):
        for key, reference in source.items():
            if key in _KINDS and isinstance(reference, dict):
                data = config.get(*reference_to(key, reference)) or {}
                prefix = str(source.get("prefix") or "")
                found |= {prefix + name: os.fsdecode(value) for name, value in data.items()}
    # Binary data is for volumes: no variable can hold a NUL character.
    return {n: value for n, value in found.items() if n and "=" not in n and "\0" not in value}


def value_from(
    source: Manifest, container: Manifest, pod: Manifest, config: Config, facts: Facts
) -> str | None:
    """Return the value of a variable's ``valueFrom``; ``None`` if the variable is not set."""
    for key in ("configMapKeyRef", "secretKeyRef"):
        if isinstance(source.get(key), dict):
            data = config.get(*reference_to(key, source[key])) or {}
            value = data.get(str(source[key].get("key")))
            return None if value is None else os.fsdecode(value)
    if isinstance(source.get("fieldRef"), dict):
        return field_of(str(source["fieldRef"].get("fieldPath") or ""), pod)
    if isinstance(source.get("resourceFieldRef"), dict):
        return _resource(source["resourceFieldRef"], container, pod, facts)
    return None


def field_of(path: str, pod: Manifest) -> str | None:
    """Return a field of a pod, as the downward API does; ``None`` for one without a value here."""
    meta, spec = metadata(pod), mapping(pod.get("spec"))
    if match := _MAP_FIELD.fullmatch(path):
        return str(mapping(meta.get(match[1])).get(match[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        items = sorted(mapping(meta.get(path.removeprefix("metadata."))).items())
        return "\n".join(f'{key}="{value}"' for key, value in items)
    known = {
        "spec.nodeName": platform.node() or "localhost",
        "spec.serviceAccountName": str(spec.get("serviceAccountName") or "default"),
        **dict.fromkeys(("status.podIP", "status.podIPs"), "127.0.0.1"),
        **dict.fromkeys(("status.hostIP", "status.hostIPs"), "127.0.0.1"),
    }
    if path in known:
        return known[path]
    value = meta.get(path.removeprefix("metadata.")) if path.startswith("metadata.") else None
    return value if isinstance(value, str) else None


def _resource(source: Manifest, container: Manifest, pod: Manifest, facts: Facts) -> str:
    """Return a limit or request of a container; without a limit, what the machine has."""
    named = source.get("containerName")
    others = mappings(mapping(pod.get("spec")).get("containers"))
    container = next((c for c in others if named and c.get("name") == named), container)
    part, _, name = str(source.get("resource") or "").partition(".")
    resources = mapping(container.get("resources"))
    limits, requests = mapping(resources.get("limits")), mapping(resources.get("requests"))
    given = limits.get(name) if part == "limits" else requests.get(name, limits.get(name))
    if given is None and part == "limits":
        given = {"cpu": facts.processors, "memory": facts.memory_bytes}.get(name)
    divisor = parse_quantity(str(source.get("divisor") or 1)) or Decimal(1)
    return str(math.ceil(parse_quantity(str(given or 0)) / divisor))
