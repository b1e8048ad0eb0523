"""The links to the dashboard and to Jupyter, by the template of Dask's configuration. Pure."""

from __future__ import annotations

import os
import string
from collections.abc import Mapping

import dask.config

from daskjob.kubecluster.ways import Way

#: What the template has unless a user configures another one.
PLAIN = "{scheme}://{host}:{port}/status"


def dashboard_link(
    way: Way | None, *, scheme: str = "http", environment: Mapping[str, str] = os.environ
) -> str:
    """Return the link to the dashboard; empty before the cluster has started.

    A template may have variables, as JupyterHub and Kubeflow set them; one with a variable that is
    not set would lead nowhere, so the plain link is returned instead. One with a port leads to the
    scheduler itself, maybe by a proxy, so it gets the prefix that the scheduler has.
    """
    if way is None:
        return ""
    template: str = dask.config.get("distributed.dashboard.link", PLAIN)
    values = {
        **environment,
        "scheme": scheme,
        "host": way.dashboard_host,
        "port": way.dashboard_port,
    }
    wanted = {field for _, field, _, _ in string.Formatter().parse(template) if field}
    if not wanted <= set(values):
        template, wanted = PLAIN, {"port"}
    link = template.format(**values)
    if "port" in wanted and link.endswith("/status"):
        return link.removesuffix("/status") + way.dashboard_path
    return link


def jupyter_link(dashboard: str, token: str = "", *, way: Way | None = None) -> str:
    """Return the link to the Jupyter server beside a dashboard, whose prefix that does not have."""
    if not dashboard:
        return ""
    link = dashboard.removesuffix("/")
    link = link.removesuffix(way.dashboard_path if way else "").removesuffix("/status")
    link += "/jupyter/lab"
    return f"{link}?token={token}" if token else link
