"""Installs and upgrades the operator in a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daskjob.core.errors import ApiError, DaskJobError, Forbidden
from daskjob.core.manifests import Manifest, mapping, metadata
from daskjob.kube.errors import NoSuchResource
from daskjob.submit.installing import chart, other_operators
from daskjob.submit.installing.cluster_objects import ClusterObjects, ObjectId
from daskjob.submit.installing.crd_versions import difference
from daskjob.submit.installing.permissions import check_permissions, to_apply, to_delete
from daskjob.submit.installing.release import Record, Release, record_id
from daskjob.submit.installing.waiting import Patience, until_established, until_ready

#: Called with one line for each object that was changed, and for what is waited for.
Report = Callable[[str], None]
CRD = "CustomResourceDefinition"
_GRANTS_MORE = "attempting to grant RBAC permissions not currently held"


@dataclass(frozen=True, slots=True)
class Options:
    """How to install."""

    #: Take over objects of Helm; install although another operator watches the same namespaces.
    force: bool = False
    #: The CRDs are another one's to install.
    skip_crds: bool = False
    #: Wait this long for the operator to be ready; 0: do not wait.
    wait_seconds: float = 300.0


@dataclass
class Installation:
    """The installation of a release, whatever is there of an earlier one."""

    cluster: ClusterObjects
    release: Release
    options: Options = field(default_factory=Options)
    #: What was changed.
    changed: Report = print
    #: What is waited for, and what else a user should know.
    note: Report = print

    async def install(self) -> None:
        """Install or upgrade; doing it again changes nothing.

        Raises
        ------
        NotPermitted, Occupied, Forbidden, ChangeDenied
            Nothing was changed: a permission is missing, something else is in the way, or the API
            server rejects an object.
        NotReady
            The operator is installed, and is not ready in time.
        """
        record = await self._record()
        has_namespace = await self._has_namespace()
        crds = [] if self.options.skip_crds else await self._outdated_crds()
        objects = self.release.objects
        removed = self._removed(record)
        await self._check_permissions(crds, removed, has_namespace=has_namespace)
        existing = await self._existing(objects)
        if not self.options.force:
            other_operators.check_not_helms(existing.values())
            await other_operators.check_no_other(self.cluster, objects[self._operator_index])
        await self._try(objects, has_namespace=has_namespace)

        if not has_namespace:
            await self.cluster.create(self.release.namespace_object)
            self.changed(f"Namespace {self.release.namespace} created")
        kept = self._recorded_crds(crds, record) + [ObjectId.of(item) for item in objects]
        # With what is not removed yet: this may be interrupted.
        await self.cluster.apply(self.release.record([*kept, *removed]))
        await self._apply_crds(crds)
        for item in objects:
            await self._apply(item, existing.get(ObjectId.of(item)))
        for one in reversed(removed):
            if await self.cluster.delete(one):
                self.changed(f"{one} deleted: this version does not have it")
        await self.cluster.apply(self.release.record(kept))
        self._note_helm(existing.values())
        if self.options.wait_seconds:
            patience = Patience(self.options.wait_seconds, self.note)
            await until_ready(self.cluster, self.release.operator, patience)

    @property
    def _operator_index(self) -> int:
        return [ObjectId.of(item) for item in self.release.objects].index(self.release.operator)

    async def _record(self) -> Record | None:
        return await _record_in(self.cluster, self.release.namespace)

    async def _has_namespace(self) -> bool:
        try:
            found = await self.cluster.get(ObjectId("v1", "Namespace", "", self.release.namespace))
        except Forbidden:
            # A user who may not read it could not create it either.
            return True
        return found is not None

    async def _outdated_crds(self) -> list[Manifest]:
        """Return the CRDs that are missing, or differ from this version's."""
        wanted = self.release.crds
        try:
            found = await asyncio.gather(*(self.cluster.get(ObjectId.of(crd)) for crd in wanted))
        except Forbidden:
            return wanted
        return [
            crd
            for crd, there in zip(wanted, found, strict=True)
            if there is None or difference(there, crd)
        ]

    def _recorded_crds(self, applied: list[Manifest], record: Record | None) -> list[ObjectId]:
        """Return the CRDs that are this installation's: an uninstallation removes no others."""
        earlier = [one for one in (record.objects if record else ()) if one.kind == CRD]
        found = [ObjectId.of(crd) for crd in applied]
        return earlier + [one for one in found if one not in earlier]

    def _removed(self, record: Record | None) -> list[ObjectId]:
        """Return the objects of an earlier installation that this one does not have."""
        kept = {ObjectId.of(item) for item in self.release.objects}
        objects = record.objects if record else ()
        # Never a CRD: its objects would go with it.
        return [one for one in objects if one not in kept and one.kind != CRD]

    async def _check_permissions(
        self, crds: Sequence[Manifest], removed: Sequence[ObjectId], *, has_namespace: bool
    ) -> None:
        applied = [ObjectId.of(item) for item in (*crds, *self.release.objects)]
        wanted = to_apply([*applied, record_id(self.release.namespace)]) | to_delete(removed)
        if not has_namespace:
            wanted.add(ObjectId.of(self.release.namespace_object).permission("create"))
        await check_permissions(self.cluster, wanted, "install daskjob")

    async def _existing(self, objects: Sequence[Manifest]) -> dict[ObjectId, Manifest]:
        ids = [ObjectId.of(item) for item in objects]
        try:
            found = await asyncio.gather(*map(self.cluster.get, ids))
        except NoSuchResource as error:
            raise DaskJobError(
                f"{error}; nothing was changed: install what has this kind (for metrics, the "
                "Prometheus operator), or disable it in the values"
            ) from error
        return {one: item for one, item in zip(ids, found, strict=True) if item is not None}

    async def _try(self, objects: Sequence[Manifest], *, has_namespace: bool) -> None:
        """Let the API server check all objects in full, and store none."""
        for item in objects:
            one = ObjectId.of(item)
            if one.namespace == self.release.namespace and not has_namespace:
                continue
            try:
                await self.cluster.apply(item, dry_run=True)
            except ApiError as error:
                if _GRANTS_MORE not in str(error):
                    raise
                raise Forbidden(
                    f"{one} cannot be created by this user, who lacks some of the permissions that "
                    "it grants; nothing was changed: install as a cluster administrator, or with "
                    "the verb escalate for its kind"
                ) from error
            except DaskJobError as error:
                error.add_note("nothing was changed; if a field is immutable, uninstall first: "
                               "daskjob install --uninstall")  # fmt: skip
                raise

    async def _apply_crds(self, crds: Sequence[Manifest]) -> None:
        for crd in crds:
            one = ObjectId.of(crd)
            before = await self.cluster.get(one)
            applied = await self.cluster.apply(crd)
            if difference(applied, crd):
                # Another manager's fields, which an apply only adds to.
                versions = crd["spec"]["versions"]
                operation = {"op": "replace", "path": "/spec/versions", "value": versions}
                await self.cluster.patch(one, [operation])
            self.changed(f"{one} {'created' if before is None else 'upgraded'}")
        patience = Patience(self.options.wait_seconds or 60.0, self.note)
        await until_established(self.cluster, map(ObjectId.of, crds), patience)

    async def _apply(self, item: Manifest, before: Manifest | None) -> None:
        one = ObjectId.of(item)
        applied = await self.cluster.apply(item)
        if before and other_operators.helm_release(before):
            await self._take_from_helm(one, applied)
        if before is None:
            self.changed(f"{one} created")
        elif _version(before) != _version(applied):
            self.changed(f"{one} changed")

    def _note_helm(self, existing: Iterable[Manifest]) -> None:
        for release in {other_operators.helm_release(item) for item in existing} - {None}:
            assert release is not None
            self.note(
                f"Helm still knows its release {release.name}, and would delete these objects with "
                f"it; so that it forgets: kubectl delete secret -n {release.namespace} "
                f"-l owner=helm,name={release.name}"
            )

    async def _take_from_helm(self, one: ObjectId, item: Manifest) -> None:
        """Remove the annotations by which Helm knows its objects."""
        notes = mapping(metadata(item).get("annotations"))
        names = (other_operators.HELM_RELEASE, other_operators.HELM_NAMESPACE)
        operations = [
            {"op": "remove", "path": f"/metadata/annotations/{name.replace('/', '~1')}"}
            for name in names
            if name in notes
        ]
        if operations:
            await self.cluster.patch(one, operations)


async def earlier_values(cluster: ClusterObjects, namespace: str) -> Mapping[str, Any]:
    """Return the values of the installation in a namespace; empty: there is none."""
    found = await _record_in(cluster, namespace)
    return found.values if found else {}


async def _record_in(cluster: ClusterObjects, namespace: str) -> Record | None:
    """Return the record of a namespace; ``None`` also for a user who may not read it."""
    try:
        found = await cluster.get(record_id(namespace))
    except Forbidden:
        # The check of all permissions reports this one with the others.
        return None
    return Record.read(found) if found else None


def manifests(release: Release, *, skip_crds: bool = False) -> list[Manifest]:
    """Return everything of a release, for ``kubectl apply --server-side -f -``."""
    items = [*([] if skip_crds else release.crds), *release.objects]
    record = release.record(map(ObjectId.of, items))
    return [release.namespace_object, record, *items]


def summary(release: Release) -> str:
    """Return what is installed, in one line."""
    index = [ObjectId.of(item) for item in release.objects].index(release.operator)
    watched = other_operators.watched_namespaces(release.objects[index])
    where = f"namespace {', '.join(sorted(watched))}" if watched else "all namespaces"
    return (
        f"daskjob {chart.chart_version()} is installed in namespace {release.namespace}; its "
        f"operator watches {where}"
    )


def _version(item: Manifest) -> object:
    return metadata(item).get("resourceVersion")
