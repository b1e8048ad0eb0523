"""Removes what was installed, and reports what stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from daskjob.core.errors import Forbidden, NotFound
from daskjob.core.manifests import metadata
from daskjob.core.names import API_VERSION, Kind
from daskjob.submit.installing import chart
from daskjob.submit.installing.cluster_objects import ClusterObjects, ObjectId
from daskjob.submit.installing.other_operators import helm_release, operators
from daskjob.submit.installing.permissions import check_permissions, to_delete
from daskjob.submit.installing.release import Record, record_id
from daskjob.submit.installing.waiting import Patience, until_gone

Report = Callable[[str], None]
_CRD = "CustomResourceDefinition"


@dataclass(frozen=True, slots=True)
class Removal:
    """The removal of the installation in a namespace."""

    cluster: ClusterObjects
    namespace: str
    #: Remove the CRDs even if there are jobs, which are deleted with them.
    crds: bool = False
    wait_seconds: float = 300.0
    changed: Report = print
    note: Report = print

    async def uninstall(self) -> None:
        """Remove everything but the namespace, and the CRDs that are in use.

        Raises
        ------
        NotFound
            There is no installation in this namespace, and the CRDs are not to be removed.
        NotPermitted
            A permission is missing; nothing was changed.
        """
        record = await self._record()
        reason = await self._reason_for_crds(record)
        going = [one for one in record.objects if one.kind != _CRD or not reason]
        if self.crds:
            # Also those of another one: an earlier installation, which left them.
            crds = [ObjectId.of(crd) for crd in chart.crds()]
            going = [*(one for one in crds if one not in going), *going]
        await check_permissions(
            self.cluster,
            to_delete([*going, record_id(self.namespace)]),
            "uninstall daskjob",
        )
        for one in reversed(going):
            if await self.cluster.delete(one, foreground=one.kind == "Deployment"):
                self.changed(f"{one} deleted")
        await until_gone(self.cluster, going, Patience(self.wait_seconds, self.note))
        await self.cluster.delete(record_id(self.namespace))
        self.note(f"namespace {self.namespace} stays: kubectl delete namespace {self.namespace}")
        if reason:
            self.note(f"the CustomResourceDefinitions stay: {reason}")

    async def _record(self) -> Record:
        found = await self.cluster.get(record_id(self.namespace))
        if found:
            return Record.read(found)
        if self.crds:
            return Record("", {}, ())
        places = [
            f"; Helm installed it: helm uninstall {release.name} -n {release.namespace}"
            if (release := helm_release(other))
            else f"; there is an operator in namespace {metadata(other).get('namespace')}"
            for other in await operators(self.cluster)
        ]
        raise NotFound(
            f"daskjob install has installed nothing in namespace {self.namespace}"
            f"{places[0] if places else ''}"
        )

    async def _reason_for_crds(self, record: Record) -> str:
        """Return why the CRDs stay; empty: they go."""
        if self.crds:
            return ""
        others = [
            one
            for found in await operators(self.cluster)
            if (one := ObjectId.of(found)) not in record.objects
        ]
        if others:
            return f"{others[0]} uses them; --crds removes them anyway, with all jobs"
        try:
            counts = {
                kind: len(await self.cluster.list(API_VERSION, kind))
                for kind in (Kind.JOB, Kind.CLUSTER)
            }
        except Forbidden as error:
            return f"{error}"
        used = " and ".join(
            f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count
        )
        if not used:
            return ""
        return f"{used} stay too, without an operator; --crds removes all of them"
