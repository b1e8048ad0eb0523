"""Kubernetes' own programs, built from their Go modules and kept in the cache.

What is built is pinned by ``tools/*/go.mod`` and ``go.sum``; the cache's key is those files, the
flags and Go's version. The first build of all takes about ten minutes on two cores.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.cache import input_hash, kept, say
from tests.cluster.packages import Missing

TOOLS = Path(__file__).parent / "tools"
#: What the newest of the modules asks for.
GO_MINIMUM = (1, 26)
#: How long a build may be silent to whoever waits for it.
PROGRESS_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Edit:
    """One place of a module's source that is built otherwise than it was published."""

    module: str
    path: str
    published: str
    built: str


#: A kubelet takes away the pod of a uid. kwok takes away whatever has the name by now, and asks
#: twice when a pod changes while it ends: the pod that follows under the name then vanishes.
DELETES_BY_UID = Edit(
    "sigs.k8s.io/kwok",
    "pkg/kwok/controllers/pod_controller.go",
    "Delete(ctx, pod.Name, deleteOpt)",
    "Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: deleteOpt.GracePeriodSeconds,"
    " Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})",
)


@dataclass(frozen=True, slots=True)
class Module:
    """A Go module of ``tools``: the programs that are built from it, by their packages."""

    name: str
    programs: dict[str, str]
    variables: tuple[str, ...] = ()
    #: A Go module, and a folder of it that is kept beside the programs.
    data: tuple[str, str] | None = None
    edit: Edit | None = None

    @property
    def folder(self) -> Path:
        """The folder with its go.mod and go.sum."""
        return TOOLS / self.name

    def flags(self) -> list[str]:
        """The flags of ``go build``: static, without paths and debugging tables."""
        stamps = "".join(f" -X {variable}" for variable in self.variables)
        return ["-trimpath", "-mod=readonly", "-buildvcs=false", "-ldflags", f"-s -w{stamps}"]


def _kubernetes() -> Module:
    """Return Kubernetes' module; without its version, clients and kubelet refuse each other."""
    text = (TOOLS / "kubernetes" / "go.mod").read_text()
    found = re.search(r"k8s\.io/kubernetes (v1\.(\d+)\.\d+)", text)
    assert found, "tools/kubernetes/go.mod names no version of k8s.io/kubernetes"
    version, minor = found.groups()
    base = "k8s.io/component-base/version"
    names = (
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kube-proxy",
        "kubectl",
    )
    return Module(
        "kubernetes",
        {name: f"k8s.io/kubernetes/cmd/{name}" for name in names},
        (
            f"{base}.gitVersion={version}",
            f"{base}.gitMajor=1",
            f"{base}.gitMinor={minor}",
            f"k8s.io/client-go/pkg/version.gitVersion={version}",
        ),
    )


MODULES = (
    _kubernetes(),
    Module("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}),
    Module("coredns", {"coredns": "github.com/coredns/coredns"}),
    Module(
        "kwok",
        {"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
        data=("sigs.k8s.io/kwok", "kustomize/stage"),
        edit=DELETES_BY_UID,
    ),
    Module("helm", {"helm": "helm.sh/helm/v3/cmd/helm"}),
)


def binary(name: str) -> Path:
    """Return the path of a program, built now where it never was.

    Raises
    ------
    Missing
        Go is not there, is too old, or could not build it.
    """
    module = next(module for module in MODULES if name in module.programs)
    return built(module) / name


def build_all() -> None:
    """Build every program that is not in the cache yet."""
    for module in MODULES:
        built(module)


def built(module: Module) -> Path:
    """Return the folder with a module's programs."""
    inputs = [module.folder / "go.mod", module.folder / "go.sum"]
    programs, edit = " ".join(module.programs.values()), str(module.edit or "")
    key = input_hash(*inputs, " ".join(module.flags()), programs + edit)
    return kept(f"go-{module.name}", key, lambda folder: _build(module, folder))


def _build(module: Module, folder: Path) -> None:
    go = _go()
    count = len(module.programs)
    programs = module.name if count == 1 else f"{count} programs of {module.name}"
    say(f"Building {programs} (once; all of them take about 10 minutes on 2 cores) ...")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": ""}

    def source(name: str) -> Path:
        """Return where Go has the source of a module that is built from."""
        # The folder's name is known before anything is in it.
        fetched = [go, "mod", "download", name]
        subprocess.run(fetched, cwd=module.folder, env=environment, check=True)
        command = [go, "list", "-m", "-f", "{{.Dir}}", name]
        where = subprocess.check_output(command, cwd=module.folder, env=environment, text=True)
        return Path(where.strip())

    with tempfile.TemporaryDirectory() as edited:
        flags = module.flags()
        if module.edit is not None:
            flags += _edited(module, module.edit, source(module.edit.module), Path(edited))
        for name, package in module.programs.items():
            started = time.monotonic()
            command = [go, "build", "-v", *flags, "-o", str(folder / name), package]
            _run(command, module.folder, environment, name)
            say(f"  {name}: {time.monotonic() - started:.0f} s")
    if module.data is not None:
        name, below = module.data
        _copy(source(name) / below, folder / "data", "**/*.yaml")


def _copy(source: Path, folder: Path, pattern: str) -> None:
    """Copy the files below a folder that a pattern names."""
    for path in (path for path in source.glob(pattern) if path.is_file()):
        copy = folder / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        # Its text alone: the module cache is read-only, and so would a copied file be.
        copy.write_bytes(path.read_bytes())


def _edited(module: Module, edit: Edit, source: Path, folder: Path) -> list[str]:
    """Return the flags that have ``go build`` read a copy of the source, with the edit in it."""
    copy = folder / "source"
    _copy(source, copy, "**/*")
    file = copy / edit.path
    text = file.read_text()
    if text.count(edit.published) != 1:
        raise Missing(f"{source / edit.path} has no {edit.published} any more: is {edit} needed?")
    file.write_text(text.replace(edit.published, edit.built))
    for name in ("go.mod", "go.sum"):
        (folder / name).write_bytes((module.folder / name).read_bytes())
    with (folder / "go.mod").open("a") as pins:
        pins.write(f"\nreplace {edit.module} => {copy}\n")
    return [f"-modfile={folder / 'go.mod'}"]


def _run(command: list[str], cwd: Path, environment: dict[str, str], name: str) -> None:
    """Run ``go build -v``, which names every package that it has compiled."""
    lines: list[str] = []
    told = time.monotonic()
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                say(f"  {name}: {len(lines)} packages so far")
    if process.returncode:
        raise Missing(f"{' '.join(command)} failed in {cwd}:\n{''.join(lines[-20:])}")


def _go() -> str:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    wanted = ".".join(map(str, GO_MINIMUM))
    if go is None:
        raise Missing(f"Building Kubernetes needs Go {wanted} or newer; there is none on the PATH.")
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    text = subprocess.run(
        [go, "env", "GOVERSION"], env=environment, capture_output=True, text=True, check=False
    ).stdout.strip()
    found = re.match(r"go(\d+)\.(\d+)", text)
    if found is None or tuple(map(int, found.groups())) < GO_MINIMUM:
        raise Missing(
            f"Building Kubernetes needs Go {wanted} or newer; {go} is {text or 'broken'}."
        )
    return go
