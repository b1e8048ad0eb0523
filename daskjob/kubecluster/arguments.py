"""The arguments of a cluster: what was given, else Dask's configuration, checked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.config

from daskjob.core import names
from daskjob.core.errors import NoSuchFile
from daskjob.core.manifests import Manifest, metadata
from daskjob.core.similar_names import did_you_mean
from daskjob.core.spec.group import MOST_WORKERS
from daskjob.core.warn import warn_user
from daskjob.kubecluster.cluster_names import cluster_name
from daskjob.kubecluster.create_mode import CreateMode
from daskjob.kubecluster.custom_specs import check_cluster, plain
from daskjob.kubecluster.defaults import configured, configured_flag
from daskjob.kubecluster.errors import UnknownArgument, ValidationError
from daskjob.kubecluster.first_generation import cluster_of_template, read_pod
from daskjob.kubecluster.specs import (
    DEFAULT_IMAGE,
    SERVICE_TYPES,
    checked_resources,
    command_words,
    variables,
)

#: Those that a configuration may have too.
KNOWN = (
    "name",
    "namespace",
    "image",
    "n_workers",
    "resources",
    "env",
    "worker_command",
    "port_forward_cluster_ip",
    "create_mode",
    "shutdown_on_close",
    "idle_timeout",
    "resource_timeout",
    "scheduler_service_type",
    "custom_cluster_spec",
    "scheduler_forward_port",
    "comm_forward_port",
    "jupyter",
)
#: Those that are no attributes of a cluster.
_NO_ATTRIBUTES = ("name", "resource_timeout", "custom_cluster_spec", "comm_forward_port")
#: The keys of arguments whose names differ from them.
_OTHER_KEYS = {"n_workers": "count.start", "jupyter": "scheduler-jupyter"}
#: What the base class takes besides.
PASSED_ON = ("scheduler_sync_interval",)
#: What decides in Dask's own automatic scaling; here, the operator does.
_OF_DASKS_ADAPTIVE = (
    "interval",
    "wait_count",
    "target_duration",
    "worker_key",
    "startup_cost",
    "scale_factor",
)


@dataclass(frozen=True, slots=True)
class Arguments:
    """All arguments that make a cluster what it is."""

    name: str
    namespace: str | None
    image: str
    n_workers: int
    resources: Manifest
    #: As Kubernetes has them.
    env: list[Manifest]
    worker_command: list[str]
    port_forward_cluster_ip: bool | None
    create_mode: CreateMode
    #: ``None``: a cluster that is created here is deleted, one that exists is not.
    shutdown_on_close: bool | None
    idle_timeout: int
    resource_timeout: float
    scheduler_service_type: str
    custom_cluster_spec: Manifest | None
    #: Local ports of dashboard and scheduler; 0: the usual ones, or any.
    scheduler_forward_port: int
    comm_forward_port: int
    jupyter: bool
    lease_seconds: int
    #: The arguments that were given, in contrast to configured ones.
    given: frozenset[str]


def resolved(given: Mapping[str, Any]) -> Arguments:
    """Return the arguments of a cluster; ``None`` takes the value of the configuration.

    Raises
    ------
    ValidationError
        A value cannot work; the message names it.
    """
    values = {key: value for key, value in given.items() if value is not None}

    def value(argument: str, key: str = "") -> Any:
        return values[argument] if argument in values else configured(key or _key(argument))

    def flag(argument: str, key: str = "") -> bool | None:
        if argument in values:
            return _checked_flag(argument, values[argument])
        return configured_flag(key or _key(argument))

    def called(argument: str, key: str = "") -> str:
        """Return what messages call a value: the key where the configuration has it."""
        return argument if argument in values else f"kubernetes.{key or _key(argument)}"

    custom = custom_spec(value("custom_cluster_spec")) or _of_template()
    _warn_of_maximum()
    _warn_of_names()
    own_namespace = metadata(custom).get("namespace") if custom else None
    return Arguments(
        name=_name(values, custom),
        namespace=names.checked_namespace(values.get("namespace") or own_namespace)
        or names.checked_namespace(configured("namespace")),
        image=checked_image(value("image"), called("image")),
        n_workers=checked_count(
            called("n_workers", "count.start"), value("n_workers", "count.start")
        ),
        resources=checked_resources(value("resources") or {}),
        env=variables(value("env") or {}),
        worker_command=command_words(value("worker_command")),
        port_forward_cluster_ip=flag("port_forward_cluster_ip"),
        create_mode=create_mode(value("create_mode"), called("create_mode")),
        shutdown_on_close=_shutdown_on_close(values),
        idle_timeout=_whole_seconds(called("idle_timeout"), value("idle_timeout")),
        resource_timeout=_seconds(called("resource_timeout"), value("resource_timeout")),
        scheduler_service_type=_service_type(
            value("scheduler_service_type"), called("scheduler_service_type")
        ),
        custom_cluster_spec=custom,
        scheduler_forward_port=_port(
            called("scheduler_forward_port"), value("scheduler_forward_port")
        ),
        comm_forward_port=_port(called("comm_forward_port"), value("comm_forward_port")),
        jupyter=flag("jupyter", "scheduler-jupyter") or False,
        lease_seconds=checked_count(
            "kubernetes.lease-duration-seconds", configured("lease-duration-seconds")
        ),
        given=frozenset(values),
    )


def _warn_of_maximum() -> None:
    if (maximum := configured("count.max")) is not None:
        warn_user(
            f"kubernetes.count.max={maximum} limits scale_up only: limit a group by "
            "adapt(maximum=...), and a namespace by a ResourceQuota",
            FutureWarning,
        )


def _warn_of_names() -> None:
    """Warn of arguments whose key has another name: such a key, or variable, has no effect."""
    for name, key in _OTHER_KEYS.items():
        for wrong in (name, _key(name)):
            if dask.config.get(f"kubernetes.{wrong}", None) is not None:
                warn_user(f"kubernetes.{wrong} has no effect: the key is kubernetes.{key}")
                break


def _of_template() -> Manifest | None:
    """Return the cluster of a configured pod template of workers: the first generation's."""
    template = configured("worker-template") or configured("worker-template-path")
    if not template:
        return None
    return cluster_of_template(read_pod(template) if isinstance(template, str) else template)


def taken_from(arguments: Arguments) -> dict[str, Any]:
    """Return the arguments that are attributes of the cluster too."""
    return {name: getattr(arguments, name) for name in KNOWN if name not in _NO_ATTRIBUTES}


def known_arguments() -> tuple[str, ...]:
    """Return the names of the arguments that a configuration may have too."""
    return KNOWN


def check_passed_on(more: Mapping[str, object], known: Sequence[str]) -> None:
    """Reject arguments that do not exist, with the one that is similar.

    Raises
    ------
    UnknownArgument
        One does not exist.
    """
    unknown = [name for name in more if name not in PASSED_ON]
    if unknown:
        raise _unknown("KubeCluster", unknown, [*known, *PASSED_ON])


def check_of_adapt(more: Mapping[str, object]) -> None:
    """Reject arguments of ``adapt`` that do not exist; warn of those that only Dask's has.

    Raises
    ------
    UnknownArgument
        One does not exist.
    """
    unknown = [name for name in more if name not in _OF_DASKS_ADAPTIVE]
    if unknown:
        known = ["minimum", "maximum", "worker_group", *_OF_DASKS_ADAPTIVE]
        raise _unknown("adapt", unknown, known)
    if more:
        warn_user(
            f"without effect in adapt: {', '.join(more)}; the operator decides when it scales",
        )


def _unknown(what: str, names: Sequence[str], known: Sequence[str]) -> UnknownArgument:
    found = ", ".join(f"{name!r}{did_you_mean(name, known)}" for name in names)
    return UnknownArgument(f"{what} has no argument {found}")


def _key(argument: str) -> str:
    return argument.replace("_", "-")


def _name(values: Mapping[str, Any], custom: Manifest | None) -> str:
    # A name that is given is meant; a configured spec is for everyone.
    if custom is not None and not ("name" in values and "custom_cluster_spec" not in values):
        named = metadata(custom).get("name")
        if named:
            return cluster_name(named)
    return cluster_name(values["name"] if "name" in values else configured("name"))


def _shutdown_on_close(values: Mapping[str, Any]) -> bool | None:
    """Return whether to delete the cluster at the end; ``None``: if it was created here.

    A configured true is no wish to delete a cluster that exists: dask-kubernetes configures it for
    everyone.
    """
    if "shutdown_on_close" in values:
        return _checked_flag("shutdown_on_close", values["shutdown_on_close"])
    return False if configured_flag("shutdown-on-close") is False else None


def custom_spec(given: object) -> Manifest | None:
    """Return a DaskCluster that was given as a dictionary or as the path of a YAML file.

    Raises
    ------
    ValidationError
        The file cannot be read, or it is no DaskCluster.
    NoSuchFile
        There is no such file.
    """
    if given is None or given == "":
        return None
    if isinstance(given, str | os.PathLike):
        given = _read_file(Path(given))
    given = plain(given)
    if not isinstance(given, dict) or not isinstance(given.get("spec"), dict):
        raise ValidationError("custom_cluster_spec is no DaskCluster: it has no spec")
    if given.get("kind", "DaskCluster") != "DaskCluster":
        raise ValidationError(f"custom_cluster_spec is a {given['kind']}, not a DaskCluster")
    _check_parts(given)
    check_cluster(given)
    return given


def _check_parts(given: Manifest) -> None:
    """Check that the parts that arguments are applied to are mappings, where they exist."""
    parts: list[tuple[str, Any]] = [("metadata", given.get("metadata", {}))]
    for part in ("scheduler", "worker"):
        found = given["spec"].get(part, {})
        parts.append((f"spec.{part}", found))
        if isinstance(found, dict):
            parts += [(f"spec.{part}.{k}", found.get(k, {})) for k in ("spec", "service")]
    for where, found in parts:
        if not isinstance(found, dict):
            raise ValidationError(f"custom_cluster_spec: {where} is {found!r}, not a mapping")


def _read_file(path: Path) -> object:
    import yaml

    try:
        documents = [one for one in yaml.safe_load_all(path.expanduser().read_text()) if one]
    except FileNotFoundError:
        raise NoSuchFile(f"custom_cluster_spec: there is no file {path.absolute()}") from None
    except (OSError, ValueError, RuntimeError, yaml.YAMLError) as error:
        raise ValidationError(f"custom_cluster_spec: {path} cannot be read: {error}") from error
    if len(documents) != 1:
        raise ValidationError(
            f"custom_cluster_spec: {path} has {len(documents)} documents; write one DaskCluster"
        )
    return documents[0]


def create_mode(given: object, called: str = "create_mode") -> CreateMode:
    """Return a create mode from its name or value.

    Raises
    ------
    ValidationError
        There is none of this name.
    """
    if isinstance(given, CreateMode):
        return given
    # That of dask-kubernetes is another class with the same names.
    word = str(getattr(given, "name", given)).upper().replace("-", "_").removeprefix("CREATEMODE.")
    if word not in CreateMode.__members__:
        raise ValidationError(
            f"{called}: {given!r} is not allowed; use one of {', '.join(CreateMode.__members__)}"
        )
    return CreateMode[word]


def checked_count(argument: str, given: object) -> int:
    """Return a number of things.

    Raises
    ------
    ValidationError
        It is no whole number from 0 to the limit.
    """
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= MOST_WORKERS:
        raise ValidationError(
            f"{argument}: {given!r} is not allowed; use a whole number from 0 to {MOST_WORKERS}"
        )
    return given


def checked_bounds(minimum: int | None, maximum: int | None) -> tuple[int, int]:
    """Return the bounds of an automatic scaling; without limits, any number is within them.

    Raises
    ------
    ValidationError
        No number is.
    """
    low = checked_count("minimum", 0 if minimum is None else minimum)
    high = checked_count("maximum", MOST_WORKERS if maximum is None else maximum)
    if high < low:
        raise ValidationError(f"maximum={high} is less than minimum={low}")
    return low, high


def _checked_flag(argument: str, given: object) -> bool:
    if isinstance(given, bool):
        return given
    raise ValidationError(f"{argument}: {given!r} is neither True nor False")


def _text_or_none(argument: str, given: object) -> str | None:
    if given is None or given == "":
        return None
    if isinstance(given, str):
        return given
    raise ValidationError(f"{argument}: {given!r} is no string")


def checked_image(given: object, called: str = "image") -> str:
    """Return the reference of an image.

    Raises
    ------
    ValidationError
        No image can have it.
    """
    if isinstance(given, str) and names.IMAGE_PATTERN.fullmatch(given):
        return given
    raise ValidationError(
        f"{called}: {given!r} is no reference of an image; write one, such as {DEFAULT_IMAGE!r}"
    )


def _service_type(given: object, called: str) -> str:
    if given not in SERVICE_TYPES:
        raise ValidationError(f"{called}: {given!r} is not allowed; use {', '.join(SERVICE_TYPES)}")
    return str(given)


def _port(argument: str, given: object) -> int:
    try:
        number = int(given or 0)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        number = -1
    if not 0 <= number <= 65535:
        raise ValidationError(f"{argument}: {given!r} is no port: use 1 to 65535, or 0 for any")
    return int(number)


def _seconds(argument: str, given: object) -> float:
    from dask.utils import parse_timedelta

    try:
        seconds = float(parse_timedelta(given, default="s"))
    except (TypeError, ValueError, LookupError, AttributeError):
        seconds = -1.0
    if isinstance(given, bool) or seconds <= 0:
        raise ValidationError(f"{argument}: {given!r} is no time; use seconds, or '5 minutes'")
    return seconds


def _whole_seconds(argument: str, given: object) -> int:
    return 0 if given is None or given == 0 else max(round(_seconds(argument, given)), 1)
