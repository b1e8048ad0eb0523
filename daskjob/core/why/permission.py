"""A permission that the operator lacks, from the Event that it leaves on the job."""

from __future__ import annotations

import re

from daskjob.core.why.about import About, Advice

#: The reason of the Event.
FORBIDDEN = "Forbidden"
_WHO = re.compile(
    r'User "(?P<user>[^"]+)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)"'
    r'(?: in API group "(?P<group>[^"]*)")?'
)
_RULE = re.compile(r"; (?P<rule>a (Role|ClusterRole) .*)$")


def operator_lacks_permission(about: About) -> Advice | None:
    """Return the advice about an operator that may not do what the job needs."""
    if about.status.finished or about.runs or about.status.reason:
        return None
    found = [message for reason, message in about.warnings if reason == FORBIDDEN]
    if not found:
        return None
    message = found[-1]
    who, rule = _WHO.search(message), _RULE.search(message)
    what = message[: rule.start()] if rule else message
    step = "Grant the operator the permission, or upgrade its chart, which has the Role"
    step += f": {rule['rule']}" if rule else "."
    command = ""
    if who:
        group = f".{who['group']}" if who["group"] else ""
        asked = f"auth can-i {who['verb']} {who['resource']}{group} --as {who['user']}"
        command = about.kubectl(asked)
    headline = f"{about.name} is waiting: the operator lacks a permission: {what}."
    return Advice(step, command, headline=headline)
