"""The addresses of a native cluster, and its only link to the machine.

A cluster has a network namespace without a default route: pods cannot reach addresses outside the
cluster. A pair of virtual interfaces (veth) connects it to the machine, which reaches pods and
Services over two routes that are deleted with the pair.

The slot S of a cluster determines its networks: 10.243.S.0/30 for the link, 10.244.S.0/24 for pods,
and a /20 from 10.100.0.0 on for Services.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from tests.cluster.packages import program

SLOTS = 64


@dataclass(frozen=True, slots=True)
class Network:
    """The addresses of the cluster in a slot."""

    slot: int

    @property
    def interface(self) -> str:
        """The machine's end of the link."""
        return f"daskjob{self.slot}"

    @property
    def machine(self) -> str:
        """The machine's address on the link."""
        return f"10.243.{self.slot}.1"

    @property
    def node(self) -> str:
        """The node's address; its API server listens there."""
        return f"10.243.{self.slot}.2"

    @property
    def pods(self) -> str:
        """The network of pods."""
        return f"10.244.{self.slot}.0/24"

    @property
    def gateway(self) -> str:
        """The bridge's address in the pods' network; the cluster's DNS listens there."""
        return f"10.244.{self.slot}.1"

    @property
    def services(self) -> str:
        """The network of Services."""
        return f"10.{100 + self.slot // 16}.{self.slot % 16 * 16}.0/20"

    @property
    def kubernetes_service(self) -> str:
        """The address of the Service ``kubernetes``: the first of its network."""
        return f"10.{100 + self.slot // 16}.{self.slot % 16 * 16}.1"


def connect(network: Network, pid: int) -> None:
    """Connect the namespaces of this process to the machine, and create the pods' bridge there."""
    cable, prefix = network.interface, 30
    _run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    _run("ip", "addr", "add", f"{network.machine}/{prefix}", "dev", cable)
    _run("ip", "link", "set", cable, "up")
    inside = ["nsenter", "--net", "--mount", "--target", str(pid)]
    for command in (
        "ip link set lo up",
        f"ip addr add {network.node}/{prefix} dev eth0",
        "ip link set eth0 up",
        "ip link add cni0 type bridge",
        f"ip addr add {network.gateway}/24 dev cni0",
        "ip link set cni0 up",
        # Programs on the node use Services, too: their packets need a route before kube-proxy
        # rewrites the address.
        f"ip route add {network.services} dev cni0",
        # Connections to a Service that kube-proxy does not know (yet) are rejected at once.
        f"iptables -I FORWARD -d {network.services} -j REJECT",
        f"iptables -I OUTPUT -d {network.services} -j REJECT",
        "sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1",
    ):
        _run(*inside, *command.split())
    for subnet in (network.pods, network.services):
        _run("ip", "route", "add", subnet, "via", network.node, "dev", cable)


def disconnect(network: Network) -> None:
    """Remove the link, and with it the machine's routes, if it exists."""
    ip = program("ip")
    subprocess.run([ip, "link", "delete", network.interface], capture_output=True, check=False)


def _run(*command: str) -> None:
    run([program(command[0]), *command[1:]])


def run(command: Sequence[str], seconds: float = 120) -> str:
    """Run a command and return its output.

    Raises
    ------
    RuntimeError
        It failed, or took longer than this; the message is its output.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{' '.join(command)}: not within {seconds:.0f} s") from None
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
