"""What the status of a Service has. Pure."""

from __future__ import annotations

from daskjob.core.manifests import Manifest, mapping, mappings


def host_of_balancer(service: Manifest) -> str:
    """Return the address of a LoadBalancer; empty as long as it has none."""
    balancer = mapping(mapping(service.get("status")).get("loadBalancer"))
    for ingress in mappings(balancer.get("ingress")):
        if found := ingress.get("hostname") or ingress.get("ip"):
            return str(found)
    return ""
