"""One count with two writers: the cluster's and its default group's.

The last count on which both agreed is the merge base (design §4a): the side that differs from it
wins; if both differ, the cluster's.
"""

from __future__ import annotations


def merged_replicas(cluster: int, group: int, base: int | None) -> int:
    """Return the count for both sides."""
    if cluster == group or base is None:
        return cluster
    return group if cluster == base else cluster
