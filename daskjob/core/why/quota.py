"""Pods that a ResourceQuota does not admit."""

from __future__ import annotations

import re

from daskjob.core.reasons import Reason
from daskjob.core.why.about import About, Advice

_EXCEEDED = re.compile(r"exceeded quota: (?P<name>[^,\s]+)")
_FAILED = re.compile(r"failed quota: (?P<name>\S+?): must specify (?P<what>.+?)\.?$")


def over_quota(about: About) -> Advice | None:
    """Return the advice about a quota."""
    if not about.waits_for(Reason.QUOTA_EXCEEDED, Reason.REJECTED):
        return None
    if found := _EXCEEDED.search(about.message):
        step = "Request less, wait until other pods end, or ask for a larger quota:"
        return Advice(step, about.kubectl(f"describe quota {found['name']}"))
    if found := _FAILED.search(about.message):
        step = f"Write {found['what']} into the pod specs, which quota {found['name']} requires:"
        return Advice(step, about.kubectl(f"describe quota {found['name']}"))
    return None
