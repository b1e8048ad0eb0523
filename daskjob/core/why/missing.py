"""Secrets, ConfigMaps and PersistentVolumeClaims that do not exist."""

from __future__ import annotations

import re

from daskjob.core.diagnose import MISSING_CLAIM
from daskjob.core.reasons import Reason
from daskjob.core.why.about import About, Advice

_OBJECT = re.compile(r'\b(?P<kind>secret|configmap) "(?P<name>[^"]+)" not found', re.IGNORECASE)
_KEY = re.compile(
    r"couldn't find key (?P<key>\S+) in (?P<kind>Secret|ConfigMap) [^/\s]+/(?P<name>[^\s.]+)",
)
_KEYS = re.compile(r"non-existent (?P<what>secret|config) key: (?P<key>\S+?)\.?(?=\s|$)")
#: As ``diagnose`` writes it.
_CLAIM = re.compile(r"PersistentVolumeClaim (?P<name>\S+) does not exist")


def object_missing(about: About) -> Advice | None:
    """Return the advice about an object that the pods refer to."""
    reasons = (Reason.CONFIG_MISSING, Reason.VOLUME_MOUNT, Reason.UNSCHEDULABLE)
    if not about.waits_for(*reasons):
        return None
    text = about.message
    if found := _CLAIM.search(text) or MISSING_CLAIM.search(text):
        step = f"Create PersistentVolumeClaim {found['name']} in namespace {about.namespace}, or"
        return Advice(f"{step} correct its name. Existing ones:", about.kubectl("get pvc"))
    if found := _KEY.search(text):
        step = f"Add the key {found['key']} to {found['kind']} {found['name']}, or correct its name"
        kind = found["kind"].lower()
        return Advice(
            f"{step}. Its keys, without values:", about.kubectl(f"describe {kind} {found['name']}")
        )
    if found := _OBJECT.search(text):
        kind = "secret generic" if found["kind"].lower() == "secret" else "configmap"
        command = f"create {kind} {found['name']} --from-literal=KEY=VALUE"
        return Advice("Create it, or correct its name:", about.kubectl(command))
    if found := _KEYS.search(text):
        kind = "secrets" if found["what"] == "secret" else "configmaps"
        step = f"Add the key {found['key']}, or correct its name:"
        return Advice(step, about.kubectl(f"describe {kind}"))
    return None
