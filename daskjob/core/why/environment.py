"""Packages that cannot be installed, and code that cannot be unpacked or fetched."""

from __future__ import annotations

import re

from daskjob.core.names import ENVIRONMENT_CONTAINER
from daskjob.core.reasons import Reason
from daskjob.core.why.about import About, Advice

_POD = re.compile(r"code of pod (?P<pod>\S+) could not be prepared")


def pod_not_prepared(about: About) -> Advice | None:
    """Return the advice about a pod whose packages or code could not be prepared.

    What to correct is in the message; the log shows all that the installer said.
    """
    found = _POD.search(about.message)
    if found is None or not about.waits_for(Reason.ENVIRONMENT_FAILED):
        return None
    pod = found["pod"]
    if about.status.finished and pod != about.runner_pod:
        # Its log went with the cluster.
        return Advice("Correct it as the message says, and submit the job again.", shows_log=False)
    step = "Correct it as the message says. All that the installer said:"
    command = about.kubectl(f"logs {pod} -c {ENVIRONMENT_CONTAINER}")
    return Advice(step, command, shows_log=False)
