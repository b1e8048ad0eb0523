"""Runners and workers that ran out of memory."""

from __future__ import annotations

from daskjob.core.advice import split_step
from daskjob.core.manifests import mapping, mappings
from daskjob.core.reasons import Reason
from daskjob.core.why.about import About, Advice


def out_of_memory(about: About) -> Advice | None:
    """Return the advice about a memory limit."""
    if about.reason == Reason.OOM_KILLED:
        limit = _limit(about, about.runner_pod)
        step = f"Raise {about.words.runner_memory}{f' ({limit})' if limit else ''}"
        return Advice(f"{step}, or keep the data on the workers. Its log:", about.daskjob("logs"))
    if "KilledWorker" in about.message or "out of memory" in about.message:
        step = split_step(about.message)[1].rstrip(".")
        step = step or f"Raise {about.words.memory}, or give each task less data"
        what = "report" if about.status.report else "status"
        text = "Peak memory" if what == "report" else "Its state"
        return Advice(f"{step}. {text}:", about.daskjob(what), shows_log=False)
    return None


def _limit(about: About, pod: str) -> str:
    spec = mapping(about.template_of(pod).get("spec"))
    limits = (
        mapping(mapping(container.get("resources")).get("limits")).get("memory")
        for container in mappings(spec.get("containers"))
    )
    return ", ".join(str(limit) for limit in limits if limit)
