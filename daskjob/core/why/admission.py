"""Pods that Pod Security, an admission policy or a webhook rejects."""

from __future__ import annotations

import re

from daskjob.core.reasons import Reason
from daskjob.core.why.about import About, Advice

_POD_SECURITY = re.compile(r'violates PodSecurity "(?P<level>\w+)')
_POLICY = re.compile(r"ValidatingAdmissionPolicy '(?P<name>[^']+)'")
_WEBHOOK = re.compile(r'(admission|calling) webhook "(?P<name>[^"]+)"')


def not_admitted(about: About) -> Advice | None:
    """Return the advice about an admission plugin that rejects pods."""
    if not about.waits_for(Reason.REJECTED):
        return None
    if found := _POD_SECURITY.search(about.message):
        step = f"Set these fields in the securityContext of all pod specs; {found['level']} is the"
        step += " level of the namespace:"
        command = about.cluster_kubectl(f"get namespace {about.namespace} --show-labels")
        return Advice(step, command)
    if found := _POLICY.search(about.message):
        step = f"Change the pods as {found['name']} demands, or ask its administrator:"
        command = f"describe validatingadmissionpolicy {found['name']}"
        return Advice(step, about.cluster_kubectl(command))
    if found := _WEBHOOK.search(about.message):
        step = f"Ask the administrator of the webhook {found['name']}:"
        kinds = "validatingwebhookconfigurations,mutatingwebhookconfigurations"
        return Advice(step, about.cluster_kubectl(f"get {kinds}"))
    return None
