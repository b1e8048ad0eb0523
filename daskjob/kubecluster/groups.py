"""The worker groups of a cluster: their parts, references, and autoscalers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from typing import Any, Protocol

from daskjob.core import names
from daskjob.core.errors import NotFound
from daskjob.core.manifests import (
    Manifest,
    ObjectRef,
    controller_uid,
    mapping,
    mappings,
    object_ref,
)
from daskjob.kubecluster.arguments import checked_count, checked_image
from daskjob.kubecluster.custom_specs import check_worker_part, plain
from daskjob.kubecluster.errors import ValidationError
from daskjob.kubecluster.specs import make_worker_spec
from daskjob.kubecluster.watch import ClusterWatch

#: The documented default of an additional group.
DEFAULT_WORKERS = 3
#: How long the first list of a cluster's groups may take.
LIST_SECONDS = 5.0


class LikeCluster(Protocol):
    """What an additional group takes from its cluster."""

    image: str
    resources: Manifest
    worker_command: list[str]
    env: Any


def worker_part(
    cluster: LikeCluster,
    *,
    n_workers: int | None,
    image: str | None,
    resources: Any,
    worker_command: Any,
    env: Any,
    custom_spec: Manifest | None,
) -> Manifest:
    """Return the worker part of an additional group.

    Raises
    ------
    ValidationError
        The custom spec is no worker part.
    """
    if custom_spec is None:
        return make_worker_spec(
            image=cluster.image if image is None else checked_image(image),
            n_workers=checked_count(
                "n_workers", DEFAULT_WORKERS if n_workers is None else n_workers
            ),
            resources=cluster.resources if resources is None else resources,
            env=cluster.env if env is None else env,
            worker_command=worker_command or cluster.worker_command,
        )
    custom_spec = plain(custom_spec)
    if not isinstance(custom_spec, dict) or not mappings(
        mapping(custom_spec.get("spec")).get("containers")
    ):
        raise ValidationError(
            "custom_spec is no worker part: write {'replicas': 2, 'spec': {'containers': [...]}}, "
            "as make_worker_spec returns it"
        )
    check_worker_part(custom_spec)
    if n_workers is not None:
        custom_spec["replicas"] = checked_count("n_workers", n_workers)
    return custom_spec


def checked_group_name(given: str | None) -> str:
    """Return the name of an additional group; a new one if none is given.

    Raises
    ------
    ValidationError
        It cannot be a name of a group, or is the default one's.
    """
    chosen = f"group-{secrets.token_hex(3)}" if given is None else given
    is_name = (
        isinstance(chosen, str)
        and len(chosen) <= names.NAME_LIMIT
        and names.GROUP_PATTERN.fullmatch(chosen)
    )
    if not is_name or chosen == names.DEFAULT_GROUP:
        raise ValidationError(
            f"{chosen!r} cannot be the name of a worker group: {names.GROUP_RULE}, and not "
            f"{names.DEFAULT_GROUP}"
        )
    return chosen


def requested_workers(watch: ClusterWatch | None, connected: set[str]) -> set[str]:
    """Return the connected workers of all groups, and a placeholder for each missing one."""
    found = set(connected)
    if watch is None:
        return found
    for group, count in watch.replicas().items():
        prefix = f"{names.group_name(watch.ref.name, group)}-worker-"
        present = sum(name.startswith(prefix) for name in connected)
        found |= {f"{prefix}{number}" for number in range(present, count)}
    return found


def body_of_group(workers: int) -> Manifest:
    """Return the patch that sets the number of workers of a group."""
    return {"spec": {"worker": {"replicas": workers}}}


async def ref_of_group(watch: ClusterWatch, group: str, seconds: float) -> ObjectRef:
    """Return a group's reference; one that the operator has yet to make is awaited.

    Raises
    ------
    NotFound
        There is none; the message names the existing ones.
    """
    clock = asyncio.get_running_loop().time
    is_awaited = group in watch.declared_groups()
    # The first list of groups may be on its way.
    listing = 0.0 if watch.groups else min(seconds, LIST_SECONDS)
    give_up = clock() + (seconds if is_awaited else listing)
    while (found := watch.group(group)) is None:
        if clock() >= give_up:
            existing = ", ".join(watch.names_of_groups()) or names.DEFAULT_GROUP
            raise NotFound(
                f"cluster {watch.ref.name} has no worker group {group!r}; existing ones: {existing}"
            )
        await watch.change(give_up - clock())
    return object_ref(found)


async def check_group(watch: ClusterWatch, group: str) -> None:
    """Check that a cluster has a group, or that its spec does.

    Raises
    ------
    NotFound
        There is none; the message names the existing ones.
    """
    if group not in watch.declared_groups():
        await ref_of_group(watch, group, LIST_SECONDS)


def autoscalers_of(
    autoscalers: Iterable[Manifest], cluster: ObjectRef, group: str
) -> list[ObjectRef]:
    """Return the autoscalers of a group that do not follow the cluster's spec."""
    default = names.group_name(cluster.name)
    wanted = names.group_name(cluster.name, group)
    found = []
    for autoscaler in autoscalers:
        spec = mapping(autoscaler.get("spec"))
        is_of_group = (spec.get("workerGroup") or default) == wanted
        ours = spec.get("cluster") == cluster.name and is_of_group
        if ours and controller_uid(autoscaler) != cluster.uid:
            found.append(object_ref(autoscaler))
    return found
