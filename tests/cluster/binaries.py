"""Kubernetes' own programs, built from their Go modules and kept in the cache.

``tools/go.mod`` and ``go.sum`` pin the versions. It is one module with compatible versions, so that
packages common to several programs are compiled once: Kubernetes, with etcd, CoreDNS, Helm and kwok
of the same time.
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
#: The Go version that the module requires.
GO_MINIMUM = (1, 24)
#: The longest silence of a build before it reports its progress.
PROGRESS_SECONDS = 30.0
#: Its usual duration.
USUAL_MINUTES = 10
#: The programs, and the packages from which they are built.
PROGRAMS = {
    "coredns": "./coredns",
    "etcd": "go.etcd.io/etcd/server/v3",
    "helm": "helm.sh/helm/v3/cmd/helm",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kubelet": "k8s.io/kubernetes/cmd/kubelet",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
}
#: The folder, next to the programs, with kwok's own rules.
KWOK_STAGES = "stages"


@dataclass(frozen=True, slots=True)
class Edit:
    """One patch of kwok's published source."""

    path: str
    published: str
    built: str


KWOK = "sigs.k8s.io/kwok"
KWOK_EDITS = (
    # A kubelet deletes the pod of a uid. kwok deletes the pod that has the name at that time, and
    # does so twice when a pod changes while it ends: a new pod of the same name then vanishes.
    Edit(
        "pkg/kwok/controllers/pod_controller.go",
        "Delete(ctx, pod.Name, deleteOpt)",
        "Delete(ctx, pod.Name, metav1.DeleteOptions{"
        "GracePeriodSeconds: deleteOpt.GracePeriodSeconds,"
        " Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})",
    ),
    # Kubernetes does not have this annotation any more since 1.34.
    Edit(
        "pkg/utils/informer/informer.go",
        """\
\t\t\t\t\tbase64EncodedInitialEventsListBlueprint := \
meta.GetAnnotations()[metav1.InitialEventsListBlueprintAnnotationKey]
\t\t\t\t\tif len(base64EncodedInitialEventsListBlueprint) == 0 {
\t\t\t\t\t\treturn fmt.Errorf("%q annotation is missing content", \
metav1.InitialEventsListBlueprintAnnotationKey)
\t\t\t\t\t}
""",
        "",
    ),
)


def binary(name: str) -> Path:
    """Return the path of a program, built first if it is missing.

    Raises
    ------
    Missing
        Go is missing or too old, or the build failed.
    """
    return build_all() / name


def build_all() -> Path:
    """Return the folder with all programs, built first if it is missing."""
    key = input_hash(TOOLS, " ".join(_flags()), str(PROGRAMS), str(KWOK_EDITS))
    return kept("programs", key, _build)


def _flags() -> list[str]:
    """Return the flags of ``go build``: static, without paths and debugging tables."""
    return ["-trimpath", "-mod=readonly", "-buildvcs=false", f"-ldflags=-s -w{_stamps()}"]


def _stamps() -> str:
    """Return the flags that set Kubernetes' version: clients and kubelet check it."""
    text = (TOOLS / "go.mod").read_text()
    found = re.search(r"k8s\.io/kubernetes (v1\.(\d+)\.\d+)", text)
    assert found, f"{TOOLS / 'go.mod'} names no version of k8s.io/kubernetes"
    version, minor = found.groups()
    base = "k8s.io/component-base/version"
    variables = {
        f"{base}.gitVersion": version,
        f"{base}.gitMajor": "1",
        f"{base}.gitMinor": minor,
        "k8s.io/client-go/pkg/version.gitVersion": version,
    }
    return "".join(f" -X {name}={value}" for name, value in variables.items())


def _build(folder: Path) -> None:
    go = go_program()
    say(f"Building {', '.join(PROGRAMS)} (once, {USUAL_MINUTES} minutes on 2 cores) ...")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": ""}
    kwok = _source(go, KWOK, environment)
    with tempfile.TemporaryDirectory() as edited:
        flags = [*_flags(), *_edited(kwok, Path(edited))]
        command = [go, "build", "-v", *flags, "-o", f"{folder}/", *PROGRAMS.values()]
        compile_programs(command, environment, TOOLS)
    (folder / "server").rename(folder / "etcd")
    _copy(kwok / "kustomize" / "stage", folder / KWOK_STAGES, "**/*.yaml")


def _source(go: str, module: str, environment: dict[str, str]) -> Path:
    """Return the folder of a module's source in Go's cache."""
    # The folder's name is known before it is filled.
    subprocess.run([go, "mod", "download", module], cwd=TOOLS, env=environment, check=True)
    command = [go, "list", "-m", "-f", "{{.Dir}}", module]
    where = subprocess.check_output(command, cwd=TOOLS, env=environment, text=True)
    return Path(where.strip())


def _copy(source: Path, folder: Path, pattern: str) -> None:
    """Copy the files below a folder that match a pattern."""
    for path in (path for path in source.glob(pattern) if path.is_file()):
        copy = folder / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        # Only its text: the module cache is read-only, and a copied file would be, too.
        copy.write_bytes(path.read_bytes())


def _edited(kwok: Path, folder: Path) -> list[str]:
    """Return the flags for ``go build`` to use a patched copy of kwok's source."""
    copy = folder / "source"
    _copy(kwok, copy, "**/*")
    for edit in KWOK_EDITS:
        file = copy / edit.path
        text = file.read_text()
        if text.count(edit.published) != 1:
            raise Missing(f"{kwok / edit.path} has changed: is {edit} still needed?")
        file.write_text(text.replace(edit.published, edit.built))
    for name in ("go.mod", "go.sum"):
        (folder / name).write_bytes((TOOLS / name).read_bytes())
    with (folder / "go.mod").open("a") as pins:
        pins.write(f"\nreplace {KWOK} => {copy}\n")
    return [f"-modfile={folder / 'go.mod'}"]


def compile_programs(command: list[str], environment: dict[str, str], module: Path) -> None:
    """Run ``go build -v`` in a module's folder; it prints every package that it has compiled."""
    lines: list[str] = []
    told = time.monotonic()
    with subprocess.Popen(
        command, cwd=module, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                say(f"  {len(lines)} packages so far")
    if process.returncode:
        raise Missing(f"{' '.join(command)} failed in {module}:\n{''.join(lines[-20:])}")


def go_program() -> str:
    """Return the path of ``go``.

    Raises
    ------
    Missing
        It is missing or too old.
    """
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
