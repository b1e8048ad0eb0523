"""Schedulers and workers that crash, or were lost."""

from __future__ import annotations

import re

from daskjob.core.diagnose import ending
from daskjob.core.last_exception import plain_lines
from daskjob.core.manifests import mapping
from daskjob.core.reasons import Reason
from daskjob.core.why.about import About, Advice

#: How many lines of a crashed pod's log are shown.
LINES = 3
_POD = re.compile(r"(scheduler|worker) pod (?P<pod>\S+)")
#: How words for scripts name a worker.
_WORKER = re.compile(r"\bworker (?P<id>\S+) (exited|has an init container)")


def crashed_pod(about: About) -> str:
    """Return the name of the scheduler or worker that crashes; empty if none is known to."""
    failed = about.reason in (Reason.WORKERS_FAILED, Reason.SCHEDULER_FAILED)
    if not failed and not about.waits_for():
        return ""
    message, cluster = about.message, about.status.cluster_name or about.name
    if found := _POD.search(message):
        return found["pod"] if "exits with" in message else ""
    if not about.words.is_script or "exited with" not in message:
        return ""
    if "the scheduler " in message:
        return f"{cluster}-scheduler"
    # Without the name of its group, which is known where there is only the default one.
    worker = _WORKER.search(message)
    spec = mapping(mapping(mapping(about.job.get("spec")).get("cluster")).get("spec"))
    is_known = worker and not spec.get("workerGroups")
    return f"{cluster}-default-worker-{worker['id']}" if worker and is_known else ""


def crash_loop(about: About) -> Advice | None:
    """Return the advice about a scheduler or worker that crashes."""
    pod = crashed_pod(about)
    if not pod:
        return None
    last = [line for line in plain_lines(about.crash_log) if line.strip()][-LINES:]
    found = ending(about.crash_log, 1) if about.crash_log else ""
    lines = [found] if found and "\n" not in found and found in "\n".join(last) else last
    role = "scheduler" if "-scheduler" in pod else "workers"
    evidence = tuple(f"log of {pod}: {line.strip()}" for line in lines)
    if about.status.finished:
        step = f"Correct the command, the image or the memory of the {role}. What happened:"
        return Advice(step, about.daskjob("events"), evidence)
    step = f"Correct the command, the image or the memory of the {role}. Its log:"
    return Advice(step, about.daskjob(f"logs --pod {pod}"), evidence)


def scheduler_lost(about: About) -> Advice | None:
    """Return the advice about a scheduler that was ready, and is gone."""
    if about.reason != Reason.SCHEDULER_LOST:
        return None
    pod = f"{about.status.cluster_name or about.name}-scheduler"
    step = "Find out what ended it: its memory limit, its node, or someone who deletes pods:"
    command = f"get events --field-selector involvedObject.name={pod}"
    return Advice(step, about.kubectl(command), shows_log=False)
