"""The permissions that each command of daskjob needs in the namespace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from daskjob.core.errors import Permission
from daskjob.submit.doctor.cluster.ground import Ground
from daskjob.submit.doctor.finding import Finding, failed, ok, warning
from daskjob.submit.installing.permissions import missing_of

_DASK = "kubernetes.dask.org"


@dataclass(frozen=True, slots=True)
class Need:
    """Verbs on a resource."""

    verbs: tuple[str, ...]
    resource: str
    group: str = _DASK

    def permissions(self, namespace: str) -> list[Permission]:
        """Return them in a namespace."""
        return [Permission(verb, self.resource, self.group, namespace) for verb in self.verbs]


_READ = Need(("get", "list", "watch"), "daskjobs")
_CHANGE = (Need(("get", "list", "patch"), "daskjobs"),)
#: What most users need.
COMMANDS: Mapping[str, tuple[Need, ...]] = {
    "submit": (Need(("create", "get"), "daskjobs"),),
    "list, status, wait": (_READ,),
    "logs, attach": (
        _READ,
        Need(("get", "list"), "pods", ""),
        Need(("get",), "pods/log", ""),
    ),
    "events, why": (_READ, Need(("list",), "events", "")),
    "cancel, suspend, resume, scale": _CHANGE,
    "delete": (Need(("get", "list", "delete"), "daskjobs"),),
}
#: What some do not.
SPECIAL: Mapping[str, tuple[Need, ...]] = {
    "submit --env-file": (Need(("create", "get"), "secrets", ""),),
    "cluster": (Need(("get", "list", "watch", "create", "patch", "delete"), "daskclusters"),),
    "cluster connect, dashboard": (
        Need(("get", "list", "watch"), "pods", ""),
        Need(("get", "create"), "pods/portforward", ""),
    ),
}


async def permissions(ground: Ground) -> AsyncIterator[Finding]:
    """Check each command, one line each."""
    needs = {**COMMANDS, **SPECIAL}
    wanted = {p for found in needs.values() for n in found for p in n.permissions(ground.namespace)}
    missing = set(await missing_of(ground.objects, sorted(wanted, key=str)))
    for command, found in needs.items():
        lacking = [rule for need in found if (rule := _rule(need, ground.namespace, missing))]
        check = f"permission: {command}"
        if not lacking:
            yield ok(check, "granted")
            continue
        make = failed if command in COMMANDS else warning
        fix = f"a Role in namespace {ground.namespace} grants it with {' and '.join(lacking)}"
        yield make(check, "missing", fix)


def _rule(need: Need, namespace: str, missing: set[Permission]) -> str:
    """Return the rule with the verbs that are missing; empty: none is."""
    verbs = [p.verb for p in need.permissions(namespace) if p in missing]
    if not verbs:
        return ""
    return Permission(", ".join(verbs), need.resource, need.group, namespace).rule
