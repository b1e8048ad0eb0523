"""A runner that does not reach its scheduler: DNS, or a NetworkPolicy.

A client waits for its scheduler for minutes, without a message. Meanwhile only one thing shows: no
task has reached the scheduler.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta

from daskjob.core.manifests import Manifest, integer, mapping, mappings, metadata
from daskjob.core.names import LABEL_CLUSTER_NAME, LABEL_COMPONENT, Component
from daskjob.core.quantity import duration
from daskjob.core.reasons import Reason
from daskjob.core.spec.policy import DEFAULT_PROGRESS_SECONDS
from daskjob.core.why.about import DEADLINES, About, Advice

#: How long a running script may take until its first task, at least; and the status to show it.
PATIENCE = timedelta(seconds=15)
_TIMED_OUT = re.compile(r"Timed out.*connect.* to (?P<address>\w+://\S+)|ConnectionRefusedError")
_NO_NAME = re.compile(
    r"gaierror|name resolution|Name or service not known|Name does not resolve|cannot resolve"
)
_DNS = "get pods -n kube-system -l k8s-app=kube-dns"


def may_be_unreachable(about: About) -> bool:
    """Return whether NetworkPolicies may be the cause."""
    return _lost_contact(about) or _sends_nothing(about)


def scheduler_unreachable(about: About) -> Advice | None:
    """Return the advice about a runner without a connection to its scheduler."""
    address = about.status.scheduler_address or "its scheduler"
    in_the_way = tuple(_in_the_way(about))
    if _lost_contact(about):
        text = f"{about.message}\n{about.log_head}\n{about.log_tail}"
        own_dns = tuple(_own_dns(about))
        if own_dns or _NO_NAME.search(text):
            evidence = (*own_dns, *_names(text))
            return Advice(*_about_dns(about, address), evidence, shows_log=False)
        return Advice(*_about_policies(about, address, in_the_way), shows_log=False)
    if not _sends_nothing(about):
        return None
    since = about.status.attempt_start_time
    took = f" for {duration(about.now - since)}" if about.now and since else ""
    headline = f"{about.name} is running, and has sent no task to its scheduler{took}."
    if in_the_way:
        return Advice(*_about_policies(about, address, in_the_way), headline=headline)
    if own_dns := tuple(_own_dns(about)):
        return Advice(*_about_dns(about, address), own_dns, headline=headline)
    if not _is_certain(about):
        return None
    step = f"It may be computing by itself. If not, check that it reaches {address}: DNS, "
    step += "NetworkPolicies. Its log:"
    return Advice(step, about.daskjob("logs"), headline=headline)


def _about_dns(about: About, address: str) -> tuple[str, str]:
    step = f"Check dnsPolicy and dnsConfig of the runner, and the cluster's DNS: {address}"
    return f"{step} has to resolve in its pod. The DNS:", about.cluster_kubectl(_DNS)


def _own_dns(about: About) -> Iterator[str]:
    """Yield the settings with which a runner does not ask the cluster's DNS."""
    spec = mapping(about.template_of(about.runner_pod).get("spec"))
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy in ("None", "Default"):
        servers = mapping(spec.get("dnsConfig")).get("nameservers")
        asked = ", ".join(map(str, servers)) if isinstance(servers, list) else ""
        named = f" and the nameservers {asked}" if asked else ""
        yield f"the runner has dnsPolicy {policy}{named}, not the cluster's DNS"
    elif spec.get("hostNetwork") and policy == "ClusterFirst":
        yield "the runner has hostNetwork and asks its node's DNS: set ClusterFirstWithHostNet"


def _about_policies(
    about: About, address: str, in_the_way: tuple[str, ...]
) -> tuple[str, str, tuple[str, ...]]:
    name = in_the_way[0].split()[1] if in_the_way else ""
    step = f"Allow the runner to connect to {address} (ports 8786 and 8787)"
    if name:
        command = about.kubectl(f"describe networkpolicy {name}")
        return f"{step}:", command, in_the_way
    step += ", or find out what is in the way: a NetworkPolicy, a service mesh:"
    return step, about.kubectl("get networkpolicies"), ()


def _lost_contact(about: About) -> bool:
    """Return whether the runner failed since it had no connection."""
    found = about.reason == Reason.EXIT_CODE and _TIMED_OUT.search(about.message)
    by_name = about.reason == Reason.EXIT_CODE and _NO_NAME.search(about.message)
    return bool(found or by_name)


def _sends_nothing(about: About) -> bool:
    """Return whether a runner runs, or ran to its deadline, and no task reached the scheduler."""
    status = about.status
    if status.progress is not None and status.progress.total:
        return False
    if not about.runs or status.reason or about.reason in DEADLINES:
        return False
    progress = mapping(mapping(about.job.get("spec")).get("progress"))
    if progress.get("intervalSeconds") == 0:
        # Such a status never has the tasks.
        return False
    since = status.attempt_start_time
    return bool(about.now and since and about.now - since >= PATIENCE)


def _is_certain(about: About) -> bool:
    """Return whether the scheduler was asked for its tasks since the script should have sent some.

    Without another sign: before the first answer, the status of every job lacks them.
    """
    status = about.status
    if status.progress is not None:
        return True
    progress = mapping(mapping(about.job.get("spec")).get("progress"))
    interval = integer(progress.get("intervalSeconds")) or DEFAULT_PROGRESS_SECONDS
    since = status.attempt_start_time
    patience = PATIENCE + 2 * timedelta(seconds=interval)
    return bool(about.now and since and about.now - since >= patience)


def _names(text: str) -> tuple[str, ...]:
    """Return the line that reports a name that does not resolve."""
    lines = [line.strip() for line in text.splitlines() if _NO_NAME.search(line)]
    return tuple(f"log: {line}" for line in lines[-1:])


def _in_the_way(about: About) -> Iterator[str]:
    """Yield the NetworkPolicies that restrict the runner, or the scheduler."""
    runner, scheduler = (_labels(about, part) for part in (Component.RUNNER, Component.SCHEDULER))
    for policy in about.policies:
        spec = mapping(policy.get("spec"))
        types = _types(spec)
        name = metadata(policy).get("name")
        selector = mapping(spec.get("podSelector"))
        if "Egress" in types and _selects(selector, runner):
            yield f"NetworkPolicy {name} restricts what {about.runner_pod} may connect to"
        elif "Ingress" in types and _selects(selector, scheduler):
            yield f"NetworkPolicy {name} restricts who may connect to the scheduler"


def _types(spec: Mapping[str, object]) -> list[object]:
    given = spec.get("policyTypes")
    return (
        given if isinstance(given, list) else ["Ingress", *(["Egress"] if "egress" in spec else [])]
    )


def _labels(about: About, part: Component) -> dict[str, object]:
    template = about.template_of(about.runner_pod if part is Component.RUNNER else "x-scheduler")
    own = mapping(mapping(template.get("metadata")).get("labels"))
    base = {
        LABEL_CLUSTER_NAME: about.status.cluster_name or about.name,
        LABEL_COMPONENT: str(part),
    }
    return {**mapping(metadata(about.job).get("labels")), **own, **base}


def _selects(selector: Mapping[str, object], labels: Mapping[str, object]) -> bool:
    """Return whether a label selector selects a pod."""
    if any(labels.get(key) != value for key, value in mapping(selector.get("matchLabels")).items()):
        return False
    return all(_matches(rule, labels) for rule in mappings(selector.get("matchExpressions")))


def _matches(rule: Manifest, labels: Mapping[str, object]) -> bool:
    key, values = rule.get("key"), rule.get("values") or ()
    match rule.get("operator"):
        case "In":
            return labels.get(str(key)) in values
        case "NotIn":
            return labels.get(str(key)) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels
