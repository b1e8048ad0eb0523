"""Who else manages the objects of an installation, or operates on the same namespaces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from daskjob.core.errors import DaskJobError, Forbidden
from daskjob.core.manifests import Manifest, mapping, mappings, metadata
from daskjob.submit.installing.cluster_objects import ClusterObjects, ObjectId

HELM_RELEASE = "meta.helm.sh/release-name"
HELM_NAMESPACE = "meta.helm.sh/release-namespace"
_SELECTOR = "app.kubernetes.io/name in (daskjob-operator,dask-kubernetes-operator)"


class Occupied(DaskJobError):
    """Another tool or another operator has what is to be installed."""


@dataclass(frozen=True, slots=True)
class HelmRelease:
    """A release of Helm."""

    name: str
    namespace: str

    def __str__(self) -> str:
        return f"Helm's release {self.name} in namespace {self.namespace}"


def helm_release(manifest: Manifest) -> HelmRelease | None:
    """Return the release of Helm that an object belongs to."""
    notes = mapping(metadata(manifest).get("annotations"))
    name = notes.get(HELM_RELEASE)
    return HelmRelease(str(name), str(notes.get(HELM_NAMESPACE, ""))) if name else None


def check_not_helms(existing: Iterable[Manifest]) -> None:
    """Check that no object belongs to a release of Helm.

    Raises
    ------
    Occupied
        One does: Helm would change or delete it later.
    """
    for item in existing:
        release = helm_release(item)
        if release:
            raise Occupied(
                f"{ObjectId.of(item)} belongs to {release}; to keep it Helm's: helm upgrade "
                f"{release.name} operator-chart -n {release.namespace}; to take it over: --force"
            )


def watched_namespaces(deployment: Manifest) -> frozenset[str]:
    """Return the namespaces that an operator watches; empty: all of them."""
    pod = mapping(mapping(mapping(deployment.get("spec")).get("template")).get("spec"))
    words = [str(w) for c in mappings(pod.get("containers")) for w in c.get("args") or ()]
    named: list[str] = []
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word in ("-n", "--namespace"):
            named += following.split(",")
        elif word.startswith("--namespace="):
            named += word.removeprefix("--namespace=").split(",")
        elif word.startswith("-n"):
            named += word.removeprefix("-n").removeprefix("=").split(",")
    if "-A" in words or "--all-namespaces" in words or any(set("*?![") & set(n) for n in named):
        return frozenset()
    return frozenset(name.strip() for name in named if name.strip())


async def operators(cluster: ClusterObjects) -> list[Manifest]:
    """Return the Deployments of all operators of the cluster, as far as the user may list them."""
    try:
        return await cluster.list("apps/v1", "Deployment", labels=_SELECTOR)
    except Forbidden:
        return []


async def check_no_other(cluster: ClusterObjects, deployment: Manifest) -> None:
    """Check that no other operator watches the namespaces of this one.

    Raises
    ------
    Occupied
        One does: of two, only one works on a namespace.
    """
    ours = watched_namespaces(deployment)
    for other in await operators(cluster):
        if ObjectId.of(other) == ObjectId.of(deployment):
            continue
        theirs = watched_namespaces(other)
        if ours and theirs and not ours & theirs:
            continue
        both = ", ".join(sorted(ours & theirs or ours or theirs)) or "all namespaces"
        release = helm_release(other)
        where = metadata(other).get("namespace")
        how = f"helm uninstall {release.name} -n {release.namespace}" if release else ""
        raise Occupied(
            f"{ObjectId.of(other)} is an operator that watches {both} too, and of two only one "
            f"works; uninstall it: {how or f'daskjob install --uninstall -n {where}'}; "
            "or watch other namespaces: --set watchNamespaces={NAME}; or install anyway: --force"
        )
