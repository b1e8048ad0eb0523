"""The answer about a job of a cluster: the first advice that fits, in the order of causes."""

from __future__ import annotations

import re
from dataclasses import replace

from daskjob.core.explain import Explanation, explain
from daskjob.core.messages import cut
from daskjob.core.reasons import Reason
from daskjob.core.why.about import DEADLINES, About, Advice
from daskjob.core.why.admission import not_admitted
from daskjob.core.why.connection import scheduler_unreachable
from daskjob.core.why.crashes import crash_loop, scheduler_lost
from daskjob.core.why.environment import COULD_NOT, pod_not_prepared
from daskjob.core.why.exit_texts import with_exit_text
from daskjob.core.why.images import image_not_pulled
from daskjob.core.why.limits import deadline_reached, script_failed, tasks_cannot_run
from daskjob.core.why.memory import out_of_memory
from daskjob.core.why.missing import object_missing
from daskjob.core.why.permission import operator_lacks_permission
from daskjob.core.why.pickup import not_picked_up
from daskjob.core.why.placement import no_node_fits
from daskjob.core.why.quota import over_quota
from daskjob.core.why.taken_names import name_taken
from daskjob.core.why.versions import versions_differ

#: The first that returns an advice decides: causes before their consequences.
_ORDER = (
    not_picked_up,
    operator_lacks_permission,
    image_not_pulled,
    object_missing,
    pod_not_prepared,
    no_node_fits,
    over_quota,
    not_admitted,
    name_taken,
    scheduler_lost,
    out_of_memory,
    crash_loop,
    scheduler_unreachable,
    versions_differ,
    tasks_cannot_run,
    deadline_reached,
    script_failed,
)
#: How much of a message of a condition identifies it, and how much of one is evidence.
_START = 60
_LENGTH = 240
#: How many lines of a log are evidence, without those that only mark a place in the line before.
_LOG_LINES = 6
_MARKS = re.compile(r"log:[\s~^]*")
#: Pods that fit on no node may be why a job with one of these reasons ended, or waits.
_PLACEMENT = DEADLINES | {Reason.UNSCHEDULABLE, Reason.EXIT_CODE, Reason.STALLED}


def explain_on_cluster(about: About) -> Explanation:
    """Return why a job of a cluster is in its state, and what to do next."""
    known = explain(about.job, log_tail=about.log_tail, options=about.options)
    if about.status.succeeded:
        return known
    if about.status.suspended:
        step = "It continues, with a new attempt, after:"
        return replace(known, next_step=step, command=about.daskjob("resume"))
    advice = next((found for judge in _ORDER if (found := judge(about)) is not None), None)
    headline = with_exit_text(about, known.headline)
    known = replace(known, headline=headline, evidence=tuple(_not_repeated(about, known)))
    return known if advice is None else _with(known, advice)


def _with(known: Explanation, advice: Advice) -> Explanation:
    kept = known.evidence
    if not advice.shows_log:
        kept = tuple(line for line in kept if not line.startswith("log: "))
    if advice.headline:
        kept = ()
    return Explanation(
        advice.headline or known.headline,
        tuple(dict.fromkeys((*advice.evidence, *kept))),
        advice.step,
        advice.command,
    )


def _not_repeated(about: About, known: Explanation) -> list[str]:
    """Return the evidence, shortened, without conditions that repeat the job's message."""
    # Pods that cannot be prepared have the same cause; each attempt has pods of other names.
    start = cut(about.message.partition(COULD_NOT)[2] or about.message, _START, "")
    lines = [line for line in known.evidence if not _MARKS.fullmatch(line)]
    if about.status.finished and about.reason not in _PLACEMENT:
        unplaced = [c for c in about.status.conditions if c.reason == Reason.UNSCHEDULABLE]
        messages = tuple(condition.message for condition in unplaced if condition.message)
        lines = [line for line in lines if not line.endswith(messages)]
    log = [line for line in lines if line.startswith("log: ")][-_LOG_LINES:]
    others = [line for line in lines if not line.startswith("log: ")]
    return [*log, *(cut(line, _LENGTH) for line in others if not start or start not in line)]
