"""The options of the operator: its command line, with kopf's flags, and the chart's variables.

Users of dask-kubernetes' chart set flags of ``kopf run`` in ``kopfArgs``, so all are accepted; one
without effect here is logged, once.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from daskjob import __version__
from daskjob.controller.logs import LogFormat
from daskjob.controller.namespaces import Namespaces, namespaces_of
from daskjob.controller.probes import METRICS, Address, address_of
from daskjob.core.desired.agent import shortened
from daskjob.core.observed import Platform

ENV_LEGACY_COMMANDS = "DASKJOB_LEGACY_COMMANDS"
ENV_ISTIO_EXCLUDED = "DASKJOB_ISTIO_EXCLUDED"
#: The number of workers of a group that are created at a time, and the seconds between batches.
ENV_WORKER_BATCH_SIZE = "DASKJOB_WORKER_ALLOCATION_SIZE"
ENV_WORKER_BATCH_SECONDS = "DASKJOB_WORKER_ALLOCATION_DELAY"
#: The uid of the operator's pod, from the downward API.
ENV_POD_UID = "DASKJOB_POD_UID"
#: kopf's variable for ``--namespace``.
ENV_NAMESPACE = "KOPF_RUN_NAMESPACE"


@dataclass(frozen=True, slots=True)
class Options:
    """The parsed options of the operator."""

    namespaces: Namespaces
    platform: Platform
    #: The identity of this process in leader election.
    identity: str
    #: Where probes and metrics are served.
    addresses: tuple[Address, ...] = ()
    #: Where kopf serves the results of plugins' own probes.
    plugins_liveness: str = ""
    modules: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    #: Whether to elect a leader among several operators.
    lease: bool = True
    level: int = logging.INFO
    log_format: LogFormat = LogFormat.FULL
    log_reference: str = "object"
    #: Whether errors are logged with tracebacks.
    traces: bool = False
    #: Flags without effect, to be logged.
    remarks: tuple[str, ...] = ()


def parse(words: Sequence[str], environment: Mapping[str, str] = os.environ) -> Options:
    """Return the options of a command line; an invalid one ends the process with 2."""
    parser = _parser()
    given = parser.parse_args(words)
    names = [*given.namespace, environment.get(ENV_NAMESPACE, "")]
    namespaces = namespaces_of(names)
    if given.all_namespaces and not namespaces.everywhere:
        parser.error("give either --namespace or --all-namespaces, not both")
    try:
        platform = _platform(environment)
        addresses = _addresses(given)
        if given.plugins_liveness:
            address_of(given.plugins_liveness)
    except ValueError as error:
        parser.error(str(error))
    return Options(
        namespaces=namespaces,
        platform=platform,
        identity=_identity(environment),
        addresses=addresses,
        plugins_liveness=given.plugins_liveness,
        modules=tuple(given.module),
        paths=tuple(given.paths),
        lease=given.lease,
        level=_level(given),
        log_format=LogFormat(given.log_format.lower()),
        log_reference=given.log_refkey,
        traces=given.debug or given.verbose,
        remarks=tuple(_remarks(given)),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m daskjob.controller",
        description="Run DaskJobs, DaskClusters and their workers on Kubernetes.",
        epilog="Credentials are those of the pod, or of a kubeconfig. "
        f"Variables: {ENV_LEGACY_COMMANDS}, {ENV_ISTIO_EXCLUDED} (true or false), {ENV_POD_UID}.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"daskjob {__version__}")
    add("-A", "--all-namespaces", action="store_true", help="manage all namespaces (default)")
    add(
        "-n",
        "--namespace",
        action="append",
        default=[],
        metavar="NAME",
        help="manage only this namespace; may be repeated, a comma-separated list, or a pattern "
        "such as 'team-*,!team-test' (patterns need watches of the whole cluster)",
    )
    add(
        "-L",
        "--liveness",
        default="",
        metavar="URL",
        help="serve liveness probes at http://HOST:PORT/PATH, and /readyz and /metrics as well",
    )
    add("--metrics", default="", metavar="URL", help="serve at this address too, or only there")
    add(
        "--lease",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="elect a leader with a Lease; only the leader makes changes",
    )
    add("-v", "--verbose", action="store_true", help="log every pass, and tracebacks of errors")
    add("-d", "--debug", action="store_true", help="same as --verbose")
    add("-q", "--quiet", action="store_true", help="log only warnings and errors")
    add("--log-format", choices=[*LogFormat], default="full", type=str.lower)
    add("--log-refkey", default="object", metavar="NAME", help="field of the object in JSON logs")
    add(
        "-m",
        "--module",
        action="append",
        default=[],
        metavar="MODULE",
        help="load kopf handlers from a module, in addition to installed plugins",
    )
    add("paths", nargs="*", metavar="PATH", help="load kopf handlers from a file")
    add(
        "--plugins-liveness",
        default="",
        metavar="URL",
        help="address where kopf serves the results of plugins' own probes",
    )
    ignored = parser.add_argument_group("flags of kopf that are accepted and have no effect")
    add = ignored.add_argument
    add("--standalone", action="store_true")
    add("--log-prefix", action=argparse.BooleanOptionalAction, default=None)
    add("--dev", action="store_true")
    add("-P", "--peering", metavar="NAME")
    add("-p", "--priority", type=int)
    return parser


def _remarks(given: argparse.Namespace) -> list[str]:
    found = []
    if given.standalone:
        found.append("--standalone has no effect: there is no peering; see --no-lease")
    if given.peering or given.priority is not None or given.dev:
        found.append("--peering, --priority and --dev have no effect: a Lease elects the leader")
    if given.log_prefix is not None:
        found.append("--log-prefix has no effect: every line names its object")
    return found


def _level(given: argparse.Namespace) -> int:
    if given.verbose or given.debug:
        return logging.DEBUG
    return logging.WARNING if given.quiet else logging.INFO


def _addresses(given: argparse.Namespace) -> tuple[Address, ...]:
    found = [address_of(given.liveness)] if given.liveness else []
    if given.metrics:
        found.append(address_of(given.metrics, METRICS))
    return tuple(found)


def _platform(environment: Mapping[str, str]) -> Platform:
    return Platform(
        agent=shortened(resources.files("daskjob").joinpath("agent.py").read_text()),
        installer=resources.files("daskjob").joinpath("in_pod.py").read_text(),
        legacy_commands=_truth(environment, ENV_LEGACY_COMMANDS),
        istio_excluded=_truth(environment, ENV_ISTIO_EXCLUDED),
        worker_batch_size=_count(environment, ENV_WORKER_BATCH_SIZE, 0),
        worker_batch_seconds=_count(environment, ENV_WORKER_BATCH_SECONDS, 1),
    )


def _truth(environment: Mapping[str, str], name: str) -> bool:
    """Return a boolean variable; unset or empty: true, as upstream does both."""
    value = environment.get(name, "").strip().lower()
    if value not in ("", "true", "false", "1", "0", "yes", "no"):
        raise ValueError(f"{name}={environment[name]!r} is not allowed; write true or false")
    return value not in ("false", "0", "no")


def _count(environment: Mapping[str, str], name: str, default: int) -> int:
    """Return a numeric variable; unset or empty: the default."""
    value = environment.get(name, "").strip()
    if value and not value.isdecimal():
        raise ValueError(f"{name}={environment[name]!r} is not allowed; write a number, 0 or more")
    return int(value) if value else default


def _identity(environment: Mapping[str, str]) -> str:
    """Return a unique identity; a container that is restarted in its pod gets the same one again.

    So it need not wait until its own Lease expires. The hostname alone is not enough: pods in the
    host's network share it.
    """
    uid = environment.get(ENV_POD_UID, "").strip()
    return f"{socket.gethostname()}_{uid or secrets.token_hex(8)}"
