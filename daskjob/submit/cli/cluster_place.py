"""A namespace of a cluster, as the options of commands name it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClusterPlace:
    """A namespace of a cluster, as options name it; empty: the default one."""

    context: str = ""
    namespace: str = ""
    #: The kubeconfig with which a job was submitted; empty: today's.
    kubeconfig: str = ""

    def options_for(self, namespace: str) -> str:
        """Return the options with which commands find the jobs of a namespace here."""
        context = f" --context {self.context}" if self.context else ""
        return f"-n {namespace}{context}"
