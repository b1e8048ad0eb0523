"""The dashboard's address as browsers reach it. No I/O, and no Airflow."""

from __future__ import annotations

from daskjob.submit.jobs import Job

#: The XCom of the link.
LINK_KEY = "_link_DaskDashboardLink"


def dashboard_link(job: Job, template: str) -> str:
    """Return the address; empty: there is none yet.

    ``template`` is that of an ingress, such as ``https://dask.example.org/{namespace}/{cluster}/``;
    by default it is the address in the cluster.
    """
    found = job.status.dashboard_url
    if not found or not template:
        return found
    return template.format(
        name=job.ref.name, namespace=job.ref.namespace, cluster=job.status.cluster_name
    )
