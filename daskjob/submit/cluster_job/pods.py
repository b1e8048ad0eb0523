"""What all pods of a job have: the security that clusters ask for, where they run, mounts."""

from __future__ import annotations

from collections.abc import Sequence

from daskjob.core import names
from daskjob.core.manifests import Manifest, mapping, mappings
from daskjob.submit.cluster_job.parts import Part
from daskjob.submit.settings.items import Mount, Source, Toleration
from daskjob.submit.settings.sources import WrongSettings
from daskjob.submit.settings.table import Settings

#: The value of ``run-as-user`` for the user of the image.
IMAGES_USER = "image"
#: Where any user may write; a user that the image does not know has no home.
_HOME = "/tmp"


def restrict(part: Part, settings: Settings) -> None:
    """Make a pod meet the Pod Security standard "restricted", in place."""
    user = settings.run_as_user
    pod: Manifest = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if user and user != IMAGES_USER:
        # fsGroup: volumes belong to root without it.
        pod |= {
            "runAsUser": int(user),
            "fsGroup": int(user),
            "fsGroupChangePolicy": "OnRootMismatch",
        }
    part.spec["securityContext"] = pod
    part.container["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    # Neither the script nor tasks need the API server.
    part.spec["automountServiceAccountToken"] = bool(settings.service_account)
    # A Service named "dask" would set DASK_PORT, which Dask reads as configuration.
    part.spec["enableServiceLinks"] = False


def home(settings: Settings) -> dict[str, str]:
    """Return the variables of a user that the image may not know, for ``~`` and getpass."""
    if settings.run_as_user in (None, IMAGES_USER):
        return {}
    return {"HOME": _HOME, "USER": "dask"}


def add_user(part: Part, settings: Settings) -> None:
    """Set the user of a manifest's pod, in place."""
    if settings.run_as_user is None:
        return
    context = {**mapping(part.spec.get("securityContext"))}
    context.pop("runAsUser", None)
    if settings.run_as_user != IMAGES_USER:
        context["runAsUser"] = int(settings.run_as_user)
    part.spec["securityContext"] = context


def add_placement(part: Part, settings: Settings) -> None:
    """Set where a pod runs, and as whom, in place."""
    spec = part.spec
    if settings.node_selector:
        spec["nodeSelector"] = {**mapping(spec.get("nodeSelector")), **settings.node_selector}
    if settings.tolerations:
        added = [_toleration(item) for item in settings.tolerations]
        kept = [item for item in spec.get("tolerations") or () if item not in added]
        spec["tolerations"] = [*kept, *added]
    if settings.image_pull_secrets:
        added = [{"name": name} for name in settings.image_pull_secrets]
        kept = [item for item in spec.get("imagePullSecrets") or () if item not in added]
        spec["imagePullSecrets"] = [*kept, *added]
    if settings.service_account:
        spec["serviceAccountName"] = settings.service_account
    if settings.priority_class:
        spec["priorityClassName"] = settings.priority_class


def _toleration(item: Toleration) -> Manifest:
    found: Manifest = {"key": item.key, "operator": "Exists"}
    if item.value is not None:
        found = {"key": item.key, "operator": "Equal", "value": item.value}
    return {**found, "effect": item.effect} if item.effect else found


def add_mounts(part: Part, mounts: Sequence[Mount]) -> None:
    """Mount volumes into all containers of a pod, in place.

    Raises
    ------
    WrongSettings
        A container of a manifest has another volume at the same path.
    """
    if not mounts:
        return
    spec = part.spec
    volumes = {str(item.get("name")): item for item in mappings(spec.get("volumes"))}
    for mount in mounts:
        name = _volume_name(mount)
        volumes[name] = {"name": name, **_source(mount)}
    spec["volumes"] = list(volumes.values())
    for container in mappings(spec.get("containers")):
        own = mappings(container.get("volumeMounts"))
        taken = {str(item.get("mountPath")).rstrip("/") for item in own}
        for mount in mounts:
            if mount.path in taken:
                raise WrongSettings(
                    f"--mount {mount}: the {part.role} has another volume at {mount.path}; write "
                    "another path"
                )
        container["volumeMounts"] = [*own, *(_mounted(mount) for mount in mounts)]


def _volume_name(mount: Mount) -> str:
    # A claim that is mounted twice is one volume; a volume's name has no dots.
    plain = f"{mount.source}-{mount.name}".replace(".", "-")
    return names.shortened(plain) if "." not in mount.name else _distinct(mount, plain)


def _distinct(mount: Mount, plain: str) -> str:
    """Return a name that differs from that of an object with "-" in the place of "."."""
    import hashlib

    digest = hashlib.sha256(mount.name.encode()).hexdigest()[:8]
    return f"{plain[:54].rstrip('-')}-{digest}"


def _source(mount: Mount) -> Manifest:
    match mount.source:
        case Source.PVC:
            return {"persistentVolumeClaim": {"claimName": mount.name}}
        case Source.SECRET:
            return {"secret": {"secretName": mount.name}}
        case Source.CONFIG_MAP:
            return {"configMap": {"name": mount.name}}


def _mounted(mount: Mount) -> Manifest:
    found: Manifest = {"name": _volume_name(mount), "mountPath": mount.path}
    return {**found, "readOnly": True} if mount.read_only else found
