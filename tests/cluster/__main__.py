"""A native Kubernetes from the command line: ``python -m tests.cluster up``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time

from tests.cluster import images
from tests.cluster.audit import AuditLog, table
from tests.cluster.binaries import binary, build_all
from tests.cluster.cache import say
from tests.cluster.native import NativeCluster, NotUp, clusters
from tests.cluster.packages import Missing, ensure_packages
from tests.cluster.providers import Native
from tests.cluster.runtime import build_runtime

#: The default cluster of commands.
DEFAULT = os.environ.get("DASKJOB_CLUSTER_NAME", "dev")


def main() -> int:
    """Run the command line; return the exit code."""
    arguments = _parser().parse_args()
    try:
        arguments.command(arguments)
    except (Missing, NotUp, images.BuildFailed) as error:
        say(f"{type(error).__name__}: {error}")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--name", default=DEFAULT, help="which cluster (%(default)s)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, summary in (
        ("up", _up, "start the cluster, unless it is running"),
        ("down", _down, "stop it and remove everything"),
        ("status", _status, "list running clusters and components"),
        ("env", _env, 'print lines for a shell: eval "$(make cluster-env)"'),
        ("load-image", _load_image, "build an image of the project and load it into the node"),
        ("fake-nodes", _fake_nodes, "add fake nodes, without machines behind them"),
        ("audit", _audit, "count the requests to the API server, by user, verb and resource"),
        ("tools", _tools, "build every program and image that clusters need"),
    ):
        one = commands.add_parser(name, help=summary)
        one.set_defaults(command=command)
        if name == "load-image":
            one.add_argument("image", choices=images.NAMES)
        if name == "fake-nodes":
            one.add_argument("count", type=int, metavar="N")
    return parser


def _up(arguments: argparse.Namespace) -> None:
    started = time.monotonic()
    cluster = NativeCluster(arguments.name)
    cluster.up()
    say(f"Cluster {cluster.name} is ready after {time.monotonic() - started:.1f} s.")
    say(f"  kubectl --kubeconfig {cluster.kubeconfig} get nodes")


def _down(arguments: argparse.Namespace) -> None:
    NativeCluster(arguments.name).down()
    say(f"Cluster {arguments.name} is removed.")


def _status(arguments: argparse.Namespace) -> None:
    del arguments
    for cluster in clusters():
        print(f"{cluster.name}: {'running' if cluster.running else 'not running'}")
        print(f"  kubeconfig {cluster.kubeconfig}")
        for part in cluster.parts():
            print(f"  {part.name:25} pid {part.pid:<8} {part.memory_bytes / 2**20:6.0f} MiB")


def _env(arguments: argparse.Namespace) -> None:
    cluster = _running(arguments)
    folders = [str(binary(program).parent) for program in ("kubectl", "helm")]
    print(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}")
    print(f"export PATH={shlex.quote(':'.join(folders))}:$PATH")


def _load_image(arguments: argparse.Namespace) -> None:
    image = images.image(arguments.image)
    _running(arguments).load_image(image)
    print(image.reference)


def _fake_nodes(arguments: argparse.Namespace) -> None:
    _running(arguments)
    Native(arguments.name).fake_nodes(arguments.count)


def _audit(arguments: argparse.Namespace) -> None:
    print(table(AuditLog(_running(arguments).platform.audit_log).since(0)))


def _tools(arguments: argparse.Namespace) -> None:
    del arguments
    ensure_packages()
    build_all()
    build_runtime()
    images.pause()
    for name in images.NAMES:
        images.image(name)


def _running(arguments: argparse.Namespace) -> NativeCluster:
    cluster = NativeCluster(arguments.name)
    if not cluster.running:
        raise NotUp(f"cluster {arguments.name} is not running; start it with: make cluster")
    return cluster


if __name__ == "__main__":
    sys.exit(main())
