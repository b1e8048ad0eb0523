"""The CustomResourceDefinitions: present, served, and those of this version."""

from __future__ import annotations

from daskjob.core.errors import Forbidden
from daskjob.core.manifests import Manifest, metadata
from daskjob.core.names import API_VERSION, Kind
from daskjob.kube.errors import NoSuchResource
from daskjob.kube.objects import list_objects
from daskjob.kube.resources import JOBS, Selection
from daskjob.submit.doctor.cluster.ground import Ground
from daskjob.submit.doctor.finding import Finding, failed, ok, skipped, warning
from daskjob.submit.installing import chart
from daskjob.submit.installing.cluster_objects import ObjectId
from daskjob.submit.installing.crd_versions import difference, is_established, unknown_fields

CHECK = "CRDs"
INSTALL = "daskjob install"


async def crds(ground: Ground) -> Finding:
    """Check the CRDs of the four kinds."""
    wanted = chart.crds()
    try:
        found = [await ground.objects.get(ObjectId.of(crd)) for crd in wanted]
    except Forbidden:
        return await _served(ground)
    missing = [crd for crd, there in zip(wanted, found, strict=True) if there is None]
    if missing:
        return failed(CHECK, f"missing: {_names(missing)}", f"an administrator: {INSTALL}")
    there = [crd for crd in found if crd is not None]
    waiting = [crd for crd in there if not is_established(crd)]
    if waiting:
        return failed(CHECK, f"not established: {_names(waiting)}", "kubectl describe crds")
    going = [crd for crd in there if metadata(crd).get("deletionTimestamp")]
    if going:
        return failed(CHECK, f"being deleted: {_names(going)}", f"afterwards: {INSTALL}")
    return compared(there, wanted)


def compared(found: list[Manifest], wanted: list[Manifest]) -> Finding:
    """Compare the CRDs of a cluster with those of this version."""
    other = [(f, w) for f, w in zip(found, wanted, strict=True) if difference(f, w)]
    if not other:
        return ok(
            CHECK, f"{len(wanted)} of {API_VERSION}, those of daskjob {chart.chart_version()}"
        )
    newer = [field for f, w in other for field in unknown_fields(f, w)]
    older = [field for f, w in other for field in unknown_fields(w, f)]
    names = _names([w for _, w in other])
    if newer and not older:
        text = f"newer than this daskjob, with fields that it does not know: {_some(newer)}"
        return warning(CHECK, text, "pip install -U daskjob")
    text = f"of another version than this daskjob: {names}"
    lacking = f", without {_some(older)}" if older else ""
    return warning(CHECK, text + lacking, f"an administrator upgrades them: {INSTALL}")


async def _served(ground: Ground) -> Finding:
    """Check a kind by its use: this user may not read CRDs."""
    try:
        await list_objects(ground.api, Selection(JOBS, ground.namespace))
    except NoSuchResource:
        return failed(CHECK, f"this cluster has no {Kind.JOB}s", f"an administrator: {INSTALL}")
    except Forbidden:
        return skipped(CHECK, "this user may read neither CRDs nor jobs")
    return ok(CHECK, f"{Kind.JOB}s are served (their version: this user may not read CRDs)")


def _names(found: list[Manifest]) -> str:
    return ", ".join(str(metadata(crd).get("name")).partition(".")[0] for crd in found)


def _some(fields: list[str]) -> str:
    more = f" and {len(fields) - 3} more" if len(fields) > 3 else ""
    return ", ".join(fields[:3]) + more
