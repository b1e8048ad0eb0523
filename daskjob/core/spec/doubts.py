"""What Kubernetes accepts in a manifest although it is most often a mistake."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from daskjob.core.manifests import Manifest, mapping, mappings
from daskjob.core.quantity import is_quantity, parse_quantity
from daskjob.core.spec.kubernetes_objects import templates

#: More processors than any node has, and less memory than any process needs, in bytes.
_MOST_CPUS, _LEAST_MEMORY = Decimal(10_000), Decimal(2**20)


def doubts(manifest: Manifest) -> list[str]:
    """Return a sentence for each place of a valid manifest that is probably a mistake."""
    return [
        doubt
        for path, kind, spec in templates(manifest)
        if kind == "PodSpec"
        for doubt in _doubts_of(path, spec)
    ]


def _doubts_of(path: str, spec: Manifest) -> Iterator[str]:
    for index, volume in enumerate(mappings(spec.get("volumes"))):
        if set(volume) == {"name"}:
            yield (
                f"{path}.volumes[{index}] names no source, so it is an empty folder; write "
                "emptyDir: {}, configMap, secret or persistentVolumeClaim"
            )
    for index, container in enumerate(mappings(spec.get("containers"))):
        where = f"{path}.containers[{index}]"
        if not container.get("command") and not container.get("args"):
            yield (
                f"{where} has neither command nor args: Kubernetes runs the command of its image, "
                "and `daskjob run` has no image; write args"
            )
        resources = mapping(container.get("resources"))
        for part in ("limits", "requests"):
            for name, value in mapping(resources.get(part)).items():
                if is_quantity(value):
                    yield from _odd_size(f"{where}.resources.{part}.{name}", name, value)


def _odd_size(where: str, name: str, value: object) -> Iterator[str]:
    size, text = parse_quantity(str(value)), str(value)
    if name == "cpu" and size > _MOST_CPUS:
        meant = f"; did you mean {text[:-1]}m?" if text[-1:] in "Mkg" else ""
        yield f"{where}: {text!r} is {size:,f} processors{meant}"
    if name == "memory" and 0 < size < _LEAST_MEMORY:
        meant = f"; did you mean {text[:-1]}Mi?" if text[-1:] == "m" else ""
        meant = f"; did you mean {text}Mi or {text}Gi?" if text.isdigit() else meant
        yield f"{where}: {text!r} is {size.normalize():f} bytes{meant}"
