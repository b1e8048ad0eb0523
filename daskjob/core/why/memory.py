"""Runners and workers that ran out of memory."""

from __future__ import annotations

import re
from collections.abc import Mapping

from daskjob.core.advice import split_step
from daskjob.core.dask import losses_of
from daskjob.core.manifests import mapping, mappings
from daskjob.core.quantity import format_bytes, parse_bytes
from daskjob.core.reasons import Reason
from daskjob.core.why.about import About, Advice

_QUANTITY = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>[A-Za-z]*)")
#: Commands whose options for memory daskjob knows.
_WORKERS = ("dask worker", "dask-worker", "dask cuda worker", "dask-cuda-worker")
#: The least that the options accept.
LEAST = "256Mi"
#: How a message says that workers may have had too little memory.
_SUSPECTED = "Most often it uses too much memory"


def out_of_memory(about: About) -> Advice | None:
    """Return the advice about a memory limit."""
    if about.reason == Reason.OOM_KILLED:
        return _of_runner(about)
    if "KilledWorker" in about.message or "out of memory" in about.message:
        return _of_workers(about)
    return None


def _of_runner(about: About) -> Advice:
    limit = _limit(about.template_of(about.runner_pod))
    step = f"Raise {about.words.runner_memory}{f' ({limit})' if limit else ''}"
    step += ", or keep the data on the workers."
    if more := _doubled(limit):
        return Advice(f"{step} Again, with more:", _again(about, "--runner-memory", more))
    return Advice(f"{step} Its log:", about.daskjob("logs"))


def _of_workers(about: About) -> Advice:
    step = split_step(about.message)[1].rstrip(".")
    step = step or f"Raise {about.words.memory}, or give each task less data"
    template = about.template_of(f"{about.name}-default-worker-")
    limit = _limit(template)
    more = _doubled(limit) if _runs_dask(template) else ""
    knows = step.startswith(("Raise", _SUSPECTED))
    if not (knows and more):
        what = "report" if about.status.report else "status"
        text = "Peak memory" if what == "report" else "Its state"
        return Advice(f"{step}. {text}:", about.daskjob(what), shows_log=False)
    step = step.replace(about.words.memory, f"{about.words.memory}{_shares(about, limit)}")
    command = _again(about, "--memory", more)
    return Advice(f"{step}. Again, with more:", command, shows_log=False)


def _shares(about: About, limit: str) -> str:
    """Return the limit of the pods, and how much of it Dask lets a worker have."""
    losses = losses_of(mapping((about.status.report or {}).get("workers")).get("losses"))
    tasks = next((loss.memory_limit for loss in reversed(losses) if loss.memory_limit), 0)
    if not 0 < tasks < parse_bytes(limit):
        return f" ({limit})"
    return f" ({limit}: {format_bytes(tasks)} for the worker, the rest for what is beside it)"


def _limit(template: Mapping[str, object]) -> str:
    """Return the memory limit of the only container that has a valid one; empty if several have."""
    limits = [
        str(limit)
        for container in mappings(mapping(template.get("spec")).get("containers"))
        if (limit := mapping(mapping(container.get("resources")).get("limits")).get("memory"))
    ]
    try:
        return limits[0] if len(limits) == 1 and parse_bytes(limits[0]) else ""
    except ValueError:
        return ""


def _runs_dask(template: Mapping[str, object]) -> bool:
    """Return whether the option of submit can change the command of the workers."""
    containers = list(mappings(mapping(template.get("spec")).get("containers")))
    words = containers[0].get("command") or containers[0].get("args") if containers else None
    return isinstance(words, list) and " ".join(map(str, words)).startswith(_WORKERS)


def _doubled(limit: str) -> str:
    """Return twice a quantity, and at least what the options accept; empty if it is unknown."""
    found = _QUANTITY.fullmatch(limit)
    if found is None or found["unit"] == "m":
        return ""
    twice = f"{2 * float(found['number']):.10g}{found['unit']}"
    return twice if parse_bytes(twice) >= parse_bytes(LEAST) else LEAST


def _again(about: About, option: str, value: str) -> str:
    return f"daskjob submit {about.options} --like {about.name} {option} {value}"
