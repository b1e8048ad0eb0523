"""Why a job is in its state, from a saved manifest alone: no cluster, no folder."""

from __future__ import annotations

from daskjob.core.explain import Explanation, explain
from daskjob.core.manifests import Manifest, mapping, metadata
from daskjob.core.names import ANNOTATION_SCRIPT, SUBMITTED_SCRIPT
from daskjob.core.why.about import About
from daskjob.core.why.cluster import explain_on_cluster


def explain_saved(job: Manifest, *, context: str = "") -> Explanation:
    """Return why a saved job is in its state, with the next step at the place where it ran."""
    if _is_of_this_machine(job):
        from daskjob.submit.local import NEXT_STEPS

        return explain(job, next_steps=NEXT_STEPS)
    return explain_on_cluster(About(job, context=context))


def _is_of_this_machine(job: Manifest) -> bool:
    script = mapping(metadata(job).get("annotations")).get(ANNOTATION_SCRIPT, SUBMITTED_SCRIPT)
    address = str(mapping(job.get("status")).get("schedulerAddress", ""))
    return script != SUBMITTED_SCRIPT or "://127." in address
