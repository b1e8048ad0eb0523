"""The volumes of a pod as folders of this machine, and where a container finds them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from daskjob.backends.local.config import Config, Facts, reference_to, value_from
from daskjob.backends.local.translate import Machine, Paths, declared_variables, expanded
from daskjob.core.manifests import Manifest, mapping, mappings

#: Modes of files if the volume names none; those of Secrets are for their owner only.
_FILE_MODE, _SECRET_MODE, _OWNER = 0o644, 0o600, 0o700


def mounts(
    container: Manifest, pod: Manifest, folder: Path, machine: Machine, config: Config
) -> Paths:
    """Return the folders, or the files, that replace a container's volumes, and make them."""
    volumes = {v.get("name"): v for v in pod["spec"].get("volumes") or ()}
    facts = Facts(machine.memory_bytes)
    found: dict[str, Path] = {}
    for mount in container.get("volumeMounts") or ():
        volume = volumes.get(mount.get("name")) or {}
        place = folder / f"volume-{mount.get('name')}"
        if not fill_volume(volume, place, container, pod, config, facts):
            continue
        within = str(mount.get("subPath") or "")
        if mount.get("subPathExpr"):
            variables = declared_variables(container, pod, machine)
            within = expanded(str(mount["subPathExpr"]), variables)
        if within and "emptyDir" in volume:
            (place / within).mkdir(parents=True, exist_ok=True)
        found[str(mount["mountPath"]).rstrip("/")] = place / within
    return Paths({path: place for path, place in found.items() if path})


def fill_volume(
    volume: Manifest, folder: Path, container: Manifest, pod: Manifest, config: Config, facts: Facts
) -> bool:
    """Make the folder of a volume and its files; return whether this machine has such a volume."""
    if "emptyDir" in volume:
        folder.mkdir(exist_ok=True)
        return True
    kinds = [key for key in ("configMap", "secret", "downwardAPI") if key in volume]
    if "projected" in volume:
        sources = mappings(mapping(volume["projected"]).get("sources"))
        mode = mapping(volume["projected"]).get("defaultMode")
    else:
        sources = [{key: volume[key] or {}} for key in kinds]
        mode = mapping(volume.get(kinds[0])).get("defaultMode") if kinds else None
    if not sources:
        return False
    if folder.exists():
        return True  # of a container that was restarted, or of another one of the pod
    folder.mkdir(mode=_OWNER)
    for source in sources:
        for path, data, wanted, is_secret in _files(source, container, pod, config, facts):
            _write(folder, path, data, _mode(wanted, mode, is_secret=is_secret))
    return True


def _files(
    source: Manifest, container: Manifest, pod: Manifest, config: Config, facts: Facts
) -> Iterator[tuple[str, bytes, object, bool]]:
    """Yield path, data, mode and whether it is secret, of every file of a volume's source."""
    for key in ("configMap", "secret"):
        if isinstance(source.get(key), dict):
            data = config.get(*reference_to(key, source[key])) or {}
            items = mappings(source[key].get("items"))
            paths = [(str(i.get("key")), str(i.get("path")), i.get("mode")) for i in items]
            for name, path, mode in paths or [(name, name, None) for name in data]:
                if name in data:
                    yield path, data[name], mode, key == "secret"
    for item in mappings(mapping(source.get("downwardAPI")).get("items")):
        value = value_from(item, container, pod, config, facts)
        yield str(item.get("path")), (value or "").encode(), item.get("mode"), False


def _mode(own: object, default: object, *, is_secret: bool) -> int:
    found = next((mode for mode in (own, default) if isinstance(mode, int)), None)
    if not is_secret:
        return _FILE_MODE if found is None else found & 0o777
    return _SECRET_MODE if found is None else found & _OWNER


def _write(folder: Path, path: str, data: bytes, mode: int) -> None:
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts:
        raise ValueError(f"{path!r} is no path inside a volume")
    target = folder / relative
    target.parent.mkdir(mode=_OWNER, parents=True, exist_ok=True)
    # Created for its owner only: a moment later would be too late for a Secret.
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _SECRET_MODE)
    with open(descriptor, "wb") as file:
        file.write(data)
    target.chmod(mode)
