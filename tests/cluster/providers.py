"""The source of the tests' Kubernetes: an external cluster, kind with Docker, or a native cluster.

``DASKJOB_TEST_KUBECONFIG`` selects an external cluster; it is left running, and only the tests'
namespaces are removed. Otherwise kind is used if a Docker engine answers, else a native cluster.
``DASKJOB_TEST_CLUSTER`` (``external``, ``kind``, ``native``) forces one of them;
``DASKJOB_TEST_CLUSTER=none`` skips every test that needs one.
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
#: The registry to push images to for an external cluster.
REGISTRY_VARIABLE = "DASKJOB_TEST_REGISTRY"
#: Set by pytest-xdist if several processes share the tests: the name of this one.
PROCESS_VARIABLE = "PYTEST_XDIST_WORKER"


class Provider(Protocol):
    """A cluster, with the operations that depend on its source."""

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of an administrator."""
        ...

    @property
    def command(self) -> list[str]:
        """The first arguments of every kubectl command."""
        ...

    @property
    def audit_log(self) -> Path | None:
        """The API server's audit log, if it can be read."""
        ...

    @property
    def native(self) -> NativeCluster | None:
        """The native cluster that this is, if it is one."""
        ...

    def load(self, image: Image) -> str:
        """Load an image into the nodes; return its name for pods."""
        ...

    def fake_nodes(self, count: int) -> None:
        """Add fake nodes until there are this many."""
        ...

    def stop(self) -> None:
        """Stop everything that was started."""
        ...


class Native:
    """A cluster of processes on this machine."""

    def __init__(self, name: str) -> None:
        self.cluster = NativeCluster(name)
        self.cluster.up()
        self.native: NativeCluster | None = self.cluster
        self.kubeconfig = self.cluster.kubeconfig
        self.command = _kubectl(binary("kubectl"), self.kubeconfig)
        self.audit_log: Path | None = self.cluster.platform.audit_log

    def load(self, image: Image) -> str:
        """Load an image into the node."""
        self.cluster.load_image(image)
        return image.reference

    def fake_nodes(self, count: int) -> None:
        """Run kwok in the cluster's namespaces, and create nodes for it."""
        command = fake_nodes.kwok_command(
            self.cluster.platform.kubeconfig("kwok"), self.cluster.folder
        )
        self.cluster.add_component(components.Unit("kwok", command))
        _make_nodes(self, count)

    def stop(self) -> None:
        """Stop the cluster and remove everything."""
        self.cluster.down()


class _ByKwokBeside:
    """A cluster whose kwok runs as a process next to the tests."""

    kubeconfig: Path
    command: list[str]
    native: NativeCluster | None = None
    _kwok: subprocess.Popen[bytes] | None = None

    def __init__(self) -> None:
        self._made: set[str] = set()

    def fake_nodes(self, count: int) -> None:
        """Start kwok if it is not running, and create nodes for it."""
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
            # Nodes that existed before belong to a user.
            run([*self.command, "delete", "--wait=false", *sorted(self._made)])


class Kind(_ByKwokBeside):
    """A cluster in Docker, created by kind with pytest-kind."""

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
        """Load an image, which Docker has built, into the node."""
        self._kind.load_docker_image(image.reference)
        return image.reference

    def stop(self) -> None:
        """Stop the cluster."""
        self._stop_kwok()
        self._kind.delete()


class External(_ByKwokBeside):
    """An external cluster; only objects that tests created are removed."""

    audit_log: Path | None = None

    def __init__(self, kubeconfig: Path) -> None:
        super().__init__()
        if not kubeconfig.is_file():
            raise Missing(f"{KUBECONFIG_VARIABLE}={kubeconfig}: the file does not exist.")
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
        #: The log can be read if this is a native cluster that was started beforehand.
        self.native = NativeCluster(native.parent.name) if native else None
        if self.native is not None:
            self.audit_log = self.native.platform.audit_log

    def load(self, image: Image) -> str:
        """Push an image to the registry from which the cluster pulls."""
        if self.native is not None:
            self.native.load_image(image)
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
        """Restore the cluster's original state."""
        self._stop_kwok()


def wanted() -> bool:
    """Return whether to run tests that need a cluster."""
    return os.environ.get(CHOICE_VARIABLE) != "none"


def provide(root: Path) -> Provider:
    """Return the cluster for a run of the tests of a checkout.

    Raises
    ------
    Missing
        No kind of cluster is available; the message has what is missing for each.
    """
    # One for each checkout and test process, so that parallel runs do not share a cluster.
    process = os.environ.get(PROCESS_VARIABLE, "")
    name = f"test-{zlib.crc32(str(root).encode()):08x}{process}"
    match chosen():
        case "external" if process:
            raise Missing(
                f"{KUBECONFIG_VARIABLE} names one cluster, and parallel test processes need one "
                "each: unset either it or JOBS."
            )
        case "external":
            return External(Path(os.environ.get(KUBECONFIG_VARIABLE, "")))
        case "kind":
            return Kind(name)
        case "native":
            return Native(name)
        case other:
            raise Missing(f"{CHOICE_VARIABLE}={other}: use one of external, kind, native and none.")


def chosen() -> str:
    """Return the kind of cluster of a run: the forced one, else the available one."""
    return os.environ.get(CHOICE_VARIABLE) or _found()


def _found() -> str:
    if os.environ.get(KUBECONFIG_VARIABLE):
        return "external"
    return "kind" if docker_answers() else "native"


def _kubectl(program: Path, kubeconfig: Path) -> list[str]:
    return [str(program), f"--kubeconfig={kubeconfig}"]


def _make_nodes(provider: Native | _ByKwokBeside, count: int) -> set[str]:
    """Create the missing ones of this many nodes; return these, as ``node/NAME``."""
    selected = f"--selector={fake_nodes.LABEL}=fake"
    listed = [*provider.command, "get", "nodes", selected, "--output=name"]
    before = set(run(listed).split())
    if len(before) >= count:
        return set()
    say(f"Creating {count} fake nodes ...")
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
