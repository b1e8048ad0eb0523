"""What the operator is told: its command line, in kopf's words, and the chart's variables.

``kopfArgs`` of the documented chart are flags of ``kopf run``, and those who set them go on to: all
are understood, and one that means nothing here is said to, once.
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
from daskjob.core.observed import Platform

ENV_LEGACY_COMMANDS = "DASKJOB_LEGACY_COMMANDS"
ENV_ISTIO_EXCLUDED = "DASKJOB_ISTIO_EXCLUDED"
#: How many workers of a group are created at a time, and how many seconds apart.
ENV_WORKER_BATCH_SIZE = "DASKJOB_WORKER_ALLOCATION_SIZE"
ENV_WORKER_BATCH_SECONDS = "DASKJOB_WORKER_ALLOCATION_DELAY"
#: The uid of the operator's own pod, by the downward API.
ENV_POD_UID = "DASKJOB_POD_UID"
#: kopf's own variable for ``--namespace``.
ENV_NAMESPACE = "KOPF_RUN_NAMESPACE"


@dataclass(frozen=True, slots=True)
class Options:
    """All that the operator is told."""

    namespaces: Namespaces
    platform: Platform
    #: Who this process is to others that want to lead.
    identity: str
    #: Where probes and numbers are answered.
    addresses: tuple[Address, ...] = ()
    #: Where kopf answers with what plugins' own probes say.
    plugins_liveness: str = ""
    modules: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    #: Whether there may be others, of which one leads.
    lease: bool = True
    level: int = logging.INFO
    log_format: LogFormat = LogFormat.FULL
    log_reference: str = "object"
    #: Whether errors are logged with where they come from.
    traces: bool = False
    #: What was said that means nothing here.
    remarks: tuple[str, ...] = ()


def parse(words: Sequence[str], environment: Mapping[str, str] = os.environ) -> Options:
    """Return the options of a command line; one that is wrong ends the process with 2."""
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
        description="Run DaskJobs, DaskClusters and their workers on a Kubernetes.",
        epilog="Credentials are those of the pod, or of a kubeconfig. "
        f"Variables: {ENV_LEGACY_COMMANDS}, {ENV_ISTIO_EXCLUDED} (true or false), {ENV_POD_UID}.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"daskjob {__version__}")
    add("-A", "--all-namespaces", action="store_true", help="look at all namespaces; the default")
    add(
        "-n",
        "--namespace",
        action="append",
        default=[],
        metavar="NAME",
        help="look at this namespace alone; may be repeated, a list with commas, or a pattern "
        "such as 'team-*,!team-test' (patterns watch the whole cluster, and look at their part)",
    )
    add(
        "-L",
        "--liveness",
        default="",
        metavar="URL",
        help="answer liveness probes at http://HOST:PORT/PATH; /readyz and /metrics beside it",
    )
    add("--metrics", default="", metavar="URL", help="answer at this address too, or only there")
    add(
        "--lease",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="make passes only while holding the Lease that all operators share",
    )
    add("-v", "--verbose", action="store_true", help="log every pass, and where errors come from")
    add("-d", "--debug", action="store_true", help="the same as --verbose")
    add("-q", "--quiet", action="store_true", help="log warnings and errors alone")
    add("--log-format", choices=[*LogFormat], default="full", type=str.lower)
    add("--log-refkey", default="object", metavar="NAME", help="the object's field in JSON")
    add(
        "-m",
        "--module",
        action="append",
        default=[],
        metavar="MODULE",
        help="load kopf handlers from a module, as installed plugins are",
    )
    add("paths", nargs="*", metavar="PATH", help="load kopf handlers from a file")
    add(
        "--plugins-liveness",
        default="",
        metavar="URL",
        help="where kopf answers with what plugins' own probes say",
    )
    ignored = parser.add_argument_group("understood and ignored, as kopf's flags that others set")
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
        found.append("--standalone means nothing here: there is no peering, but --no-lease")
    if given.peering or given.priority is not None or given.dev:
        found.append("--peering, --priority and --dev mean nothing here: a Lease says who leads")
    if given.log_prefix is not None:
        found.append("--log-prefix means nothing here: every line names its object")
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
        agent=resources.files("daskjob").joinpath("agent.py").read_text(),
        legacy_commands=_truth(environment, ENV_LEGACY_COMMANDS),
        istio_excluded=_truth(environment, ENV_ISTIO_EXCLUDED),
        worker_batch_size=_count(environment, ENV_WORKER_BATCH_SIZE, 0),
        worker_batch_seconds=_count(environment, ENV_WORKER_BATCH_SECONDS, 1),
    )


def _truth(environment: Mapping[str, str], name: str) -> bool:
    """Return a variable's value; absent or empty: yes, as upstream has both."""
    word = environment.get(name, "").strip().lower()
    if word not in ("", "true", "false", "1", "0", "yes", "no"):
        raise ValueError(f"{name}={environment[name]!r} is not allowed; write true or false")
    return word not in ("false", "0", "no")


def _count(environment: Mapping[str, str], name: str, default: int) -> int:
    """Return a variable's number; absent or empty: the default."""
    word = environment.get(name, "").strip()
    if word and not word.isdecimal():
        raise ValueError(f"{name}={environment[name]!r} is not allowed; write a number, 0 or more")
    return int(word) if word else default


def _identity(environment: Mapping[str, str]) -> str:
    """Return a name that nobody else has, and that a container started again in its pod has again.

    Then it need not wait until its own Lease has run out. A host's name alone would not do: pods in
    the host's network share it.
    """
    uid = environment.get(ENV_POD_UID, "").strip()
    return f"{socket.gethostname()}_{uid or secrets.token_hex(8)}"
