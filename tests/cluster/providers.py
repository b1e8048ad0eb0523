"""Where the tests' Kubernetes comes from: given, from Docker by kind, or native.

``DASKJOB_TEST_KUBECONFIG`` names a cluster to use; it is left running, with only the namespaces
removed that tests made. Else kind is used where a Docker engine answers, else a native cluster.
``DASKJOB_TEST_CLUSTER`` (``external``, ``kind``, ``native``) insists on one of them;
``DASKJOB_TEST_CLUSTER=none`` leaves out every test that needs one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Protocol

from tests.cluster import components, fake_nodes
from tests.cluster.binaries import binary
from tests.cluster.cache import cache_folder, say
from tests.cluster.images import Image, docker_answers
from tests.cluster.native import CLUSTERS, NativeCluster
from tests.cluster.network import run
from tests.cluster.packages import Missing

KUBECONFIG_VARIABLE = "DASKJOB_TEST_KUBECONFIG"
CHOICE_VARIABLE = "DASKJOB_TEST_CLUSTER"
#: Where images are pushed to for a cluster that is given.
REGISTRY_VARIABLE = "DASKJOB_TEST_REGISTRY"
#: Set by pytest-xdist where several processes share out the tests: the name of this one.
PROCESS_VARIABLE = "PYTEST_XDIST_WORKER"


class Provider(Protocol):
    """A cluster, and what differs by where it comes from."""

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of an administrator."""
        ...

    @property
    def command(self) -> list[str]:
        """The beginning of every command line of kubectl."""
        ...

    @property
    def audit_log(self) -> Path | None:
        """The API server's audit log, where it can be read."""
        ...

    def load(self, image: Image) -> str:
        """Give an image to the nodes; return the name by which pods ask for it."""
        ...

    def fake_nodes(self, count: int) -> None:
        """See to it that there are so many fake nodes."""
        ...

    def stop(self) -> None:
        """End what was started."""
        ...


class Native:
    """A cluster of processes on this machine."""

    def __init__(self, name: str) -> None:
        self.cluster = NativeCluster(name)
        self.cluster.up()
        self.kubeconfig = self.cluster.kubeconfig
        self.command = _kubectl(binary("kubectl"), self.kubeconfig)
        self.audit_log: Path | None = self.cluster.platform.audit_log

    def load(self, image: Image) -> str:
        """Give an image to the node."""
        self.cluster.load_image(image)
        return image.reference

    def fake_nodes(self, count: int) -> None:
        """Let kwok run in the cluster's own namespaces, and make nodes for it."""
        command = fake_nodes.kwok_command(
            self.cluster.platform.kubeconfig("kwok"), self.cluster.folder
        )
        self.cluster.add_component(components.Unit("kwok", command))
        _make_nodes(self, count)

    def stop(self) -> None:
        """End the cluster; nothing of it stays."""
        self.cluster.down()


class _ByKwokBeside:
    """A cluster whose fake nodes are looked after by a kwok that runs beside the tests."""

    kubeconfig: Path
    command: list[str]
    _kwok: subprocess.Popen[bytes] | None = None

    def __init__(self) -> None:
        self._made: set[str] = set()

    def fake_nodes(self, count: int) -> None:
        """Start kwok where it does not run yet, and make nodes for it."""
        if self._kwok is None:
            folder = cache_folder()
            with (folder / "kwok.log").open("ab") as log:
                self._kwok = subprocess.Popen(
                    fake_nodes.kwok_command(self.kubeconfig, folder), stdout=log, stderr=log
                )
        self._made |= _make_nodes(self, count)

    def _stop_kwok(self) -> None:
        if self._kwok is not None:
            self._kwok.terminate()
            self._kwok.wait(timeout=20)
        if self._made:
            # Those that were there before serve whoever made them.
            run([*self.command, "delete", "--wait=false", *sorted(self._made)])


class Kind(_ByKwokBeside):
    """A cluster in Docker, made by kind through pytest-kind."""

    def __init__(self, name: str) -> None:
        from pytest_kind.cluster import KindCluster

        super().__init__()
        self._kind = KindCluster(name)
        self._kind.create()
        self._kind.ensure_kubectl()
        self.kubeconfig = Path(self._kind.kubeconfig_path).absolute()
        self.command = _kubectl(Path(self._kind.kubectl_path).absolute(), self.kubeconfig)
        self.audit_log: Path | None = None

    def load(self, image: Image) -> str:
        """Give an image, which Docker has built, to the node."""
        self._kind.load_docker_image(image.reference)
        return image.reference

    def stop(self) -> None:
        """End the cluster."""
        self._stop_kwok()
        self._kind.delete()


class External(_ByKwokBeside):
    """A cluster that was given; what it was given is all that goes."""

    audit_log: Path | None = None

    def __init__(self, kubeconfig: Path) -> None:
        super().__init__()
        if not kubeconfig.is_file():
            raise Missing(f"{KUBECONFIG_VARIABLE}={kubeconfig}: there is no such file.")
        self.kubeconfig = kubeconfig
        found = shutil.which("kubectl")
        self.command = _kubectl(Path(found) if found else binary("kubectl"), kubeconfig)
        try:
            run([*self.command, "version", "--request-timeout=15s"])
        except RuntimeError as error:
            raise Missing(
                f"The cluster of {KUBECONFIG_VARIABLE} does not answer: {error}"
            ) from None
        native = next((c for c in CLUSTERS.glob("*/admin.kubeconfig") if c == kubeconfig), None)
        #: A native cluster that somebody started beforehand is one whose log can be read.
        self._native = NativeCluster(native.parent.name) if native else None
        if self._native is not None:
            self.audit_log = self._native.platform.audit_log

    def load(self, image: Image) -> str:
        """Push an image to where the cluster pulls from."""
        if self._native is not None:
            self._native.load_image(image)
            return image.reference
        registry = os.environ.get(REGISTRY_VARIABLE)
        if not registry:
            raise Missing(
                f"The cluster of {KUBECONFIG_VARIABLE} needs the image {image.reference}: set "
                f"{REGISTRY_VARIABLE} to a registry (HOST/PATH) that this machine may push to and "
                "the cluster pulls from."
            )
        return image.push(registry)

    def stop(self) -> None:
        """Leave the cluster as it was."""
        self._stop_kwok()


def wanted() -> bool:
    """Whether tests that need a cluster are to run."""
    return os.environ.get(CHOICE_VARIABLE) != "none"


def provide(root: Path) -> Provider:
    """Return the cluster for a run of the tests of a checkout.

    Raises
    ------
    Missing
        There is no way to get one; with what is missing for each.
    """
    # One for each checkout and process of tests: those that go on at the same time do not meet.
    process = os.environ.get(PROCESS_VARIABLE, "")
    name = f"test-{zlib.crc32(str(root).encode()):08x}{process}"
    match chosen():
        case "external" if process:
            raise Missing(
                f"{KUBECONFIG_VARIABLE} names one cluster, and processes that test side by side "
                "need one each: leave out either it or JOBS."
            )
        case "external":
            return External(Path(os.environ.get(KUBECONFIG_VARIABLE, "")))
        case "kind":
            return Kind(name)
        case "native":
            return Native(name)
        case other:
            raise Missing(
                f"{CHOICE_VARIABLE}={other}: it is one of external, kind, native and none."
            )


def chosen() -> str:
    """Return which kind of cluster a run has: what was insisted on, else what is there."""
    return os.environ.get(CHOICE_VARIABLE) or _found()


def _found() -> str:
    if os.environ.get(KUBECONFIG_VARIABLE):
        return "external"
    return "kind" if docker_answers() else "native"


def _kubectl(program: Path, kubeconfig: Path) -> list[str]:
    return [str(program), f"--kubeconfig={kubeconfig}"]


def _make_nodes(provider: Native | _ByKwokBeside, count: int) -> set[str]:
    """Make what is missing of so many nodes; return those, as ``node/NAME``."""
    selected = f"--selector={fake_nodes.LABEL}=fake"
    listed = [*provider.command, "get", "nodes", selected, "--output=name"]
    before = set(run(listed).split())
    if len(before) >= count:
        return set()
    say(f"Making {count} fake nodes ...")
    subprocess.run(
        [*provider.command, "apply", "--server-side", "-f", "-"],
        input=fake_nodes.nodes_manifest(count),
        text=True,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    ready = ["wait", "node", "--selector", f"{fake_nodes.LABEL}=fake"]
    run([*provider.command, *ready, "--for=condition=Ready", "--timeout=60s"])
    return set(run(listed).split()) - before
