"""What one installation consists of: its objects, and the record of it in the cluster."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from daskjob.core.manifests import Manifest, mapping
from daskjob.submit.installing import chart
from daskjob.submit.installing.chart_values import all_values
from daskjob.submit.installing.cluster_objects import ObjectId
from daskjob.submit.installing.values_schema import check_values

#: The name of the release: that of ``helm install daskjob``.
NAME = "daskjob"
DEFAULT_NAMESPACE = "daskjob"
RECORD_NAME = "daskjob-install"


@dataclass(frozen=True)
class Release:
    """The objects of these values in a namespace."""

    namespace: str
    #: The user's, without the chart's own.
    values: Mapping[str, Any]

    @cached_property
    def objects(self) -> list[Manifest]:
        """The objects of the chart, in the order of their creation.

        Raises
        ------
        Invalid, NotRendered
            The values are wrong.
        """
        values = all_values(self.values)
        check_values(values, chart.values_schema())
        return chart.rendered(values, release=NAME, namespace=self.namespace)

    @cached_property
    def crds(self) -> list[Manifest]:
        """The CustomResourceDefinitions."""
        return chart.crds()

    @property
    def operator(self) -> ObjectId:
        """The operator's Deployment."""
        (found,) = [item for item in self.objects if item["kind"] == "Deployment"]
        return ObjectId.of(found)

    @property
    def namespace_object(self) -> Manifest:
        """The namespace, for a cluster that does not have it."""
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}

    def record(self, ids: Iterable[ObjectId]) -> Manifest:
        """Return the record of an installation of these objects."""
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": RECORD_NAME,
                "namespace": self.namespace,
                "labels": {"app.kubernetes.io/managed-by": chart.SERVICE},
            },
            "data": {
                "version": chart.chart_version(),
                "values": json.dumps(self.values),
                "objects": "\n".join(
                    json.dumps([i.api_version, i.kind, i.namespace, i.name]) for i in ids
                ),
            },
        }


@dataclass(frozen=True, slots=True)
class Record:
    """An earlier installation, as the cluster has it."""

    version: str
    values: Mapping[str, Any]
    #: In the order of their creation.
    objects: tuple[ObjectId, ...]

    @classmethod
    def read(cls, manifest: Manifest) -> Record:
        """Return the record in a ConfigMap."""
        data = mapping(manifest.get("data"))
        lines = str(data.get("objects", "")).splitlines()
        return cls(
            str(data.get("version", "")),
            json.loads(data.get("values") or "{}"),
            tuple(ObjectId(*json.loads(line)) for line in lines),
        )


def record_id(namespace: str) -> ObjectId:
    """Return the identity of the record of a namespace."""
    return ObjectId("v1", "ConfigMap", namespace, RECORD_NAME)
