"""One count with two writers: the cluster's and its default group's. No I/O here.

What both last agreed on is the merge base (design §4a): the side that differs
from it wins; where both differ, the cluster's.
"""

from __future__ import annotations


def merged_replicas(cluster: int, group: int, base: int | None) -> int:
    """Return the count that both sides are to have."""
    if cluster == group or base is None:
        return cluster
    return group if cluster == base else cluster
