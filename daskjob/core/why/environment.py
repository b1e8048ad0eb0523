"""Packages that cannot be installed, and code that cannot be unpacked or fetched."""

from __future__ import annotations

import re

from daskjob.core.advice import LAST_LINES, split_step
from daskjob.core.names import ENVIRONMENT_CONTAINER
from daskjob.core.reasons import Reason
from daskjob.core.why.about import About, Advice

#: Before what happened, in a message of ``diagnose``.
COULD_NOT = " could not be prepared: "
_POD = re.compile(rf"code of pod (?P<pod>\S+){COULD_NOT}")
_LAST_LINES = re.compile(rf"\s*{LAST_LINES}(?P<lines>.*)\.$", re.DOTALL)
#: Where the message does not say what to do.
_STEP = "Correct the requirements or the code."


def pod_not_prepared(about: About) -> Advice | None:
    """Return the advice about a pod whose packages or code could not be prepared.

    What to do is in the message; its log shows all that the installer said.
    """
    found = _POD.search(about.message)
    if found is None or not about.waits_for(Reason.ENVIRONMENT_FAILED):
        return None
    pod, last = found["pod"], _LAST_LINES.search(about.message)
    what, own_step = split_step(_LAST_LINES.sub("", about.message))
    step = own_step or _STEP
    # Without a step of its own, the headline is the whole message.
    said = (f"installer: {last['lines']}",) if last and own_step else ()
    if about.status.finished and pod != about.runner_pod:
        # Its log went with the cluster.
        return Advice(f"{step} Then submit the job again.", evidence=said, shows_log=False)
    command = about.kubectl(f"logs {pod} -c {ENVIRONMENT_CONTAINER}")
    headline, status = "", about.status
    if own_step and not status.finished and status.attempts and status.attempt_start_time is None:
        # Between attempts, the headline would have the step, too.
        headline = f"{about.name} is waiting for attempt {status.attempt}: {about.reason}: {what}"
    step += " All that the installer said:"
    return Advice(step, command, said, headline, shows_log=False)
