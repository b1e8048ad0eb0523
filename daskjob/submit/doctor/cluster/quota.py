"""Quota and LimitRange of the namespace, against the pods of a small job."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from daskjob.core.errors import DaskJobError, Forbidden
from daskjob.core.manifests import Manifest, mapping, mappings, metadata
from daskjob.core.quantity import parse_quantity
from daskjob.submit.doctor.cluster.ground import Ground
from daskjob.submit.doctor.cluster.small_job import pod, pods_of
from daskjob.submit.doctor.finding import Finding, failed, ok, skipped

QUOTA, LIMITS, ADMISSION = "quota", "LimitRange", "admission"


async def quota(ground: Ground, job: Manifest) -> Finding:
    """Check that the quota has room for a small job."""
    try:
        found = await ground.objects.list("v1", "ResourceQuota", namespace=ground.namespace)
    except Forbidden:
        return skipped(QUOTA, "this user may not list ResourceQuotas")
    needed = _needed(job)
    for item in found:
        lacking = list(_lacking(item, needed))
        if lacking:
            return failed(
                QUOTA,
                f"{metadata(item).get('name')} has no room for a job of one worker: "
                + ", ".join(lacking),
                f"free some, or ask for more: kubectl describe quota -n {ground.namespace}",
            )
    names = ", ".join(str(metadata(item).get("name")) for item in found)
    return ok(QUOTA, f"{names}: room for a job" if found else "none")


def _lacking(item: Manifest, needed: dict[str, Decimal]) -> Iterator[str]:
    status = mapping(item.get("status"))
    hard, used = mapping(status.get("hard")), mapping(status.get("used"))
    if mapping(item.get("spec")).get("scopes") or mapping(item.get("spec")).get("scopeSelector"):
        return
    for name, limit in hard.items():
        if name not in needed:
            continue
        taken = used.get(name, "0")
        if parse_quantity(limit) - parse_quantity(taken) < needed[name]:
            yield f"{name}: {taken} of {limit} used"


def _needed(job: Manifest) -> dict[str, Decimal]:
    specs = pods_of(job).values()
    needed = {"pods": Decimal(len(specs)), "count/pods": Decimal(len(specs))}
    needed |= {"services": Decimal(1), "count/services": Decimal(1)}
    for spec in specs:
        for part, prefix in (("requests", "requests."), ("limits", "limits.")):
            for name, amount in mapping(_resources(spec).get(part)).items():
                key = prefix + name
                needed[key] = needed.get(key, Decimal(0)) + parse_quantity(amount)
    for name in ("cpu", "memory"):
        needed[name] = needed.get(f"requests.{name}", Decimal(0))
    return needed


async def limit_range(ground: Ground, job: Manifest) -> Finding:
    """Check that the limits of the namespace allow the pods of a small job."""
    try:
        found = await ground.objects.list("v1", "LimitRange", namespace=ground.namespace)
    except Forbidden:
        return skipped(LIMITS, "this user may not list LimitRanges")
    for item in found:
        for limit in mappings(mapping(item.get("spec")).get("limits")):
            for role, spec in pods_of(job).items():
                wrong = _wrong(limit, spec)
                if wrong:
                    return failed(
                        LIMITS,
                        f"{metadata(item).get('name')} rejects the {role} of a small job: {wrong}",
                        "set its resources within the limits: --cpu, --memory, --runner-memory, …",
                    )
    names = ", ".join(str(metadata(item).get("name")) for item in found)
    return ok(LIMITS, f"{names}: allows a small job" if found else "none")


def _wrong(limit: Manifest, spec: Manifest) -> str:
    if limit.get("type") not in ("Container", "Pod"):
        return ""
    resources = _resources(spec)
    for name, most in mapping(limit.get("max")).items():
        asked = mapping(resources.get("limits")).get(name)
        if asked is not None and parse_quantity(asked) > parse_quantity(most):
            return f"{name} {asked} is above its maximum {most}"
    for name, least in mapping(limit.get("min")).items():
        asked = mapping(resources.get("requests")).get(name)
        if asked is not None and parse_quantity(asked) < parse_quantity(least):
            return f"{name} {asked} is below its minimum {least}"
    return ""


def _resources(spec: Manifest) -> Manifest:
    return mapping(mappings(spec.get("containers"))[0].get("resources"))


async def admission(ground: Ground, job: Manifest) -> Finding:
    """Let the API server check a pod in full, and store none: webhooks and policies included."""
    try:
        await ground.objects.create(pod(pods_of(job)["worker"], ground.namespace), dry_run=True)
    except Forbidden:
        return skipped(ADMISSION, "this user may not create pods (the operator does it for jobs)")
    except DaskJobError as error:
        message = getattr(error, "message", str(error))
        return failed(ADMISSION, f"a worker's pod is rejected: {message}",
                      "ask who manages the policies of the namespace")  # fmt: skip
    return ok(ADMISSION, "a worker's pod is accepted (dry run)")
