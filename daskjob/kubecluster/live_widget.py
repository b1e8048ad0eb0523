"""The widget of a cluster from the moment that a notebook shows it, kept up to date."""

from __future__ import annotations

from typing import Any

import dask.config
from dask.utils import parse_timedelta
from distributed.core import Status
from tornado.ioloop import PeriodicCallback

from daskjob.kubecluster.widget import ClusterWidget, widget_of


class LiveWidget:
    """The widget of one cluster, which is made when it is first shown."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self._shown: ClusterWidget | None = None

    def root(self) -> Any:
        """Return what notebooks display; ``None`` without ipywidgets."""
        if self._shown is None:
            self._shown = widget_of(self._cluster)
            if self._shown is not None and self._cluster.status == Status.running:
                self._cluster.loop.add_callback(self._keep)
        return self._shown.root if self._shown else None

    def update(self) -> None:
        """Show the current state, if anything is shown."""
        if self._shown is not None:
            self._shown.update()

    def _keep(self) -> None:
        """Update it from time to time, until the cluster is closed."""
        if self._cluster.status != Status.running:
            return
        interval = parse_timedelta(dask.config.get("distributed.deploy.cluster-repr-interval"))
        callback = PeriodicCallback(self.update, interval * 1000)
        self._cluster.periodic_callbacks["cluster-repr"] = callback
        callback.start()
