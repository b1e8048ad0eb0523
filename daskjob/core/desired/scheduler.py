"""The scheduler pod."""

from __future__ import annotations

from daskjob.core import names
from daskjob.core.desired.agent import PRELOAD, AgentGroup, agent_environment
from daskjob.core.desired.agent_groups import agent_groups
from daskjob.core.desired.metadata import inherited, object_metadata
from daskjob.core.desired.pods import base_labels, main_container_annotation, pod_spec
from daskjob.core.manifests import Manifest
from daskjob.core.observed import Platform
from daskjob.core.spec import DaskCluster


def scheduler_pod(cluster: DaskCluster, platform: Platform, token: str) -> Manifest:
    """Return a cluster's scheduler pod, with the agent and its token in the environment.

    The user's preloads are kept: those in the environment are merged; arguments override the
    environment, so ours is appended to a ``--preload`` in them.
    """
    template = cluster.spec.scheduler
    main = template.main_container("scheduler")
    spec = pod_spec(template, platform, {})
    spec.setdefault("restartPolicy", "Always")
    for container in spec.get("containers") or ():
        if platform.agent and container.get("name") == main:
            _add_agent(container, platform.agent, token, agent_groups(cluster))
    base = base_labels(platform, cluster.meta.name, names.Component.SCHEDULER)
    labels = inherited(cluster.meta.labels, template.labels, base)
    ours = {
        **main_container_annotation(template, "scheduler"),
        names.ANNOTATION_TEMPLATE: template.fingerprint,
    }
    annotations = inherited(cluster.meta.annotations, template.annotations, ours)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": object_metadata(
            names.scheduler_pod_name(cluster.meta.name), cluster.meta, labels, annotations
        ),
        "spec": spec,
    }


def _add_agent(container: Manifest, source: str, token: str, groups: list[AgentGroup]) -> None:
    own = {
        str(variable.get("name")): str(variable.get("value") or "")
        for variable in container.get("env") or ()
        if variable.get("valueFrom") is None
    }
    ours = agent_environment(source, token=token, groups=groups, environment=own)
    kept = [v for v in container.get("env") or () if v.get("name") not in ours]
    container["env"] = [*({"name": n, "value": v} for n, v in ours.items()), *kept]
    for key in ("command", "args"):
        words = container.get(key) or []
        if any(word == "--preload" or word.startswith("--preload=") for word in words):
            container[key] = [*words, "--preload", PRELOAD]
