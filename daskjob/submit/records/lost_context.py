"""A context with which jobs were submitted, and which the kubeconfig does not have any more."""

from __future__ import annotations

from daskjob.core.errors import DaskJobError
from daskjob.submit.records.record import ClusterAddress, Record


class LostContext(DaskJobError):
    """The context of a record is gone, or has another name; the message has what to do."""


def existing_contexts(cluster: ClusterAddress, kubeconfig: str | None) -> list[str] | None:
    """Return the contexts that there are if that of a cluster is not among them.

    ``None``: it is, or the kubeconfig cannot be read, which its use reports.
    """
    from daskjob.kube.kubeconfig_files import Unusable, context_names

    if not cluster.context:
        return None
    try:
        names = context_names(kubeconfig)
    except (Unusable, OSError):
        return None
    return None if cluster.context in names else names


def check_context(record: Record, kubeconfig: str | None, command: str) -> None:
    """Check that the context of a record still exists.

    Raises
    ------
    LostContext
        It does not; ``command`` is what finds the job in a renamed one.
    """
    names = existing_contexts(record.cluster, kubeconfig)
    if names is None:
        return
    raise LostContext(
        f"{record.name} was submitted with the context {record.cluster.context!r}, which the "
        f"kubeconfig does not have any more (existing contexts: {', '.join(names) or 'none'}); "
        f"if it was renamed: daskjob {command} -n {record.namespace} --context NAME {record.name}; "
        f"to remove the record: daskjob delete --forget {record.name}"
    )


def trouble_with(names: list[str]) -> str:
    """Return what the list of jobs says about the context of some of them."""
    return (
        "cannot be asked: its context is not in the kubeconfig any more (existing contexts: "
        f"{', '.join(names) or 'none'}); if it was renamed: daskjob list --context NAME; "
        "daskjob delete --forget JOB removes a record"
    )
