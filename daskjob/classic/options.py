"""The options of a classic cluster: arguments, else keys of Dask's configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dask.config

from daskjob.classic.builders import checked_env
from daskjob.classic.first_generation import old_variable
from daskjob.core.errors import UnknownArgument, WrongArgument
from daskjob.core.names import checked_namespace
from daskjob.core.similar_names import did_you_mean

DEPLOY_MODES = ("local", "remote")


def option(key: str, given: Any, default: Any) -> Any:
    """Return an argument; if it is ``None``, the key ``kubernetes.<key>``, else the default.

    A variable of the first generation (``DASK_KUBERNETES_NAME``) counts before the key.
    """
    if given is not None:
        return given
    old = old_variable(key)
    if old is not None:
        return old
    found = dask.config.get(f"kubernetes.{key}", default=None)
    return default if found is None else found


@dataclass(frozen=True)
class Options:
    """The options of one cluster, except templates and credentials."""

    name: str
    namespace: str | None
    n_workers: int
    maximum: int | None
    env: Mapping[str, Any]
    host: str
    port: int
    idle_timeout: str | float | None
    deploy_mode: str
    interface: str | None
    protocol: str
    dashboard_address: str
    service_type: str
    #: How long to wait for the address of a LoadBalancer; 0: without end.
    service_wait_seconds: float
    #: How often to look for the Service, half a second apart.
    name_tries: int
    #: How long the scheduler may take to start.
    start_seconds: float
    #: How long the scheduler continues without its client; 0: without end.
    lease_seconds: float
    service_template: Mapping[str, Any] = field(default_factory=dict)
    budget_template: Mapping[str, Any] = field(default_factory=dict)


def check_arguments(given: Iterable[str], known: Iterable[str]) -> None:
    """Raise ``UnknownArgument`` if the class, and those below it, do not have an argument."""
    for name in given:
        if name not in (names := list(known)):
            near = did_you_mean(name, names)
            raise UnknownArgument(f"KubeCluster has no argument {name!r}{near}")


def options(
    *,
    service_template: Mapping[str, Any],
    budget_template: Mapping[str, Any],
    **given: Any,
) -> Options:
    """Return the options of a cluster from its arguments, the configuration and defaults.

    Raises
    ------
    ValueError
        A value is not allowed.
    """

    def of(key: str, argument: str, default: Any) -> Any:
        return option(key, given.get(argument), default)

    wait, tries = "scheduler-service-wait-timeout", "scheduler-service-name-resolution-retries"
    mode = of("deploy-mode", "deploy_mode", "remote")
    if mode not in DEPLOY_MODES:
        raise WrongArgument(f"Unknown deploy mode {mode!r}: deploy_mode is 'local' or 'remote'")
    return Options(
        name=str(of("name", "name", "dask-{user}-{uuid}")),
        namespace=checked_namespace(of("namespace", "namespace", None)),
        n_workers=whole("n_workers", of("count.start", "n_workers", 0)),
        maximum=of("count.max", "maximum", None),
        env=checked_env(of("env", "env", {})),
        host=of("host", "host", "0.0.0.0"),
        port=whole("port", of("port", "port", 0)),
        idle_timeout=of("idle-timeout", "idle_timeout", None),
        deploy_mode=mode,
        interface=of("interface", "interface", None),
        protocol=of("protocol", "protocol", "tcp://"),
        dashboard_address=of("dashboard_address", "dashboard_address", ":8787"),
        service_type=of("scheduler-service-type", "service_type", "ClusterIP"),
        service_wait_seconds=float(of(wait, "scheduler_service_wait_timeout", 30)),
        name_tries=max(int(of(tries, "scheduler_service_name_resolution_retries", 20)), 1),
        start_seconds=float(of("scheduler-start-timeout", "start_seconds", 600)),
        lease_seconds=float(of("lease-duration", "lease_seconds", 300)),
        service_template=of("scheduler-service-template", "", None) or service_template,
        budget_template=of("scheduler-pdb-template", "", None) or budget_template,
    )


def whole(name: str, value: Any) -> int:
    """Return a number of things.

    Raises
    ------
    WrongArgument
        It is no whole number from 0 on.
    """
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if number < 0:
        raise WrongArgument(f"{name} must be a number from 0 on; found {value!r}")
    return number
