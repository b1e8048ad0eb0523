"""A Kubernetes of processes on this machine: no Docker, no registry.

A cluster is one set of namespaces (processes, mounts, network), with all processes below one
supervisor, and one folder. Killing that supervisor stops it: the kernel ends all processes, and
only a folder, empty control groups and a virtual link are left, which are found by their names. So
``up`` and ``down`` work after any crash.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import components, images
from tests.cluster.binaries import binary
from tests.cluster.cache import exclusive
from tests.cluster.components import Platform
from tests.cluster.network import SLOTS, Network, connect, disconnect, run
from tests.cluster.packages import Missing, ensure_packages, program
from tests.cluster.runtime import runtime_program

#: Short, since the path of a Unix socket has at most 107 characters; on a disk, since images are
#: large.
CLUSTERS = Path(os.environ.get("DASKJOB_CLUSTERS", "/var/tmp/daskjob-clusters"))
SUPERVISOR = Path(__file__).with_name("supervisor.py")
#: Go's garbage collection target for Kubernetes' programs, in percent. The default of 100 saves
#: memory, which tests have enough of, and costs CPU time, which they have not.
GARBAGE_PERCENT = "300"
#: The environment variable that marks every process of a cluster except those in pods.
MARK = "DASKJOB_CLUSTER"
READY_SECONDS = 60.0
GONE_SECONDS = 30.0
#: Folders of the machine with fixed names that the node's programs write to. These changes are
#: visible in the cluster, and not on the machine.
PRIVATE_FOLDERS = ("/run", "/var/lib", "/var/log")
#: Kernel settings that the kubelet requires; files with these values are mounted over the real.
SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


class NotUp(Exception):
    """The cluster did not start; the message has the last log lines of its components."""


@dataclass(frozen=True, slots=True)
class Component:
    """A running component."""

    name: str
    pid: int
    memory_bytes: int


class NativeCluster:
    """The native cluster of this name; nothing is started before ``up``."""

    def __init__(self, name: str) -> None:
        if not (name.replace("-", "").isalnum() and name.islower() and len(name) <= 40):
            raise ValueError(f"{name!r}: a cluster's name is 1 to 40 of a-z, 0-9 and '-'")
        self.name = name
        self.folder = CLUSTERS / name

    @property
    def platform(self) -> Platform:
        """Its files and addresses; it must have been started before."""
        slot = int((self.folder / "slot").read_text())
        return Platform(self.folder, Network(slot), f"/daskjob-{self.name}")

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of its administrator."""
        return self.platform.kubeconfig("admin")

    def up(self) -> None:
        """Start it unless it is running; wait until its node is ready.

        Raises
        ------
        Missing
            The machine lacks a requirement, named in the message.
        NotUp
            A component did not become ready.
        """
        if os.geteuid() != 0:
            raise Missing("A native cluster needs root, for containers, networks and mounts.")
        ensure_packages()
        pause = images.pause()
        with exclusive(f"cluster-{self.name}"):
            if not self._whole():
                self._remove()
                self._start(pause.reference)
                self.load_image(pause)
            self._await_ready()

    def down(self) -> None:
        """Stop it and remove every process, mount, interface, route, rule, group and file."""
        with exclusive(f"cluster-{self.name}"):
            self._remove()

    @property
    def running(self) -> bool:
        """Whether its supervisor is running."""
        return self._supervisor() is not None

    def parts(self) -> list[Component]:
        """Return the components that are running now."""
        supervisor = self._supervisor()
        found = []
        for pid in _children(supervisor) if supervisor else ():
            name = _environment(pid).get("DASKJOB_UNIT")
            # What containerd has started for pods is a child too, and has its variables.
            if name and _leads_session(pid):
                found.append(Component(name, pid, _resident_bytes(pid)))
        return sorted(found, key=lambda component: component.name)

    def add_component(self, unit: components.Unit) -> None:
        """Have the supervisor start another component, unless there is one of the same name."""
        path = self.folder / "units" / f"{unit.name}.json"
        if not path.exists():
            new = path.with_suffix(".new")
            new.write_text(unit.text())
            new.rename(path)

    def load_image(self, image: images.Image) -> None:
        """Load an image into the node if it is missing."""
        _until(
            lambda: self.platform.containerd_socket.exists(), READY_SECONDS, "containerd listens"
        )
        known = self._images("list", "--quiet", f"name=={image.reference}")
        if not known.strip():
            self._images("import", str(image.archive))

    def name_image(self, image: images.Image, name: str) -> None:
        """Give a loaded image one more name, with its registry: ``ghcr.io/dask/dask:latest``."""
        self._images("tag", "--force", image.reference, name)

    def _images(self, *arguments: str) -> str:
        socket = str(self.platform.containerd_socket)
        return run(
            [runtime_program("ctr"), "--address", socket, "-n", "k8s.io", "images", *arguments]
        )

    # Starting

    def _whole(self) -> bool:
        """Return whether it was started completely and its supervisor is alive."""
        return self.running and (self.folder / "started").exists()

    def _start(self, pause: str) -> None:
        platform = self._claim()
        components.make_identities(platform)
        for folder in ("units", "logs"):
            (self.folder / folder).mkdir()
        units = [
            components.etcd(platform),
            components.kube_apiserver(platform),
            components.kube_controller_manager(platform),
            components.kube_scheduler(platform),
            components.containerd(platform, pause),
            components.kubelet(platform),
            components.kube_proxy(platform),
            components.coredns(platform),
        ]
        _make_groups(platform.cgroup)
        pid = self._start_supervisor()
        self._make_private(pid)
        connect(platform.network, pid)
        for unit in units:
            self.add_component(unit)
        (self.folder / "started").touch()

    def _claim(self) -> Platform:
        """Create the folder, with a free slot."""
        with exclusive("cluster-slots"):
            taken = {int(path.read_text()) for path in CLUSTERS.glob("*/slot")}
            first = zlib.crc32(self.name.encode())
            slots = [(first + step) % SLOTS for step in range(SLOTS)]
            free = next((slot for slot in slots if slot not in taken), None)
            if free is None:
                raise NotUp(f"all {SLOTS} networks are taken by the clusters in {CLUSTERS}")
            self.folder.mkdir(parents=True)
            (self.folder / "slot").write_text(str(free))
        return self.platform

    def _start_supervisor(self) -> int:
        """Start process 1 in new namespaces; return its pid on the machine."""
        separate = ["--mount", "--net", "--pid", "--fork", "--mount-proc", "--propagation", "slave"]
        with (self.folder / "logs" / "supervisor.log").open("ab") as log:
            subprocess.run(
                [
                    *(program("setsid"), "--fork", program("unshare"), *separate),
                    *(sys.executable, "-I", str(SUPERVISOR), str(self.folder)),
                ],
                env={"GOGC": GARBAGE_PERCENT, **os.environ, MARK: str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
            )
        _until(lambda: (self.folder / "up").exists(), READY_SECONDS, "the supervisor runs")
        pid = self._supervisor()
        if pid is None:
            raise NotUp(f"the supervisor ended at once; see {self.folder / 'logs'}")
        return pid

    def _make_private(self, pid: int) -> None:
        """Mount private folders and files over the machine's that the node's programs write to."""
        inside = [program("nsenter"), "--mount", "--target", str(pid), program("mount")]
        for path in PRIVATE_FOLDERS:
            upper, work = (self.folder / f"{kind}{path.replace('/', '-')}" for kind in "uw")
            upper.mkdir()
            work.mkdir()
            layers = f"lowerdir={path},upperdir={upper},workdir={work}"
            run([*inside, "-t", "overlay", "-o", layers, "overlay", path])
        for name, value in SYSCTLS.items():
            shown = self.folder / "sysctl" / name
            shown.parent.mkdir(parents=True, exist_ok=True)
            shown.write_text(f"{value}\n")
            if Path("/proc/sys", name).exists():
                run([*inside, "--bind", str(shown), f"/proc/sys/{name}"])
        # As on a real node: volumes may use mount propagation into containers.
        run([*inside, "--make-rshared", "/"])

    def _await_ready(self) -> None:
        """Wait until pods can be created and started, and DNS works."""
        try:
            _until(
                lambda: _listens(self.platform.network.node, 6443), READY_SECONDS, "the API server"
            )
            _until(self._node_ready, READY_SECONDS, "node-1 is Ready")
            _until(self._accounts_ready, READY_SECONDS, "service accounts are made")
            _until(
                lambda: _listens(self.platform.network.gateway, 53), READY_SECONDS, "DNS answers"
            )
        except NotUp as error:
            raise NotUp(f"{error}\n{self.last_words()}") from None

    def _node_ready(self) -> bool:
        path = "{.status.conditions[?(@.type=='Ready')].status}"
        return self._kubectl("get", "node", components.NODE, "-o", f"jsonpath={path}") == "True"

    def _accounts_ready(self) -> bool:
        return self._kubectl("get", "serviceaccount", "default", "-o", "name") != ""

    def _kubectl(self, *arguments: str) -> str:
        command = [str(binary("kubectl")), f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else ""

    def last_words(self) -> str:
        """Return the end of every component's log, for error messages."""
        said = []
        for log in sorted((self.folder / "logs").glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-8:]
            said += [f"-- {log}", *(line[:300] for line in lines)]
        return "\n".join(said)

    # Ending

    def _remove(self) -> None:
        self._end_processes()
        if (self.folder / "slot").exists():
            disconnect(self.platform.network)
        _remove_groups(f"/daskjob-{self.name}")
        below = [line for line in _mounts() if Path(line).is_relative_to(self.folder)]
        if below:
            # A cluster mounts nothing on the machine itself, so a user did this: do not unmount it.
            raise NotUp(f"{', '.join(below)} is mounted below {self.folder}; unmount it first")
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _end_processes(self) -> None:
        """Kill process 1 of the cluster; the kernel kills all others of its namespace."""
        supervisor = self._supervisor()
        if supervisor is None:
            return
        namespace = _pid_namespace(supervisor)
        os.kill(supervisor, signal.SIGKILL)
        _until(lambda: not _members(namespace), GONE_SECONDS, f"all processes of {self.name} end")

    def _supervisor(self) -> int | None:
        """Return the pid of the process 1 with this cluster's mark."""
        for pid in _pids():
            if _namespace_pids(pid)[1:] == [1] and _environment(pid).get(MARK) == str(self.folder):
                return pid
        return None


def clusters() -> list[NativeCluster]:
    """Return the clusters that have a folder on this machine."""
    return [NativeCluster(path.parent.name) for path in sorted(CLUSTERS.glob("*/slot"))]


def _until(true: Callable[[], object], seconds: float, what: str) -> None:
    give_up = time.monotonic() + seconds
    while not true():
        if time.monotonic() > give_up:
            raise NotUp(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


# Processes, as /proc shows them


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read(pid: int, name: str) -> str:
    """Return a file of a process; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def _status(pid: int, field: str) -> list[str]:
    for line in _read(pid, "status").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value.split()
    return []


def _namespace_pids(pid: int) -> list[int]:
    return [int(number) for number in _status(pid, "NSpid")]


def _resident_bytes(pid: int) -> int:
    return int((_status(pid, "VmRSS") or ["0"])[0]) * 1024


def _environment(pid: int) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in _read(pid, "environ").split("\0"))
    return {name: value for name, _, value in pairs if name}


def _children(pid: int) -> list[int]:
    return [int(child) for child in _read(pid, f"task/{pid}/children").split()]


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except OSError:
        return False


def _pid_namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def _members(namespace: str) -> list[int]:
    return [pid for pid in _pids() if namespace and _pid_namespace(pid) == namespace]


# Control groups and mounts


def _mounts(kind: str = "") -> list[str]:
    """Return all mount points, or those of one type."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if kind in ("", after.split()[0]):
            found.append(before.split()[4])
    return found


def _hierarchies() -> list[Path]:
    """Return the roots of the control groups: one with version 2, one per controller with 1.

    On a machine with both, groups are in both: container runtimes use version 2 as well.
    """
    return [Path(path) for kind in ("cgroup", "cgroup2") for path in _mounts(kind)]


def _make_groups(name: str) -> None:
    """Create the parent group of the kubelet, which fails if it does not exist."""
    for root in _hierarchies():
        group = root / name.lstrip("/")
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (root / setting).exists() and (group / setting).exists():
                # With version 1 it is empty at first, and no process can join such a group.
                (group / setting).write_text((root / setting).read_text())


def _remove_groups(name: str) -> None:
    for root in _hierarchies():
        for group in _deepest_first(root / name.lstrip("/")):
            _until(lambda group=group: _removed(group), GONE_SECONDS, f"{group} is empty")  # type: ignore[misc]


def _deepest_first(folder: Path) -> Iterator[Path]:
    for path, folders, _ in os.walk(folder, topdown=False):
        del folders
        yield Path(path)


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
