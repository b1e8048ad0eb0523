"""A job without a status: no operator works on it."""

from __future__ import annotations

from datetime import timedelta

from daskjob.core.manifests import mapping, metadata, parse_time
from daskjob.core.names import MANAGED_BY
from daskjob.core.quantity import duration
from daskjob.core.why.about import About, Advice
from daskjob.core.wording import HOW_TO_INSTALL

#: An idle operator writes the first status within 0.2 s; a busy one within a few.
SOON = timedelta(seconds=3)


def not_picked_up(about: About) -> Advice | None:
    """Return the advice about a job without a status."""
    if about.status.job_status:
        return None
    manager = str(mapping(about.job.get("spec")).get("managedBy") or MANAGED_BY)
    if manager != MANAGED_BY:
        return Advice(
            f"It is left to {manager}: ask why that does not start it.",
            about.kubectl(f"describe daskjob {about.name}"),
            headline=f"{about.name} has no status: spec.managedBy leaves it to {manager}.",
        )
    created = parse_time(metadata(about.job).get("creationTimestamp"))
    age = about.now - created if about.now and created else None
    since = f" since it was submitted {duration(age)} ago" if age and age > SOON else ""
    return Advice(
        f"Check that an operator runs, and watches namespace {about.namespace}; or install it: "
        + HOW_TO_INSTALL,
        about.cluster_kubectl("get deployments -A -l app.kubernetes.io/name=daskjob"),
        headline=f"{about.name} has no status: no operator has picked it up{since}.",
    )
