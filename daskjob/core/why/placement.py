"""Pods that fit on no node, from the message of the kube-scheduler and the job's templates."""

from __future__ import annotations

import re
from collections.abc import Mapping

from daskjob.core.manifests import mapping, mappings
from daskjob.core.reasons import Reason
from daskjob.core.why.about import About, Advice

_POD = re.compile(r"pod (?P<pod>\S+) does not fit on any node")
_INSUFFICIENT = re.compile(r"Insufficient (?P<resource>[\w./-]+?)(?=[,.]? |[,.]?$)")
_CONSTRAINTS = "NAME:.metadata.name,TAINTS:.spec.taints,LABELS:.metadata.labels"


def no_node_fits(about: About) -> Advice | None:
    """Return the advice about a pod that cannot be scheduled."""
    found = _POD.search(about.message)
    if found is None or not about.waits_for(Reason.UNSCHEDULABLE):
        return None
    pod, text = found["pod"], about.message
    spec = mapping(about.template_of(pod).get("spec"))
    if lacking := sorted({match["resource"] for match in _INSUFFICIENT.finditer(text)}):
        asked = ", ".join(_requested(spec, resource) for resource in lacking)
        step = f"Request less ({asked}), wait until other pods end ({about.jobs_command} shows "
        step += "other jobs), or add nodes. What nodes have, and what their pods request:"
        return Advice(step, about.cluster_kubectl("describe nodes"))
    if "volume" in text.lower():
        step = "Check that the claims of the pod are bound, to volumes that its nodes reach:"
        return Advice(step, about.kubectl("get pvc"))
    steps = []
    if "untolerated taint" in text:
        steps.append("tolerate the taint of the nodes (tolerations)")
    if "selector" in text or "affinity" in text:
        steps.append(f"correct {_selection(spec)}")
    if not steps:
        return Advice("Change the pod's spec, or add nodes:", about.kubectl(f"describe pod {pod}"))
    step = " or ".join(steps)
    return Advice(
        f"{step[0].upper()}{step[1:]}. What nodes have:",
        about.cluster_kubectl(f"get nodes -o custom-columns={_CONSTRAINTS}"),
    )


def _requested(spec: Mapping[str, object], resource: str) -> str:
    """Return what the containers of a pod request, such as ``cpu: 4``."""
    amounts = []
    for container in mappings(spec.get("containers")):
        resources = mapping(container.get("resources"))
        amount = mapping(resources.get("requests")).get(resource)
        amount = amount or mapping(resources.get("limits")).get(resource)
        amounts += [str(amount)] if amount else []
    return f"{resource}: {' + '.join(amounts)}" if amounts else resource


def _selection(spec: Mapping[str, object]) -> str:
    labels = mapping(spec.get("nodeSelector"))
    named = ", ".join(f"{key}={value}" for key, value in labels.items())
    return f"the nodeSelector ({named})" if named else "the node affinity"
